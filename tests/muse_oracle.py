"""A perfect denoiser and a task for it, for the tests of the samplers and of the original's loops."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from musediff.engines.muse.chain import Chain, Denoise, draw_noise, each
from musediff.engines.muse.process import q_sample
from musediff.engines.muse.schedule import Schedule


def last(loop: Iterator[Tensor]) -> Tensor:
    *_, found = loop
    return found


class Oracle:
    """A perfect denoiser. It measures what it is shown: the scale of the clean embeddings, and that of the rest."""

    def __init__(self, x0_BLD: Tensor, noised_BL: Tensor) -> None:
        self.x0_BLD, self.noised_BL = x0_BLD, noised_BL
        self.shown: list[tuple[int, float, float]] = []

    def __call__(self, x_BLD: Tensor, t: int) -> Tensor:
        assert torch.equal(x_BLD[~self.noised_BL], self.x0_BLD[~self.noised_BL]), "a given token was changed"
        x, x0 = x_BLD[self.noised_BL].double(), self.x0_BLD[self.noised_BL].double()
        signal = float((x * x0).sum() / x0.square().sum())
        self.shown.append((t, signal, float((x - signal * x0).square().mean().sqrt())))
        return torch.where(self.noised_BL[..., None], self.x0_BLD, 123.0)  # what it says about given tokens must not matter


class Task:
    """728 of 729 tokens of 128 numbers each, in two rows; the first 14 of each row are given."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.table_VD = torch.randn(729, 128, generator=self.generator)
        self.ids_BL = torch.randperm(729, generator=self.generator)[:728].view(2, 364)
        self.x0_BLD = self.table_VD[self.ids_BL]
        self.noised_BL = torch.ones(2, 364, dtype=torch.bool)
        self.noised_BL[:, :14] = False

    def start(self, t: int, schedule: Schedule) -> Tensor:
        """x_t of the task."""
        return q_sample(self.x0_BLD, each(t, self.x0_BLD), schedule, draw_noise(self.x0_BLD, self.generator), self.noised_BL)

    def chain(self, denoise: Denoise, schedule: Schedule, times: Sequence[int]) -> Chain:
        return Chain(denoise, schedule, times, self.x0_BLD, self.noised_BL, self.generator)

    def recovered(self, x_BLD: Tensor) -> float:
        """Share of the noised tokens that the head (here: the product with the table) reads right."""
        right_BL = (x_BLD @ self.table_VD.T).argmax(-1) == self.ids_BL
        return float(right_BL[self.noised_BL].float().mean())
