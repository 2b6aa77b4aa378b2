"""Training the ar engine: in every step the next note of each token of the clips, as the slots engine gets them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from musediff.data.store import Store
from musediff.engines.ar.line import in_line
from musediff.engines.ar.losses import PARTS, note_losses
from musediff.engines.ar.network import ArNetwork
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.process import drop_conditions
from train.compiled import padded
from train.log import Window, collect
from train.recipes import ArRecipe
from train.slot_clips import SlotClips, with_more
from train.tasks import Drawn, Found, Objective

BARS = 16  # where lengths fall into few buckets, bars are padded to multiples of it


class ArTask(SlotClips):
    """See ``tasks.Task``."""

    engine = "ar"
    partial = False

    def __init__(self, recipe: ArRecipe, store: Store, device: str) -> None:
        super().__init__(recipe, store, device)
        self.recipe = recipe

    def network(self) -> ArNetwork:
        return ArNetwork(self.recipe.network)

    def batch(self, rng: np.random.Generator) -> Slots:
        slots = self.drawn(rng)
        return lengthened(slots) if self.padded else slots

    def objectives(self, step: int) -> Sequence[Objective]:
        return (Objective(lambda slots, _, generator: _notes_of(slots, generator), _notes),)

    @torch.no_grad()
    def evaluate(self, network: ArNetwork) -> dict[str, float]:
        """Negative log-likelihood in nats per note: of each part, and as "loss" their sum."""
        window: Window = {}
        for slots in self.held_out_batches():
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                collect(window, _notes(network, in_line(slots)).named)
        means = {name: sum(values) / len(values) for name, values in window.items()}
        return means | {"loss": sum(means.values())}


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
    return with_more(slots, more, more_bars, more_tracks)


def _notes_of(slots: Slots, generator: torch.Generator) -> Drawn:
    drop_conditions(slots, generator)
    line = in_line(slots)
    return Drawn(line, (~slots.pad_BN).sum().expand(len(PARTS)), lengths(line))


def _notes(network: ArNetwork, line: Slots, _: torch.Generator | None = None) -> Found:
    sums = note_losses(network, line)
    notes = (~line.pad_BN).sum() - (~line.pad_BK).sum()
    told = (sums.detach() / notes.clamp(min=1)).tolist()
    return Found(sums, dict(zip(PARTS, told, strict=True)))
