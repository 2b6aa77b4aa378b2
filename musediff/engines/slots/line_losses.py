"""How much the notes of a line surprise a network that reads in line: cross-entropy of the decisions that make up a note.

Each part is divided by the number of notes, so that their sum is the negative log-likelihood in nats per note. That a track
is over is part of ``advance``. Suffixes as in ``network``; X notes that follow on a token, Y real tokens.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.line import Following, following
from musediff.engines.slots.reading import InLine, Read

PARTS = ("advance", *vocab.FIELDS)


@dataclass(slots=True)
class Surprise:
    """In nats, of each token what follows it, and of each note its fields."""

    follows: Following
    advance_Y: Tensor
    fields_XF: Tensor


def surprise(network: InLine, line: Slots, read: Read) -> Surprise:
    """Of a line that was read."""
    follows = following(line)
    advance_Y = F.cross_entropy(network.advance_logits(read.line_BMD[follows.real_BM]).float(), follows.advance_Y, reduction="none")
    note_BM = follows.note_BM
    values_XF, clip_X = line.values_BNF[note_BM], note_BM.nonzero()[:, 0]
    advance_X = line.bar_BN[note_BM] - line.bar_BN[follows.before_BM]
    place = read.around.take(note_BM)
    ahead_XD = network.ahead(read.line_BMD[follows.before_BM], read.bar_BRD[clip_X, line.bar_BN[note_BM]], advance_X, place)
    fields = [
        F.cross_entropy(network.field_logits(field, ahead_XD, values_XF, place).float(), values_XF[:, field], reduction="none")
        for field in range(len(vocab.FIELDS))
    ]
    return Surprise(follows, advance_Y, torch.stack(fields, -1))


def line_losses(network: InLine, line: Slots) -> Tensor:
    """(1 + F,) sums over the batch, in the order of ``PARTS``."""
    of = surprise(network, line, network.read_line(line))
    return torch.cat((of.advance_Y.sum()[None], of.fields_XF.sum(0)))
