"""The original's loops, step for step: for comparing numbers with it, not for making music.

Its strided loop sets x to the noise level of t - 1 and then tells the network t - stride; it ends with noise left and
takes that for the result. Its strength picks the *noisiest* part of the chain. See docs/muse.md.
Suffixes as in ``process``.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from musediff.engines.muse.chain import Chain, each
from musediff.engines.muse.process import Rounding, ddim_step, p_mean_variance

Draw = Callable[[Tensor], Tensor]  # standard normal numbers in the shape of another tensor


def strided(total: int, step: int, strength: float | None = None) -> list[int]:
    """The steps that the original visits: every (total // step)-th from the last one down.

    With a strength it keeps the first int(step * strength) of them, and has noised to ``noised_to``.
    """
    times = list(range(total - 1, -1, -(total // step)))
    return times if strength is None else times[: int(step * strength)]


def noised_to(step: int, strength: float) -> int:
    """Up to which step the original noises what it modifies: counted in visits, used as a step of the full process."""
    return int(step * strength) - 1


def strided_loop(chain: Chain, x_BLD: Tensor, round_to: Rounding | None = None, clamp: bool = True) -> Iterator[Tensor]:
    """The deterministic DDIM loop. Yields x: the original reads tokens from the last one."""
    for t in chain.times:
        t_B = each(t, x_BLD)
        x0_BLD = p_mean_variance(x_BLD, chain.denoise(x_BLD, t), t_B, chain.schedule, round_to, clamp).x0_BLD
        x_BLD = chain.keep(ddim_step(x_BLD, x0_BLD, t_B, t_B - 1, chain.schedule))
        yield x_BLD


def ancestral_loop(
    chain: Chain,
    x_BLD: Tensor,
    draw: Draw,
    round_to: Rounding | None = None,
    clamp: bool = True,
    clamp_step: int = 0,
    top_p: float = 0.0,
) -> Iterator[Tensor]:
    """All steps of ``chain.times``, one by one. Rounding stops below ``clamp_step``; with ``top_p`` > 0 no noise is larger."""
    for t in chain.times:
        t_B = each(t, x_BLD)
        moments = p_mean_variance(x_BLD, chain.denoise(x_BLD, t), t_B, chain.schedule, round_to if t >= clamp_step else None, clamp)
        x_BLD = moments.mean_BLD
        noise_BLD = draw(x_BLD)
        while top_p > 0 and bool((beyond := noise_BLD.abs() > top_p).any()):
            noise_BLD = torch.where(beyond, draw(x_BLD), noise_BLD)
        if t > 0:
            x_BLD = x_BLD + (0.5 * moments.log_variance_B).exp() * noise_BLD
        x_BLD = chain.keep(x_BLD)
        yield x_BLD
