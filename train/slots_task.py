"""Training the slots engine: hidden and wrong fields of notes in every step, numbers of notes per bar in some."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.data.store import TRAIN, VALID, Store
from musediff.engines.clip_rows import Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.dataset import ClipSource, collate
from musediff.engines.slots.losses import JUDGE_WEIGHT, HiddenCounts, count_loss, hide_counts, note_losses, note_tokens, note_weights
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import Noised, drop_conditions, noise
from train.compiled import compiling, padded
from train.log import Window, gather
from train.recipes import SlotsRecipe
from train.tasks import Drawn, Found, Objective

HELD_OUT_BATCHES, HELD_OUT_CLIPS = 6, 64
QUARTILES = 4


class SlotsTask:
    """See ``tasks.Task``."""

    engine = "slots"
    partial = True

    def __init__(self, recipe: SlotsRecipe, store: Store, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.source, self.held_out = (ClipSource(store, split, recipe.corpus_weight, recipe.tracks_share) for split in (TRAIN, VALID))
        self.batches = Batches(self.source.draw, recipe.tokens)
        self.padded = compiling(recipe.compile, device)
        self.fingerprint = vocab.fingerprint()
        self.about: Mapping[str, Any] = {}

    def describe(self) -> str:
        return f"{len(self.source.rows)} clips, {len(self.held_out.rows)} held out"

    def network(self) -> SlotsNetwork:
        return SlotsNetwork(self.recipe.network)

    def batch(self, rng: np.random.Generator) -> Slots:
        return self._fitted(collate(self.batches.next(rng), rng, augment=True).to(self.device))

    def objectives(self, step: int) -> Sequence[Objective]:
        notes = Objective(lambda slots, _, generator: _hide(_forget(slots, generator), generator), _notes)
        counts = Objective(lambda slots, _, generator: self._counts_of(_forget(slots, generator), generator), _counts)
        return (notes, counts) if step % self.recipe.count_every == 0 else (notes,)

    def _counts_of(self, slots: Slots, generator: torch.Generator) -> Drawn:
        drawn = _hide_counts(slots, generator)
        drawn.batch.slots = self._fitted(drawn.batch.slots)  # notes were cut off
        return drawn

    def _fitted(self, slots: Slots) -> Slots:
        return lengthened(slots) if self.padded else slots

    def learn(self, told: np.ndarray) -> None:
        """Nothing is learned beside the weights."""

    @torch.no_grad()
    def evaluate(self, network: SlotsNetwork) -> dict[str, float]:
        rng, generator = np.random.default_rng(0), torch.Generator(self.device).manual_seed(0)
        window: Window = {}
        for _ in range(HELD_OUT_BATCHES):
            slots = collate(self.held_out.draw(rng, HELD_OUT_CLIPS), rng, augment=False).to(self.device)
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                notes = _notes(network, _hide(slots, generator).batch, generator)
                parts = notes.named | _counts(network, _hide_counts(slots, generator).batch, generator).named
            gather(window, parts)
        means = {name: sum(values) / len(values) for name, values in window.items()}
        weights = dict.fromkeys((*vocab.FIELDS, "count"), 1) | {"judge": JUDGE_WEIGHT}
        return means | {"loss": sum(weight * means[name] for name, weight in weights.items())}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        assert not state

    def place(self) -> dict[str, Any]:
        return {"batches": self.batches.state()}

    def go_to(self, place: Mapping[str, Any]) -> None:
        self.batches.restore(place["batches"])


def lengths(slots: Slots) -> Tensor:
    """(B,) tokens that the network sees, without padding."""
    notes_B, bars_B, tracks_B = ((~pad).sum(1) for pad in (slots.pad_BN, slots.pad_BR, slots.pad_BK))
    return slots.shared_BF.shape[1] + tracks_B + bars_B + bars_B * tracks_B + notes_B


def lengthened(slots: Slots) -> Slots:
    """The same with more padded notes, so that its tokens are as many as those of others."""
    _, bars, tracks = slots.counts_BRK.shape
    notes = slots.pad_BN.shape[1]
    length = slots.shared_BF.shape[1] + tracks + bars + bars * tracks + notes
    more = padded(length) - length
    of_notes = {name: F.pad(getattr(slots, name), (0, more)) for name in ("bar_BN", "track_BN", "index_BN", "ordinal_BN", "given_BN")}
    values_BNF = F.pad(slots.values_BNF, (0, 0, 0, more))
    return replace(slots, values_BNF=values_BNF, pad_BN=F.pad(slots.pad_BN, (0, more), value=True), **of_notes)


def _forget(slots: Slots, generator: torch.Generator) -> Slots:
    drop_conditions(slots, generator)
    return slots


def _hide(slots: Slots, generator: torch.Generator) -> Drawn:
    noised = noise(slots, generator)
    weight_BNF = note_weights(noised, generator)
    return Drawn((noised, weight_BNF), note_tokens(noised, weight_BNF), lengths(noised.slots))


def _notes(network: SlotsNetwork, batch: tuple[Noised, Tensor], generator: torch.Generator) -> Found:
    """For the log also the loss of a hidden field by the share of its clip's fields that are hidden, in quarters."""
    found = note_losses(network, *batch)
    noised, _ = batch
    there_B, hidden_B = 4 * (~noised.slots.pad_BN).sum(1), noised.hidden_BNF.sum((1, 2))
    quarter_B = (QUARTILES * hidden_B // there_B.clamp(min=1)).clamp(max=QUARTILES - 1)
    sums, numbers = (torch.zeros(QUARTILES, device=x.device).index_add_(0, quarter_B, x.float()) for x in (found.hidden_B, hidden_B))
    told = torch.cat((torch.stack((*found.hidden, found.judge)), sums / numbers)).tolist()  # a GPU is waited for once
    names = (*vocab.FIELDS, "judge", *(f"hidden_q{quarter}" for quarter in range(QUARTILES)))
    return Found(found.parts, {name: value for name, value in zip(names, told, strict=True) if not math.isnan(value)})


def _hide_counts(slots: Slots, generator: torch.Generator) -> Drawn:
    hidden = hide_counts(slots, generator)
    return Drawn(hidden, hidden.hidden_BRK.sum()[None], lengths(hidden.slots))


def _counts(network: SlotsNetwork, hidden: HiddenCounts, generator: torch.Generator) -> Found:
    loss = count_loss(network, hidden)
    return Found(loss[None], {"count": float(loss.detach() / hidden.hidden_BRK.sum().clamp(min=1))})
