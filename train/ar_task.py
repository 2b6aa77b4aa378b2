"""Training the ar engine: in every step the next note of each token of the clips, as the slots engine gets them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.data.store import TRAIN, VALID, Store
from musediff.engines.ar.line import in_line
from musediff.engines.ar.losses import PARTS, note_losses
from musediff.engines.ar.network import ArNetwork
from musediff.engines.clip_rows import Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.dataset import ClipSource, collate
from musediff.engines.slots.process import drop_conditions
from train.compiled import compiling, padded
from train.log import Window, gather
from train.recipes import ArRecipe
from train.tasks import Drawn, Found, Objective

HELD_OUT_BATCHES, HELD_OUT_CLIPS = 6, 64
BARS = 16  # where lengths fall into few buckets, bars are padded to multiples of it


class ArTask:
    """See ``tasks.Task``."""

    engine = "ar"
    partial = False

    def __init__(self, recipe: ArRecipe, store: Store, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.source, self.held_out = (ClipSource(store, split, recipe.corpus_weight, recipe.tracks_share) for split in (TRAIN, VALID))
        self.batches = Batches(self.source.draw, recipe.tokens)
        self.padded = compiling(recipe.compile, device)
        self.fingerprint = vocab.fingerprint()
        self.about: Mapping[str, Any] = {}

    def describe(self) -> str:
        return f"{len(self.source.rows)} clips, {len(self.held_out.rows)} held out"

    def network(self) -> ArNetwork:
        return ArNetwork(self.recipe.network)

    def batch(self, rng: np.random.Generator) -> Slots:
        slots = collate(self.batches.next(rng), rng, augment=True).to(self.device)
        return lengthened(slots) if self.padded else slots

    def objectives(self, step: int) -> Sequence[Objective]:
        return (Objective(lambda slots, _, generator: _notes_of(slots, generator), _notes),)

    def learn(self, told: np.ndarray) -> None:
        """Nothing is learned beside the weights."""

    @torch.no_grad()
    def evaluate(self, network: ArNetwork) -> dict[str, float]:
        """Negative log-likelihood in nats per note: of each part, and as "loss" their sum."""
        rng = np.random.default_rng(0)
        window: Window = {}
        for _ in range(HELD_OUT_BATCHES):
            slots = collate(self.held_out.draw(rng, HELD_OUT_CLIPS), rng, augment=False).to(self.device)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                gather(window, _notes(network, in_line(slots)).named)
        means = {name: sum(values) / len(values) for name, values in window.items()}
        return means | {"loss": sum(means.values())}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        assert not state

    def place(self) -> dict[str, Any]:
        return {"batches": self.batches.state()}

    def go_to(self, place: Mapping[str, Any]) -> None:
        self.batches.restore(place["batches"])


def lengths(line: Slots) -> Tensor:
    """(B,) tokens that the network sees, without padding."""
    tokens_B, bars_B, tracks_B = ((~pad).sum(1) for pad in (line.pad_BN, line.pad_BR, line.pad_BK))
    return line.shared_BF.shape[1] + tracks_B + bars_B + tokens_B


def lengthened(slots: Slots) -> Slots:
    """The same with more padded tracks, bars and notes, so that its tokens, of the conditions and of the line, are as many as those of
    others."""
    bars, tracks, notes = slots.pad_BR.shape[1], slots.pad_BK.shape[1], slots.pad_BN.shape[1]
    more_tracks, more_bars = vocab.MAX_TRACKS - tracks, -bars % BARS
    more = padded(vocab.MAX_TRACKS + notes) - vocab.MAX_TRACKS - notes
    of_notes = {name: F.pad(getattr(slots, name), (0, more)) for name in ("bar_BN", "track_BN", "index_BN", "ordinal_BN", "given_BN")}
    return replace(
        slots,
        chords_BRC=F.pad(slots.chords_BRC, (0, 0, 0, more_bars)),
        parts_BKF=F.pad(slots.parts_BKF, (0, 0, 0, more_tracks)),
        counts_BRK=F.pad(slots.counts_BRK, (0, more_tracks, 0, more_bars)),
        values_BNF=F.pad(slots.values_BNF, (0, 0, 0, more)),
        pad_BN=F.pad(slots.pad_BN, (0, more), value=True),
        pad_BR=F.pad(slots.pad_BR, (0, more_bars), value=True),
        pad_BK=F.pad(slots.pad_BK, (0, more_tracks), value=True),
        **of_notes,
    )


def _notes_of(slots: Slots, generator: torch.Generator) -> Drawn:
    drop_conditions(slots, generator)
    line = in_line(slots)
    return Drawn(line, (~slots.pad_BN).sum().expand(len(PARTS)), lengths(line))


def _notes(network: ArNetwork, line: Slots, _: torch.Generator | None = None) -> Found:
    sums = note_losses(network, line)
    notes = (~line.pad_BN).sum() - (~line.pad_BK).sum()
    told = (sums.detach() / notes.clamp(min=1)).tolist()
    return Found(sums, dict(zip(PARTS, told, strict=True)))
