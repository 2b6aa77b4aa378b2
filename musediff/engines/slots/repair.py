"""Finding wrong notes: the network judges every visible field, the surest mistakes are hidden, the rest judged again. Then each pitch is
hidden in turn, and what the network expects there tells whether it slipped.

The judge alone knows a note that is all made up (F1 .97), but not one that is as it was played on another key: of pitches that are one
to four semitones off, a tenth of the notes, it found 7 % in main melodies and 6 % in accompaniments, with the second step 46 and 56 %.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, place_at
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import mask_values

THRESHOLDS = (0.8, 0.5, 0.3, 0.2, 0.15)  # probability of being wrong that hides a field, round by round: sure ones first

SENSITIVITY_LOGITS = 8.0  # from sensitivity 0 to 1: at 1 a field that is wrong with a probability of 2 % counts as one of 50 %

GROUPS = 6  # notes that follow each other are in different ones, so that a pitch is looked at beside its neighbours
SLIPPED = 0.03  # share of pitches that is taken to be wrong beforehand; .05 finds .07 more of slips and touches .004 more of what is right
SLIP = 4  # semitones at most,
ANYWHERE = 0.25  # but for this share of them
MARGINS = (1.5, 0.0)  # logit that hides a pitch, round by round


def find_wrong(
    network: SlotsNetwork, slots: Slots, open_BNF: Tensor, sensitivity: float = 0.5, thresholds: tuple[float, ...] = THRESHOLDS
) -> Tensor:
    """Fields (B, N, F) judged wrong among those that are open. The share of damage need not be known.

    With the surest mistakes hidden the others are judged in a cleaner context. ``sensitivity`` 0-1 moves the logits of the judge and
    of slipped pitches; .5 leaves them as they are.
    """
    wrong_BNF = torch.zeros_like(open_BNF)
    seen_BNF, shift = slots.values_BNF, SENSITIVITY_LOGITS * (sensitivity - 0.5)
    for threshold in thresholds:
        logits = network.wrong_logits(network(slots.but(mask_values(wrong_BNF, seen_BNF)))).float()
        wrong_BNF |= ((logits + shift).sigmoid() > threshold) & open_BNF
    for margin in MARGINS:
        wrong_BNF[..., vocab.PITCH] |= (slipped_logits(network, slots, wrong_BNF) + shift > margin) & open_BNF[..., vocab.PITCH]
    return wrong_BNF


def slipped_logits(network: SlotsNetwork, slots: Slots, wrong_BNF: Tensor) -> Tensor:
    """Logit (B, N) of each pitch having slipped, by Bayes' rule from what the network expects there when it is hidden; -inf for
    notes with a field that is wrong already."""
    position_BN = slots.values_BNF[..., vocab.POSITION]
    whole_BN = ~(slots.pad_BN | wrong_BNF.any(-1))
    logit_BN = torch.full_like(position_BN, -torch.inf, dtype=torch.float32)
    for group in range(GROUPS):
        now_BN = whole_BN & (torch.arange(whole_BN.shape[1], device=whole_BN.device) % GROUPS == group)
        if not now_BN.any():
            continue
        hidden_BNF = wrong_BNF.clone()
        hidden_BNF[..., vocab.PITCH] |= now_BN
        shown = slots.but(mask_values(hidden_BNF, slots.values_BNF))
        place = place_at(shown, position_BN).take(now_BN)
        logits_XV = network.field_logits(vocab.PITCH, network(shown).slot_BND[now_BN], shown.values_BNF[now_BN], place)
        logit_BN[now_BN] = logit_of_slip(logits_XV.float().softmax(-1), slots.values_BNF[now_BN][:, vocab.PITCH])
    return logit_BN


def logit_of_slip(expected_XV: Tensor, pitch_X: Tensor) -> Tensor:
    """Probabilities of the right pitch, the pitch that is there -> logit that it is not the right one."""
    around_XS = F.pad(expected_XV, (SLIP, SLIP)).unfold(1, 2 * SLIP + 1, 1)[torch.arange(len(pitch_X), device=pitch_X.device), pitch_X]
    right_X = around_XS[:, SLIP]
    slipped_X = (1 - ANYWHERE) * (around_XS.sum(1) - right_X) / (2 * SLIP) + ANYWHERE / expected_XV.shape[1]
    return torch.log(slipped_X / right_X.clamp(min=1e-9)) + math.log(SLIPPED / (1 - SLIPPED))
