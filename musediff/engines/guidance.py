"""Classifier-free guidance, early and late: how much of it both engines apply at which share of the steps."""

START = 0.4  # share of the steps without guidance: early guidance hurts, late guidance helps


def ramped(weight: float, done: float) -> float:
    """The weight when a share ``done`` (0-1) of the steps lies behind: 1 at first, then in a line up to ``weight``."""
    return 1 + (weight - 1) * max(0.0, done - START) / (1 - START)
