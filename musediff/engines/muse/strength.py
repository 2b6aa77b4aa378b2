"""Strength as a share of tokens: an embedding table and a schedule -> how many tokens survive each step, and the inverse.

Wide embeddings survive noise for long: a start time in proportion to the strength would change nothing up to about 0.6.
Suffixes: V vocabulary, D embedding width, N draws, T steps.
"""

import numpy as np
import torch
from torch import Tensor

from musediff.engines.muse.schedule import Schedule

DRAWS = 16


@torch.no_grad()
def breaking_points(table_VD: Tensor, generator: torch.Generator, draws: int = DRAWS) -> Tensor:
    """(N, V) signal-to-noise ratios (of amplitudes) under which a noised token has another one for its nearest neighbour.

    With noise n, token u is nearer to v than to itself once signal / noise < 2 n·(v - u) / |v - u|²: so one draw tells
    about all noise levels at once. Equal rows cannot be told apart at any level: of those, the others count as no rival.
    """
    table_VD = table_VD.double().cpu()
    norm_V = table_VD.square().sum(-1)
    gap_VV = norm_V[:, None] + norm_V - 2 * table_VD @ table_VD.T
    gap_VV = torch.where(gap_VV > 1e-9 * norm_V.mean(), gap_VV, torch.inf)
    found = []
    for _ in range(draws):
        noise_VD = torch.randn(table_VD.shape, generator=generator, dtype=torch.float64)
        toward_VV = noise_VD @ table_VD.T - (noise_VD * table_VD).sum(-1, keepdim=True)
        found.append((2 * toward_VV / gap_VV).amax(-1))
    return torch.stack(found)


def survival(
    table_VD: Tensor, schedule: Schedule, generator: torch.Generator, weight_V: Tensor | None = None, draws: int = DRAWS
) -> np.ndarray:
    """(T,) share of the tokens whose nearest neighbour in the table is still themselves after noising to each step.

    ``weight_V`` says how often each token occurs (default: all alike). The curve never rises.
    """
    breaking_NV = breaking_points(table_VD, generator, draws)
    weight_NV = torch.ones_like(breaking_NV) if weight_V is None else weight_V.double().cpu().expand_as(breaking_NV)
    breaking, order = breaking_NV.flatten().sort()
    share = torch.cat((torch.zeros(1, dtype=torch.float64), weight_NV.flatten()[order].cumsum(0)))
    ratio_T = (schedule.alpha_bar_T / (1 - schedule.alpha_bar_T)).sqrt()
    return (share[torch.searchsorted(breaking, ratio_T)] / share[-1]).numpy()


def time_for_strength(strength: float, survival_T: np.ndarray) -> int:
    """The latest step that 1 - strength of the tokens survive; -1 (clean) at strength 0, the last step at 1."""
    if strength <= 0:
        return -1
    return int((survival_T >= 1 - strength).sum()) - 1
