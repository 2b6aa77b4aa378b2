"""How much noise when: a schedule's name and number of steps -> tables over the steps, in float64.

Step t counts from 0 (a little noise) to T - 1 (nearly nothing else); -1 stands for clean. A noised embedding is
sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise. Suffixes: T steps, B batch.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from musediff.errors import BadRequest

MAX_BETA = 0.999
TIME_SCALE = 1000.0  # the network is told t as if there were this many steps
HEAD_STEPS = 10  # of pw_lin: the steep beginning


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Tables of a diffusion process."""

    beta_T: Tensor
    alpha_bar_T: Tensor
    time_T: Tensor  # what the network is told

    @property
    def steps(self) -> int:
        return len(self.beta_T)

    def alpha_bar(self, t_B: Tensor) -> Tensor:
        """alpha_bar of each step, on the CPU; 1 where t is -1."""
        return torch.cat((self.alpha_bar_T.new_ones(1), self.alpha_bar_T))[t_B.cpu() + 1]

    def time(self, t_B: Tensor) -> Tensor:
        """(B,) float32: the time to tell the network."""
        return self.time_T[t_B.cpu()].float()

    @property
    def alpha_bar_previous_T(self) -> Tensor:
        return self.alpha_bar(torch.arange(self.steps) - 1)

    @property
    def posterior_variance_T(self) -> Tensor:
        """Variance of q(x_{t-1} | x_t, x0) (Ho et al. 2020, eq. 7)."""
        return self.beta_T * (1 - self.alpha_bar_previous_T) / (1 - self.alpha_bar_T)

    @property
    def sampling_variance_T(self) -> Tensor:
        """beta, which is larger; only the first step takes the posterior's (of the second step, its own is 0)."""
        first = self.posterior_variance_T[1:2] if self.steps > 1 else self.beta_T[:1]
        return torch.cat((first, self.beta_T[1:]))


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """What a schedule is made of; stored beside the weights.

    ``noise_factor`` F divides the signal-to-noise ratio by F^2 at every step (the noise factor of Difformer, Gao et al.
    2022, kept variance-preserving): wide embeddings then lose information earlier than in the last third.
    """

    name: str = "sqrt"
    steps: int = 2000
    rescale: bool = True  # tell the network t * 1000 / steps instead of t
    respacing: str = ""
    noise_factor: float = 1.0

    def build(self) -> Schedule:
        """The tables.

        Raises:
            BadRequest: an unknown name, too few steps, or a respacing that these steps do not allow.
        """
        beta_T = torch.from_numpy(betas(self.name, self.steps))
        alpha_bar_T = (1 - beta_T).cumprod(0)
        if self.noise_factor != 1:
            if not self.noise_factor > 0:
                raise BadRequest(f"noise_factor {self.noise_factor}: must be greater than 0; 1 leaves the schedule as it is.")
            alpha_bar_T = alpha_bar_T / (alpha_bar_T + self.noise_factor**2 * (1 - alpha_bar_T))
            beta_T = _betas_between(alpha_bar_T)
        scale = TIME_SCALE / self.steps if self.rescale else 1.0
        schedule = Schedule(beta_T, alpha_bar_T, torch.arange(self.steps, dtype=torch.float64) * scale)
        return respace(schedule, space_timesteps(self.steps, self.respacing)) if self.respacing else schedule


def _betas_between(alpha_bar_T: Tensor) -> Tensor:
    return 1 - alpha_bar_T / torch.cat((alpha_bar_T.new_ones(1), alpha_bar_T[:-1]))


def betas(name: str, steps: int) -> np.ndarray:
    """(T,) float64 betas of one of ``SCHEDULES``.

    Raises:
        BadRequest: an unknown name, or too few steps for it.
    """
    if name not in SCHEDULES:
        raise BadRequest(f"noise schedule {name!r}: unknown. Choose one of {', '.join(SCHEDULES)}.")
    fewest = HEAD_STEPS + 2 if name == "pw_lin" else 1
    if steps < fewest:
        raise BadRequest(f"noise schedule {name}: needs at least {fewest} steps, {steps} were asked for.")
    return np.minimum(SCHEDULES[name](steps), MAX_BETA)


def _linear(steps: int) -> np.ndarray:
    return np.linspace(0.1 / steps, 20 / steps, steps)


def _truncated_linear(steps: int) -> np.ndarray:
    return _linear(steps) + 0.01


def _piecewise_linear(steps: int) -> np.ndarray:
    low, high = 0.1 / steps, 20 / steps
    return np.concatenate((np.linspace(low + 0.01, low, HEAD_STEPS), np.linspace(low, high, steps - HEAD_STEPS)))


def _falling(alpha_bar: Callable[[float], float], steps: int) -> np.ndarray:
    """Betas that let alpha_bar fall along a function of [0, 1], whatever it is at 0."""
    value = np.array([alpha_bar(i / steps) for i in range(steps + 1)])
    return 1 - value[1:] / value[:-1]


def _sqrt(steps: int) -> np.ndarray:
    """Li et al. 2022 (Diffusion-LM), appendix A."""
    return _falling(lambda u: 1 - math.sqrt(min(u + 1e-4, 1.0)), steps)


def _cosine(steps: int) -> np.ndarray:
    """Nichol and Dhariwal 2021, eq. 17."""
    return _falling(lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2, steps)


def _truncated_cosine(steps: int) -> np.ndarray:
    """Starts with the noise that a cosine has reached after a tenth, and drops its last step."""

    def alpha_bar(u: float) -> float:
        return math.cos((u + 0.1) / 1.1 * math.pi / 2) ** 2

    return np.concatenate(([1 - alpha_bar(0)], _falling(alpha_bar, steps)[:-1]))


SCHEDULES: Mapping[str, Callable[[int], np.ndarray]] = MappingProxyType(
    {
        "sqrt": _sqrt,
        "linear": _linear,
        "cosine": _cosine,
        "trunc_cos": _truncated_cosine,
        "trunc_lin": _truncated_linear,
        "pw_lin": _piecewise_linear,
    }
)


def respace(schedule: Schedule, kept: Sequence[int]) -> Schedule:
    """The process that knows only the steps ``kept`` (ascending); the network is still told their times in the full one."""
    index = torch.tensor(kept)
    alpha_bar_T = schedule.alpha_bar_T[index]
    return Schedule(_betas_between(alpha_bar_T), alpha_bar_T, schedule.time_T[index])


def space_timesteps(steps: int, respacing: str) -> list[int]:
    """Steps to keep: "ddim50" for 50 at one distance, or "10,15,20" for so many in each third (any number of parts).

    Raises:
        BadRequest: it is neither, or the steps do not allow it.
    """
    if respacing.startswith("ddim"):
        wanted = _whole(respacing[4:], respacing)
        for gap in range(1, steps + 1):
            if len(range(0, steps, gap)) == wanted:
                return list(range(0, steps, gap))
        raise BadRequest(f"timestep respacing {respacing!r}: {steps} steps have no whole distance that leaves {wanted} of them.")
    counts = [_whole(part, respacing) for part in respacing.split(",")]
    kept, start = [], 0
    for part, count in enumerate(counts):
        size = steps // len(counts) + (part < steps % len(counts))
        if not 1 <= count <= size:
            raise BadRequest(f"timestep respacing {respacing!r}: part {part + 1} has {size} steps, {count} of them cannot be kept.")
        gap = (size - 1) / (count - 1) if count > 1 else 1.0
        # Summed up, not multiplied: halves then round as they do in the original.
        kept += [start + round(place) for place in accumulate([gap] * (count - 1), initial=0.0)]
        start += size
    return kept


def _whole(text: str, respacing: str) -> int:
    if not text.strip().isdecimal():
        raise BadRequest(f'timestep respacing {respacing!r}: write "ddim50", or numbers with commas such as "10,15,20".')
    return int(text)


def visited(start: int, steps: int) -> list[int]:
    """Steps that a sampler visits: evenly from ``start`` down to 0, both included; ``start`` alone if it is one step."""
    return np.linspace(start, 0, min(steps, start + 1)).round().astype(int).tolist()
