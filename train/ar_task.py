"""Training the ar engine: in every step the next note of each token of the clips, as the slots engine gets them."""

from collections.abc import Sequence

import numpy as np
import torch

from musediff.data.store import Store
from musediff.engines.ar.network import ArNetwork
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.line import in_line
from train import line
from train.log import Window, collect
from train.recipes import ArRecipe
from train.slot_clips import SlotClips
from train.tasks import Objective


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
        return line.lengthened(slots) if self.padded else slots

    def objectives(self, step: int) -> Sequence[Objective]:
        return (Objective(line.lines_of, line.losses),)

    @torch.no_grad()
    def evaluate(self, network: ArNetwork) -> dict[str, float]:
        """Negative log-likelihood in nats per note: of each part, and as "loss" their sum."""
        window: Window = {}
        for slots in self.held_out_batches():
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                collect(window, line.losses(network, in_line(slots)).named)
        means = {name: sum(values) / len(values) for name, values in window.items()}
        return means | {"loss": sum(means.values())}
