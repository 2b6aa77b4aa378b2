"""The reverse process on one clock: noise -> a guess at the clean embeddings after each visit.

Every sampler here goes from one *visited* step to the next and ends clean: the last x0 is the result. Each is a generator,
so that its caller shows progress and may stop. Suffixes as in ``process``.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from musediff.engines.muse.chain import Chain, Sampler, each
from musediff.engines.muse.compat import strided, strided_loop
from musediff.engines.muse.process import ddim_step, posterior
from musediff.engines.muse.schedule import Schedule

DEFAULT_STEPS = 20


def ddim(chain: Chain, x_BLD: Tensor, eta: float = 0.0) -> Iterator[Tensor]:
    """Song et al. 2021, between visited steps. ``eta`` 0 is deterministic, 1 as noisy as ``ancestral``."""
    for t, s in chain.visits():
        x0_BLD = chain.guess(x_BLD, t)
        yield x0_BLD
        if s >= 0:
            noise_BLD = chain.noise() if eta else None
            x_BLD = chain.keep(ddim_step(x_BLD, x0_BLD, each(t, x_BLD), each(s, x_BLD), chain.schedule, eta, noise_BLD))


def ancestral(chain: Chain, x_BLD: Tensor) -> Iterator[Tensor]:
    """Draws from q(x_s | x_t, x0) of the predicted x0 (Ho et al. 2020), s being the next visited step."""
    for t, s in chain.visits():
        x0_BLD = chain.guess(x_BLD, t)
        yield x0_BLD
        if s >= 0:
            mean_BLD, variance = posterior(x_BLD, x0_BLD, each(t, x_BLD), each(s, x_BLD), chain.schedule)
            x_BLD = chain.keep(mean_BLD + variance.sqrt() * chain.noise())


def dpm_solver_pp_2m(chain: Chain, x_BLD: Tensor) -> Iterator[Tensor]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): x0 extrapolated from the last two visits; no random numbers."""
    bar = chain.schedule.alpha_bar(torch.tensor(chain.times))
    signal, noise = bar.sqrt(), (1 - bar).sqrt()
    clock = (signal / noise).log()  # half the logarithm of the signal-to-noise ratio
    before_BLD = None
    for number, (t, s) in enumerate(chain.visits()):
        x0_BLD = chain.guess(x_BLD, t)
        yield x0_BLD
        if s >= 0:
            jump = clock[number + 1] - clock[number]
            aim_BLD = x0_BLD
            if before_BLD is not None:
                share = float(jump / (clock[number] - clock[number - 1])) / 2
                aim_BLD = (1 + share) * x0_BLD - share * before_BLD
            keep = float(noise[number + 1] / noise[number])
            add = -float(signal[number + 1] * torch.expm1(-jump))
            x_BLD = chain.keep(keep * x_BLD + add * aim_BLD)
            before_BLD = x0_BLD


def _from_the_last(schedule: Schedule, first: int, steps: int) -> list[int]:
    """The original's visits, without those that are noisier than ``first``."""
    return [t for t in strided(schedule.steps, min(steps, schedule.steps)) if t <= first] or [first]


SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "ddim": Sampler(ddim),
        "ancestral": Sampler(ancestral),
        "dpm": Sampler(dpm_solver_pp_2m),
        "original": Sampler(strided_loop, _from_the_last, leaves_x=True),  # to compare with
    }
)
