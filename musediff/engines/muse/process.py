"""Noising and one step back: embeddings and a time -> noised embeddings, and from a guess at the clean ones a step nearer to them.

Suffixes: B batch, L tokens, D embedding width, V vocabulary. ``noised_BL`` is False where a token is given: it is never
noised (partial noising, Gong et al. 2023). Times are steps of a ``Schedule``, one per row, -1 for clean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from musediff.engines.muse.schedule import Schedule

Rounding = Callable[[Tensor], Tensor]


def rows(values_B: Tensor, like_BLD: Tensor) -> Tensor:
    """Numbers per row, shaped to multiply ``like_BLD``."""
    return values_B.to(like_BLD.dtype).to(like_BLD.device)[:, None, None]


def scales(schedule: Schedule, t_B: Tensor, like_BLD: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the signal and of the noise, (B, 1, 1) each."""
    alpha_bar_B = schedule.alpha_bar(t_B)
    return rows(alpha_bar_B.sqrt(), like_BLD), rows((1 - alpha_bar_B).sqrt(), like_BLD)


def anchored(x_BLD: Tensor, anchor_BLD: Tensor, noised_BL: Tensor) -> Tensor:
    """``x_BLD`` with the given tokens put back."""
    return torch.where(noised_BL[..., None], x_BLD, anchor_BLD)


def q_sample(x0_BLD: Tensor, t_B: Tensor, schedule: Schedule, noise_BLD: Tensor, noised_BL: Tensor | None = None) -> Tensor:
    """A sample of q(x_t | x0); given tokens stay."""
    signal, noise = scales(schedule, t_B, x0_BLD)
    x_BLD = signal * x0_BLD + noise * noise_BLD
    return x_BLD if noised_BL is None else anchored(x_BLD, x0_BLD, noised_BL)


def predict_noise(x_BLD: Tensor, x0_BLD: Tensor, t_B: Tensor, schedule: Schedule) -> Tensor:
    """The noise in ``x_BLD`` if ``x0_BLD`` is what is clean."""
    signal, noise = scales(schedule, t_B, x_BLD)
    return (x_BLD - signal * x0_BLD) / noise


def posterior(x_BLD: Tensor, x0_BLD: Tensor, t_B: Tensor, s_B: Tensor, schedule: Schedule) -> tuple[Tensor, Tensor]:
    """Mean (B, L, D) and variance (B, 1, 1) of q(x_s | x_t, x0) for any s < t (Ho et al. 2020, eq. 7, over several steps)."""
    bar_t, bar_s = schedule.alpha_bar(t_B), schedule.alpha_bar(s_B)
    alpha = bar_t / bar_s
    of_x0 = rows(bar_s.sqrt() * (1 - alpha) / (1 - bar_t), x_BLD)
    of_x = rows(alpha.sqrt() * (1 - bar_s) / (1 - bar_t), x_BLD)
    return of_x0 * x0_BLD + of_x * x_BLD, rows((1 - alpha) * (1 - bar_s) / (1 - bar_t), x_BLD)


def ddim_step(
    x_BLD: Tensor, x0_BLD: Tensor, t_B: Tensor, s_B: Tensor, schedule: Schedule, eta: float = 0.0, noise_BLD: Tensor | None = None
) -> Tensor:
    """From x_t to x_s (Song et al. 2021, eq. 12). ``eta`` 0 adds no noise; with 1 it is a sample of the posterior."""
    bar_t, bar_s = schedule.alpha_bar(t_B), schedule.alpha_bar(s_B)
    sigma_B = eta * ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).sqrt()
    kept = rows((1 - bar_s - sigma_B**2).clamp(min=0).sqrt(), x_BLD)
    x_BLD = rows(bar_s.sqrt(), x_BLD) * x0_BLD + kept * predict_noise(x_BLD, x0_BLD, t_B, schedule)
    if noise_BLD is None:
        assert eta == 0
        return x_BLD
    return x_BLD + rows(sigma_B, x_BLD) * noise_BLD


def nearest(x_BLD: Tensor, table_VD: Tensor) -> Tensor:
    """(B, L) ids of the nearest rows of an embedding table, by Euclidean distance."""
    return (x_BLD @ table_VD.T - 0.5 * table_VD.square().sum(-1)).argmax(-1)


def rounding(table_VD: Tensor) -> Rounding:
    """The function that replaces embeddings by the nearest of a table."""
    return lambda x_BLD: table_VD[nearest(x_BLD, table_VD)]


@dataclass(frozen=True, slots=True)
class Moments:
    """Of p(x_{t-1} | x_t): mean and x0 (B, L, D), variances (B, 1, 1)."""

    mean_BLD: Tensor
    variance_B: Tensor
    log_variance_B: Tensor
    x0_BLD: Tensor


def p_mean_variance(
    x_BLD: Tensor, x0_BLD: Tensor, t_B: Tensor, schedule: Schedule, round_to: Rounding | None = None, clamp: bool = False
) -> Moments:
    """One ancestral step from a prediction of x0, which may be rounded to the table and then clamped to [-1, 1].

    Clamping cuts off whatever an embedding has beyond 1; it is here because the original does it.
    """
    if round_to is not None:
        x0_BLD = round_to(x0_BLD)
    if clamp:
        x0_BLD = x0_BLD.clamp(-1, 1)
    mean_BLD, _ = posterior(x_BLD, x0_BLD, t_B, t_B - 1, schedule)
    variance_B = schedule.sampling_variance_T[t_B.cpu()]
    return Moments(mean_BLD, rows(variance_B, x_BLD), rows(variance_B.log(), x_BLD), x0_BLD)
