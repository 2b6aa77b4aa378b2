"""What the slots network is trained on, in parts.

Notes: cross-entropy of the hidden fields (the masked-diffusion bound without its 1/t weight, which only adds variance:
all rates count alike), of the fields of wrong notes that are in sight, and a little of those that are right, so that
the probability of what is seen is calibrated. Judge: is a visible note wrong? Counts: notes per bar and track.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.network import Slots, SlotsNetwork, chord_at
from musediff.engines.slots.process import Noised

WRONG_WEIGHT, RIGHT_WEIGHT, RIGHT_SHARE = 0.5, 0.1, 0.15


@dataclass(slots=True)
class NoteLosses:
    """Means over the batch; ``total`` is what is trained."""

    total: Tensor
    fields: list[Tensor]  # of the hidden fields, in the order of vocab.FIELDS
    judge: Tensor


def note_losses(network: SlotsNetwork, noised: Noised, generator: torch.Generator) -> NoteLosses:
    """Losses of one noised batch."""
    hidden = network(noised.slots)
    wrong_BN = noised.wrong_BNF.any(-1)
    right_BN = noised.judged_BNF.all(-1) & ~wrong_BN
    right_BN = right_BN & (torch.rand(right_BN.shape, generator=generator, device=right_BN.device) < RIGHT_SHARE)
    need_BN = noised.hidden_BNF.any(-1) | wrong_BN | right_BN
    slot_XD, clean_XF, hidden_XF = hidden.slot_BND[need_BN], noised.clean_BNF[need_BN], noised.hidden_BNF[need_BN]
    visible_X = torch.where(wrong_BN[need_BN], WRONG_WEIGHT, torch.where(right_BN[need_BN], RIGHT_WEIGHT, 0.0))
    chord_X = chord_at(noised.slots, noised.clean_BNF[..., vocab.POSITION])[need_BN]
    total, fields = slot_XD.new_zeros((), dtype=torch.float32), []
    for field in range(len(vocab.FIELDS)):
        logits_XV = network.field_logits(field, slot_XD, clean_XF, chord_X)
        loss_X = F.cross_entropy(logits_XV.float(), clean_XF[:, field], reduction="none")
        weight_X = torch.where(hidden_XF[:, field], 1.0, visible_X)
        total = total + (loss_X * weight_X).sum() / weight_X.sum().clamp(min=1)
        fields.append((loss_X * hidden_XF[:, field]).sum().detach() / hidden_XF[:, field].sum().clamp(min=1))
    judge_BNF = F.binary_cross_entropy_with_logits(network.wrong_logits(hidden).float(), noised.wrong_BNF.float(), reduction="none")
    judge = (judge_BNF * noised.judged_BNF).sum() / noised.judged_BNF.sum().clamp(min=1)
    return NoteLosses(total + 2 * judge, fields, judge.detach())


def count_loss(network: SlotsNetwork, slots: Slots, generator: torch.Generator) -> Tensor:
    """Mean cross-entropy of hidden counts. Notes of bars whose count is hidden are out of sight; in most batches
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
    logits = network.count_logits(network(crop(seen)))[hidden_BRK]
    total = F.cross_entropy(logits.float(), slots.counts_BRK[hidden_BRK], reduction="sum")
    return total / hidden_BRK.sum().clamp(min=1)  # a batch of one may have nothing hidden


def crop(slots: Slots) -> Slots:
    """The same batch with its visible notes moved to the front and the padding behind the longest clip cut off."""
    longest = max(1, int((~slots.pad_BN).sum(1).max()))
    order = slots.pad_BN.long().argsort(stable=True, dim=1)[:, :longest]
    pick = lambda x: x.gather(1, order)  # noqa: E731
    values = slots.values_BNF.gather(1, order[..., None].expand(-1, -1, len(vocab.FIELDS)))
    cut = slots.but(values)
    for name in ("bar_BN", "track_BN", "index_BN", "ordinal_BN", "given_BN", "pad_BN"):
        setattr(cut, name, pick(getattr(slots, name)))
    return cut
