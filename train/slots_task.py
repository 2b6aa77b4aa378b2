"""Training the slots engine: hidden and wrong fields of notes in every step, numbers of notes per bar in some."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musediff.data.store import TRAIN, VALID, Store
from musediff.engines.clip_rows import Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.dataset import ClipSource, collate
from musediff.engines.slots.losses import count_loss, note_losses
from musediff.engines.slots.network import Slots, SlotsNetwork
from musediff.engines.slots.process import drop_conditions, noise
from train.recipes import SlotsRecipe
from train.tasks import Objective

HELD_OUT_BATCHES, HELD_OUT_CLIPS = 6, 64


class SlotsTask:
    """See ``tasks.Task``."""

    engine = "slots"

    def __init__(self, recipe: SlotsRecipe, store: Store, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.source, self.held_out = (ClipSource(store, split, recipe.corpus_weight, recipe.tracks_share) for split in (TRAIN, VALID))
        self.batches = Batches(self.source.draw, recipe.tokens)
        self.fingerprint = vocab.fingerprint()
        self.about: Mapping[str, Any] = {}

    def describe(self) -> str:
        return f"{len(self.source.rows)} clips, {len(self.held_out.rows)} held out"

    def network(self) -> SlotsNetwork:
        return SlotsNetwork(self.recipe.network)

    def batch(self, rng: np.random.Generator, generator: torch.Generator) -> Slots:
        slots = collate(self.batches.next(rng), rng, augment=True).to(self.device)
        drop_conditions(slots, generator)
        return slots

    def objectives(self, step: int) -> Sequence[Objective]:
        return (_notes, _counts) if step % self.recipe.count_every == 0 else (_notes,)

    @torch.no_grad()
    def evaluate(self, network: SlotsNetwork) -> dict[str, float]:
        rng, generator = np.random.default_rng(0), torch.Generator(self.device).manual_seed(0)
        sums: dict[str, float] = {}
        for _ in range(HELD_OUT_BATCHES):
            slots = collate(self.held_out.draw(rng, HELD_OUT_CLIPS), rng, augment=False).to(self.device)
            with torch.autocast(self.device, torch.bfloat16):
                parts = _notes(network, slots, generator)[1] | _counts(network, slots, generator)[1]
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value / HELD_OUT_BATCHES
        return sums

    def state(self) -> dict[str, Any]:
        return {"batches": self.batches.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.batches.restore(state["batches"])


def _notes(network: SlotsNetwork, slots: Slots, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    losses = note_losses(network, noise(slots, generator), generator)
    fields = dict(zip(vocab.FIELDS, map(float, losses.fields), strict=True))
    return losses.total, fields | {"judge": float(losses.judge)}


def _counts(network: SlotsNetwork, slots: Slots, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
    loss = count_loss(network, slots, generator)
    return loss, {"count": float(loss.detach())}
