"""What every sampler walks, and how a sampler is named: a denoiser and the steps to visit -> guesses at the clean embeddings.

Suffixes as in ``process``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from musediff.engines.muse.process import anchored
from musediff.engines.muse.schedule import Schedule, visited

Denoise = Callable[[Tensor, int], Tensor]  # (x_t, t) -> the guess at x0: rounding and grammar belong to it


@dataclass(frozen=True, slots=True)
class Chain:
    """A reverse process. ``times`` descend; ``generator`` lives on the CPU, so that a seed means the same on every device."""

    denoise: Denoise
    schedule: Schedule
    times: Sequence[int]
    anchor_BLD: Tensor  # given tokens, read where ``noised_BL`` is False only
    noised_BL: Tensor
    generator: torch.Generator

    def guess(self, x_BLD: Tensor, t: int) -> Tensor:
        """x0 as the denoiser has it, with the given tokens put back."""
        return self.keep(self.denoise(x_BLD, t))

    def keep(self, x_BLD: Tensor) -> Tensor:
        """``x_BLD`` with the given tokens put back."""
        return anchored(x_BLD, self.anchor_BLD, self.noised_BL)

    def noise(self) -> Tensor:
        """Standard normal numbers (B, L, D)."""
        return draw_noise(self.anchor_BLD, self.generator)

    def visits(self) -> Iterator[tuple[int, int]]:
        """(step, next step), the last next step being -1 (clean)."""
        after = [*self.times[1:], -1]
        assert len(self.times) and all(a > b for a, b in zip(self.times, after, strict=True)), f"not descending steps: {self.times}"
        return zip(self.times, after, strict=True)


def draw_noise(like_BLD: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, drawn where the generator lives."""
    return torch.randn(like_BLD.shape, generator=generator, device=generator.device).to(like_BLD.device)


def each(t: int, x_BLD: Tensor) -> Tensor:
    """(B,) the same step for every row."""
    return torch.full((len(x_BLD),), t)


# The noised start at times[0] -> after every visit what the result would be.
Walk = Callable[[Chain, Tensor], Iterator[Tensor]]


def evenly(schedule: Schedule, first: int, steps: int) -> list[int]:
    """``steps`` visits from ``first`` down to 0."""
    return visited(first, steps)


@dataclass(frozen=True, slots=True)
class Sampler:
    """A way to walk. ``times``: schedule, first step, number of steps -> the steps to visit.

    ``leaves_x``: as in the original, tokens are read from the x that is left, and every guess is rounded to the nearest tokens.
    """

    walk: Walk
    times: Callable[[Schedule, int, int], list[int]] = evenly
    leaves_x: bool = False
