"""Note slots -> one line of tokens: for each track its start, then its notes; and what follows on each of them.

A line is a ``Slots`` whose starts are slots with the class "masked" in every field, at the first bar of their track. Suffixes as
in ``network``.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots, masked, place_at

MOST_ADVANCE = 64
OVER = MOST_ADVANCE  # the class of an advance that says: no more notes in this track
ADVANCES = MOST_ADVANCE + 1


def in_line(slots: Slots) -> Slots:
    """Slots sorted by track, bar, position and pitch, with a start before those of each track. Padding comes last."""
    batch, notes = slots.pad_BN.shape
    tracks = slots.pad_BK.shape[1]
    track_K = torch.arange(tracks, device=slots.pad_BN.device)
    last = tracks * (notes + 1)
    note_key = torch.where(slots.pad_BN, last, slots.track_BN * (notes + 1) + 1 + torch.arange(notes, device=track_K.device))
    start_key = torch.where(slots.pad_BK, last, track_K * (notes + 1))
    order = torch.cat((start_key, note_key), 1).argsort(dim=1, stable=True)

    def with_starts(of_starts: Tensor, of_notes: Tensor) -> Tensor:
        both = torch.cat((of_starts.expand(batch, *of_starts.shape[-of_notes.ndim + 1 :]), of_notes), 1)
        return both.gather(1, order.view(*order.shape, *[1] * (both.ndim - 2)).expand_as(both))

    zero_K = torch.zeros_like(track_K)
    start_KF = masked(track_K.device).expand(tracks, -1)
    return replace(
        slots,
        values_BNF=with_starts(start_KF, slots.values_BNF),
        bar_BN=with_starts(zero_K, slots.bar_BN),
        track_BN=with_starts(track_K, slots.track_BN),
        index_BN=with_starts(zero_K, slots.index_BN),
        ordinal_BN=with_starts(zero_K, slots.ordinal_BN),
        given_BN=with_starts(zero_K.bool(), slots.given_BN),
        pad_BN=with_starts(slots.pad_BK, slots.pad_BN),
    )


def starts(line: Slots) -> Tensor:
    """(B, M) the tokens that are no notes."""
    return line.values_BNF[..., vocab.POSITION] == vocab.SIZES[vocab.POSITION]


def notes_of(line: Slots) -> Tensor:
    """(B, M) the tokens that are."""
    return ~(starts(line) | line.pad_BN)


def lengthened(line: Slots, tokens: int) -> Slots:
    """With padding up to so many tokens."""
    more = tokens - line.pad_BN.shape[1]
    longer = line.of_notes(lambda x_BM: F.pad(x_BM, (*[0, 0] * (x_BM.ndim - 2), 0, more)))
    longer.pad_BN[:, tokens - more :] = True
    return longer


def past_of(line: Slots, position_BY: Tensor) -> Place:
    """Place (B, Y) of the last Y tokens of a line, if they begin at ``position_BY``, among the notes before them."""
    return place_at(replace(line, pad_BN=~notes_of(line)), position_BY, past=True)


@dataclass(slots=True)
class Following:
    """What each token of a line is followed by; Y real tokens, X of them followed by a note of their track."""

    real_BM: Tensor  # no padding
    before_BM: Tensor  # followed by a note
    note_BM: Tensor  # these notes, in the same order
    advance_Y: Tensor  # bars from each real token to the note after it, or ``OVER``


def following(line: Slots) -> Following:
    """What there is to predict."""
    note_BM = notes_of(line)
    before_BM = F.pad(note_BM[:, 1:], (0, 1))
    advance_BM = torch.full_like(line.bar_BN, OVER)
    advance_BM[before_BM] = line.bar_BN[note_BM] - line.bar_BN[before_BM]
    return Following(~line.pad_BN, before_BM, note_BM, advance_BM[~line.pad_BN])
