"""Finding wrong notes: the network judges every visible field, the surest mistakes are hidden, the rest judged again."""

import torch
from torch import Tensor

from musediff.engines.slots.batch import Slots
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import mask_values

THRESHOLDS = (0.8, 0.5, 0.3, 0.2, 0.15)  # probability of being wrong that hides a field, round by round: sure ones first

SENSITIVITY_LOGITS = 8.0  # from sensitivity 0 to 1: at 1 a field that is wrong with a probability of 2 % counts as one of 50 %


def find_wrong(
    network: SlotsNetwork, slots: Slots, open_BNF: Tensor, sensitivity: float = 0.5, thresholds: tuple[float, ...] = THRESHOLDS
) -> Tensor:
    """Fields (B, N, F) judged wrong among those that are open. The share of damage need not be known.

    With the surest mistakes hidden the others are judged in a cleaner context. ``sensitivity`` 0-1 moves the judge's
    logits; .5 leaves them as they are.
    """
    wrong_BNF = torch.zeros_like(open_BNF)
    seen_BNF = slots.values_BNF
    for threshold in thresholds:
        logits = network.wrong_logits(network(slots.but(mask_values(wrong_BNF, seen_BNF)))).float()
        probability = (logits + SENSITIVITY_LOGITS * (sensitivity - 0.5)).sigmoid()
        wrong_BNF |= (probability > threshold) & open_BNF
    return wrong_BNF
