"""The reverse process on one clock: noise, and the steps to visit -> a guess at the clean embeddings after each visit.

Every sampler goes from one *visited* step to the next and ends clean: the last x0 is the result. Each is a generator,
so that its caller shows progress and may stop. The denoiser is any function of (x_t, t): rounding and grammar belong to it.
Suffixes as in ``process``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.process import anchored, ddim_step, posterior, q_sample
from musediff.engines.muse.schedule import Schedule

Denoise = Callable[[Tensor, int], Tensor]
DEFAULT_STEPS = 20


class Sampler(Protocol):
    """Yields (number of the visit, x0). ``times`` descend; ``x_BLD`` is the noised start at ``times[0]``, see ``start``."""

    def __call__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        times: Sequence[int],
        x_BLD: Tensor,
        anchor_BLD: Tensor,
        noised_BL: Tensor,
        generator: torch.Generator,
    ) -> Iterator[tuple[int, Tensor]]: ...


def draw_noise(like_BLD: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers. They are drawn where the generator lives, so that a seed means the same on every device."""
    return torch.randn(like_BLD.shape, generator=generator, device=generator.device).to(like_BLD.device)


def start(x0_BLD: Tensor, t: int, schedule: Schedule, noised_BL: Tensor, generator: torch.Generator) -> Tensor:
    """x_t of ``x0_BLD``; at the last step nothing of the source can be read from it."""
    return q_sample(x0_BLD, _each(t, x0_BLD), schedule, draw_noise(x0_BLD, generator), noised_BL)


def _each(t: int, x_BLD: Tensor) -> Tensor:
    return torch.full((len(x_BLD),), t)


def _visits(times: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(number, step, next step), the last next step being -1 (clean)."""
    assert len(times) and all(a > b for a, b in zip(times, [*times[1:], -1], strict=True)), f"not descending steps: {times}"
    for number, t in enumerate(times):
        yield number, t, times[number + 1] if number + 1 < len(times) else -1


def ddim(
    denoise: Denoise,
    schedule: Schedule,
    times: Sequence[int],
    x_BLD: Tensor,
    anchor_BLD: Tensor,
    noised_BL: Tensor,
    generator: torch.Generator,
    eta: float = 0.0,
) -> Iterator[tuple[int, Tensor]]:
    """Song et al. 2021, between visited steps. ``eta`` 0 is deterministic, 1 as noisy as ``ancestral``."""
    for number, t, s in _visits(times):
        x0_BLD = anchored(denoise(x_BLD, t), anchor_BLD, noised_BL)
        yield number, x0_BLD
        if s >= 0:
            noise_BLD = draw_noise(x_BLD, generator) if eta else None
            x_BLD = ddim_step(x_BLD, x0_BLD, _each(t, x_BLD), _each(s, x_BLD), schedule, eta, noise_BLD)
            x_BLD = anchored(x_BLD, anchor_BLD, noised_BL)


def ancestral(
    denoise: Denoise,
    schedule: Schedule,
    times: Sequence[int],
    x_BLD: Tensor,
    anchor_BLD: Tensor,
    noised_BL: Tensor,
    generator: torch.Generator,
) -> Iterator[tuple[int, Tensor]]:
    """Draws from q(x_s | x_t, x0) of the predicted x0 (Ho et al. 2020), s being the next visited step."""
    for number, t, s in _visits(times):
        x0_BLD = anchored(denoise(x_BLD, t), anchor_BLD, noised_BL)
        yield number, x0_BLD
        if s >= 0:
            mean_BLD, variance = posterior(x_BLD, x0_BLD, _each(t, x_BLD), _each(s, x_BLD), schedule)
            x_BLD = anchored(mean_BLD + variance.sqrt() * draw_noise(x_BLD, generator), anchor_BLD, noised_BL)


def dpm_solver_pp_2m(
    denoise: Denoise,
    schedule: Schedule,
    times: Sequence[int],
    x_BLD: Tensor,
    anchor_BLD: Tensor,
    noised_BL: Tensor,
    generator: torch.Generator,
) -> Iterator[tuple[int, Tensor]]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): x0 extrapolated from the last two visits; no random numbers."""
    bar = schedule.alpha_bar(torch.tensor(times))
    signal, noise = bar.sqrt(), (1 - bar).sqrt()
    clock = (signal / noise).log()  # half the logarithm of the signal-to-noise ratio
    before_BLD = None
    for number, t, s in _visits(times):
        x0_BLD = anchored(denoise(x_BLD, t), anchor_BLD, noised_BL)
        yield number, x0_BLD
        if s >= 0:
            jump = clock[number + 1] - clock[number]
            aim_BLD = x0_BLD
            if before_BLD is not None:
                share = float(jump / (clock[number] - clock[number - 1])) / 2
                aim_BLD = (1 + share) * x0_BLD - share * before_BLD
            keep = float(noise[number + 1] / noise[number])
            add = -float(signal[number + 1] * torch.expm1(-jump))
            x_BLD = anchored(keep * x_BLD + add * aim_BLD, anchor_BLD, noised_BL)
            before_BLD = x0_BLD


SAMPLERS: Mapping[str, Sampler] = MappingProxyType({"ddim": ddim, "ancestral": ancestral, "dpm": dpm_solver_pp_2m})


class NetworkDenoiser:
    """A network as a function of (x_t, t). It remembers its last guess if the network was trained to be told it."""

    def __init__(self, network: MuseNetwork, schedule: Schedule, pad_BL: Tensor | None, remember: bool = True) -> None:
        self.network, self.schedule, self.pad_BL = network, schedule, pad_BL
        self.remember = remember and network.config.self_conditioning
        self.guess_BLD: Tensor | None = None

    @torch.no_grad()
    def __call__(self, x_BLD: Tensor, t: int) -> Tensor:
        time_B = self.schedule.time(_each(t, x_BLD)).to(x_BLD.device)
        x0_BLD = self.network(x_BLD, time_B, self.pad_BL, self.guess_BLD)
        if self.remember:
            self.guess_BLD = x0_BLD
        return x0_BLD
