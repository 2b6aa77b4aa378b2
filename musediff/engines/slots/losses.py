"""What the slots network is trained on, in parts.

Notes: cross-entropy of the hidden fields (the masked-diffusion bound without its 1/t weight, which only adds variance:
all rates count alike), of the fields of wrong notes that are in sight, and a little of those that are right, so that
the probability of what is seen is calibrated. Judge: is a visible note wrong? Counts: notes per bar and track.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, place_at
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import Noised, mask_values

WRONG_WEIGHT, RIGHT_WEIGHT, RIGHT_SHARE = 0.5, 0.1, 0.15
JUDGE_WEIGHT = 2


@dataclass(slots=True)
class NoteLosses:
    """Sums over the batch. What is trained is each over its tokens, of this batch or of many, see ``note_tokens``."""

    parts: Tensor  # (F + 1,) of the fields, in the order of vocab.FIELDS, and of the judge
    hidden: list[Tensor]  # for the log: means over the hidden fields alone
    judge: Tensor
    hidden_B: Tensor  # sums over the hidden fields of each clip


def note_weights(noised: Noised, generator: torch.Generator) -> Tensor:
    """(B, N, F) what each field counts; 0 where nothing is trained."""
    wrong_BN = noised.wrong_BNF.any(-1)
    right_BN = noised.judged_BNF.all(-1) & ~wrong_BN
    right_BN = right_BN & (torch.rand(right_BN.shape, generator=generator, device=right_BN.device) < RIGHT_SHARE)
    seen_BN = torch.where(wrong_BN, WRONG_WEIGHT, torch.where(right_BN, RIGHT_WEIGHT, 0.0))
    return torch.where(noised.hidden_BNF, 1.0, seen_BN[..., None])


def note_tokens(noised: Noised, weight_BNF: Tensor) -> Tensor:
    """(F + 1,) weighted tokens of each part of the losses."""
    return torch.cat((weight_BNF.sum((0, 1)), noised.judged_BNF.sum()[None]))


def note_losses(network: SlotsNetwork, noised: Noised, weight_BNF: Tensor) -> NoteLosses:
    """Losses of one noised batch."""
    hidden = network(noised.slots)
    need_BN = (weight_BNF > 0).any(-1)
    clip_X = need_BN.nonzero()[:, 0]
    slot_XD, clean_XF, hidden_XF = hidden.slot_BND[need_BN], noised.clean_BNF[need_BN], noised.hidden_BNF[need_BN]
    place = place_at(noised.slots, noised.clean_BNF[..., vocab.POSITION]).take(need_BN)
    parts, fields, hidden_B = [], [], torch.zeros(len(need_BN), device=need_BN.device)
    for field in range(len(vocab.FIELDS)):
        logits_XV = network.field_logits(field, slot_XD, clean_XF, place)
        loss_X = F.cross_entropy(logits_XV.float(), clean_XF[:, field], reduction="none")
        parts.append((loss_X * weight_BNF[need_BN][:, field]).sum())
        loss_X = loss_X.detach() * hidden_XF[:, field]
        fields.append(loss_X.sum() / hidden_XF[:, field].sum().clamp(min=1))
        hidden_B.index_add_(0, clip_X, loss_X)
    judge_BNF = F.binary_cross_entropy_with_logits(network.wrong_logits(hidden).float(), noised.wrong_BNF.float(), reduction="none")
    judge = (judge_BNF * noised.judged_BNF).sum()
    mean = judge.detach() / noised.judged_BNF.sum().clamp(min=1)
    return NoteLosses(torch.stack((*parts, JUDGE_WEIGHT * judge)), fields, mean, hidden_B)


@dataclass(slots=True)
class HiddenCounts:
    """A batch whose counts are to be found."""

    slots: Slots  # what the network sees
    hidden_BRK: Tensor
    counts_BRK: Tensor  # what it should say


def hide_counts(slots: Slots, generator: torch.Generator) -> HiddenCounts:
    """Hide counts of a clean batch. Notes of bars whose count is hidden are out of sight; in most batches
    all notes are, so that counts can be drawn before any note exists."""
    batch, bars, tracks = slots.counts_BRK.shape
    device = slots.counts_BRK.device
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=device)  # noqa: E731
    real_BRK = ~(slots.pad_BR[:, :, None] | slots.pad_BK[:, None, :])
    whole_track = draw(batch, 1, tracks) < 0.3
    hidden_BRK = ((draw(batch, bars, tracks) < draw(batch, 1, 1)) | whole_track) & real_BRK
    out = slots.pad_BN | (draw(1, 1) < 0.6)  # one decision a batch: then the sequences really are short
    of_bar = slots.bar_BN * tracks + slots.track_BN
    out = out | hidden_BRK.flatten(1).gather(1, of_bar)
    seen = slots.but(slots.values_BNF)
    seen.counts_BRK = torch.where(hidden_BRK, vocab.COUNT_MASK, slots.counts_BRK)
    seen.given_BN, seen.pad_BN = ~out, out
    return HiddenCounts(crop(seen), hidden_BRK, slots.counts_BRK)


def count_loss(network: SlotsNetwork, hidden: HiddenCounts) -> Tensor:
    """Cross-entropy of the hidden counts, summed; 0 where nothing is hidden, as can be in a batch of one."""
    logits = network.count_logits(network(hidden.slots))[hidden.hidden_BRK]
    return F.cross_entropy(logits.float(), hidden.counts_BRK[hidden.hidden_BRK], reduction="sum")


def nats(network: SlotsNetwork, slots: Slots, generator: torch.Generator) -> Tensor:
    """(2,) nats of the numbers of notes and of the notes of a clean batch: estimates, by one draw a clip, of upper bounds of what they
    cost when they are revealed one by one in random order, as sampling does with enough steps (Hoogeboom et al. 2022, equation 3).

    With both, a whole clip is coded: their sum stands beside the likelihood of a network that writes note after note.
    """
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=slots.pad_BN.device)  # noqa: E731
    real_BC = ~(slots.pad_BR[:, :, None] | slots.pad_BK[:, None, :]).flatten(1)
    hidden_BC, weight_BC = _some(real_BC, draw)
    hidden_BRK = hidden_BC.view_as(slots.counts_BRK)
    seen = slots.but(slots.values_BNF)
    seen.counts_BRK = torch.where(hidden_BRK, vocab.COUNT_MASK, slots.counts_BRK)
    seen.pad_BN = torch.ones_like(slots.pad_BN)  # numbers are drawn before any note
    logits = network.count_logits(network(crop(seen)))[hidden_BRK]
    of_counts = F.cross_entropy(logits.float(), slots.counts_BRK[hidden_BRK], reduction="none") @ weight_BC[hidden_BC]

    hidden_BN, weight_BN = _some(~slots.pad_BN, draw)
    seen = slots.but(mask_values(hidden_BN[..., None].expand_as(slots.values_BNF), slots.values_BNF))
    place = place_at(seen, slots.values_BNF[..., vocab.POSITION]).take(hidden_BN)
    slot_XD, clean_XF = network(seen).slot_BND[hidden_BN], slots.values_BNF[hidden_BN]
    each = [network.field_logits(field, slot_XD, clean_XF, place).float() for field in range(len(vocab.FIELDS))]
    of_fields = [F.cross_entropy(logits, clean_XF[:, field], reduction="none") for field, logits in enumerate(each)]
    return torch.stack((of_counts, torch.stack(of_fields).sum(0) @ weight_BN[hidden_BN]))


def _some(real_BX: Tensor, draw: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Any number of the real ones of each clip, hidden: which, and what each counts for so that all of a clip are counted."""
    there_B = real_BX.sum(1)
    number_B = (1 + (draw(len(real_BX)) * there_B).long()).minimum(there_B)
    rank_BX = draw(*real_BX.shape).masked_fill(~real_BX, 2.0).argsort(1).argsort(1)
    return rank_BX < number_B[:, None], (there_B / number_B.clamp(min=1))[:, None].expand(real_BX.shape)


def crop(slots: Slots) -> Slots:
    """The same batch with its visible notes moved to the front and the padding behind the longest clip cut off."""
    longest = max(1, int((~slots.pad_BN).sum(1).max()))
    order = slots.pad_BN.long().argsort(stable=True, dim=1)[:, :longest]
    return slots.of_notes(lambda x: x.gather(1, order.view(*order.shape, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])))
