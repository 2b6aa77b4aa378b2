"""What one process of a run draws from: seed, step and rank -> streams that no other process and no other start shares."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class Chance:
    """``rng`` draws clips, ``choices`` what is done with them, ``generator`` noise; torch's own generator of the device, which
    this seeds and restores, draws dropout."""

    def __init__(self, device: str, seed: int, step: int, rank: int) -> None:
        self.device = torch.device(device)
        clips, noise, dropout, choices = np.random.SeedSequence((seed, step), spawn_key=(rank,)).spawn(4)
        self.rng, self.choices = np.random.default_rng(clips), np.random.default_rng(choices)
        self.generator = torch.Generator(device).manual_seed(_number(noise))
        torch.manual_seed(_number(dropout))

    def state(self) -> dict[str, Any]:
        """What going on to the bit needs, but for ``rng``: that may be ahead, see ``feed``."""
        gpu = self.device.type == "cuda"
        dropout = torch.cuda.get_rng_state(self.device) if gpu else torch.get_rng_state()
        return {
            "choices": self.choices.bit_generator.state,
            "generator": self.generator.get_state(),
            "dropout": dropout,
            "device": self.device.type,
        }

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is of this kind of device: each has a generator of its own."""
        return state["device"] == self.device.type

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``, ``rng`` included."""
        self.rng.bit_generator.state, self.choices.bit_generator.state = state["rng"], state["choices"]
        self.generator.set_state(state["generator"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["dropout"], self.device)
        else:
            torch.set_rng_state(state["dropout"])


def _number(seeds: np.random.SeedSequence) -> int:
    return int(seeds.generate_state(1, np.uint64)[0])
