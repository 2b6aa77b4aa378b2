"""Classifier-free guidance: what it makes of a prediction, and how much of it is applied at which share of the steps."""

from torch import Tensor

START = 0.4  # share of the steps without guidance: early guidance hurts, late guidance helps


def guided(said: Tensor, free: Tensor, weight: float) -> Tensor:
    """A prediction, of x0 or of logits (normalised or not), moved on from the one that knows no condition (Ho and Salimans 2022,
    https://arxiv.org/abs/2207.12598, equation 6; its w is ``weight`` - 1)."""
    return free + weight * (said - free)


def ramped(weight: float, done: float) -> float:
    """The weight when a share ``done`` (0-1) of the steps lies behind: 1 at first, then in a line up to ``weight``."""
    return 1 + (weight - 1) * max(0.0, done - START) / (1 - START)
