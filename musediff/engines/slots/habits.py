"""How tracks go about, in numbers that a listener would notice: loudness, steps, lengths, what comes again a bar later.

Suffixes as in ``network``, but: P positions of a bar, Q of all bars, U onsets, V steps from one to the next, W pairs of these, A numbers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.clip import TICKS_PER_QUARTER
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, bar_lengths
from musediff.engines.slots.line import notes_of, starts

QUARTER = TICKS_PER_QUARTER // vocab.POSITION_TICKS
STEP_EDGES = (-7.5, -4.5, -2.5, -0.5, 0.5, 2.5, 4.5, 7.5)  # semitones between kinds of steps
OF_NOTES, OF_TRACKS = 14, 8 + len(STEP_EDGES) + 1
_FAR = 1 << 16  # more than there are classes of anything


def of_notes(line: Slots) -> Tensor:
    """(B, M, OF_NOTES) of notes: velocity and its change, pitch and interval, wait and length, whether an onset or the very note was there
    a bar before. The first of a track counts as one that repeats. Of what is no note anything."""
    position_BM, pitch_BM, duration_BM, velocity_BM = line.values_BNF.unbind(-1)
    opens_BM = F.pad(starts(line)[:, :-1], (1, 0), value=True)  # nothing of the track is before it
    louder_BM, interval_BM, wait_BM = (
        torch.diff(x_BM, dim=1, prepend=x_BM[:, :1]).masked_fill(opens_BM, 0) for x_BM in (velocity_BM, pitch_BM, _when(line))
    )
    beat_BM = position_BM % QUARTER == 0
    numbers = (
        velocity_BM, louder_BM.abs(), louder_BM != 0, velocity_BM * beat_BM, louder_BM * beat_BM,
        pitch_BM, interval_BM.abs(), interval_BM > 0, interval_BM == 0,
        wait_BM == 0, wait_BM.float().log1p(), duration_BM.float().log1p(),
        *_a_bar_before(line),
    )  # fmt: skip
    return torch.stack([x_BM.float() for x_BM in numbers], -1)


def of_tracks(line: Slots, chosen_BM: Tensor) -> Tensor:
    """(B, OF_TRACKS) of the ``chosen`` notes of each row, of several tracks together: compass and range of velocities; how evenly notes are
    spread over bars, how much of a bar's rhythm is that of the bar before, whether all of it is, how many rhythms and tunes of bars are
    new; turns and steps of the top line."""
    compass_B, loudness_B = (_range(line.values_BNF[..., of], chosen_BM) for of in (vocab.PITCH, vocab.VELOCITY))
    return torch.cat((torch.stack((compass_B, loudness_B), 1), _bars(line, chosen_BM), _top_line(line, chosen_BM)), 1)


def _when(line: Slots) -> Tensor:
    """(B, M) positions since the beginning."""
    return line.bar_BN * bar_lengths(line)[:, None] + line.values_BNF[..., vocab.POSITION]


def _a_bar_before(line: Slots) -> tuple[Tensor, Tensor]:
    """(B, M) twice: whether the track has an onset at the same place of the bar before, and whether of the same pitch."""
    place_BM = (line.track_BN * line.pad_BR.shape[1] + line.bar_BN) * _FAR + line.values_BNF[..., vocab.POSITION]
    exact_BM = place_BM * vocab.SIZES[vocab.PITCH] + line.values_BNF[..., vocab.PITCH]
    note_BM, later_BM = notes_of(line), line.bar_BN > 0
    found = []
    for key_BM, bar in ((place_BM, _FAR), (exact_BM, _FAR * vocab.SIZES[vocab.PITCH])):
        there_BM = torch.where(note_BM, key_BM, -1)
        found.append((key_BM[:, :, None] - bar == there_BM[:, None]).any(-1) & later_BM)
    return found[0], found[1]


def _range(values_BM: Tensor, chosen_BM: Tensor) -> Tensor:
    """(B,) from the lowest to the highest; 0 without notes."""
    highest_B, lowest_B = torch.where(chosen_BM, values_BM, -_FAR).amax(1), torch.where(chosen_BM, values_BM, _FAR).amin(1)
    return (highest_B - lowest_B).clamp(min=0).float()


def _bars(line: Slots, chosen_BM: Tensor) -> Tensor:
    """(B, 5)."""
    (batch, bars), positions = line.pad_BR.shape, vocab.MAX_POSITIONS
    row_X, bar_X, values_XF = chosen_BM.nonzero()[:, 0], line.bar_BN[chosen_BM], line.values_BNF[chosen_BM]
    place_X = (row_X * bars + bar_X) * positions + values_XF[:, vocab.POSITION]
    tune_Q = row_X.new_zeros(batch * bars * positions).scatter_reduce_(0, place_X, values_XF[:, vocab.PITCH] + 1, "amax")
    tune_BRP = tune_Q.view(batch, bars, positions)
    real_BR, rhythm_BRP = ~line.pad_BR, tune_BRP > 0
    notes_BR = torch.bincount(row_X * bars + bar_X, minlength=batch * bars).view(batch, bars).float()
    number_B, follows_BR = real_BR.sum(1), real_BR[:, 1:]
    mean_B = notes_BR.sum(1) / number_B
    uneven_B = ((notes_BR - mean_B[:, None]).square() * real_BR).sum(1).div(number_B).sqrt()
    differ_BRP = rhythm_BRP[:, 1:] != rhythm_BRP[:, :-1]
    alike_B = ((1 - differ_BRP.float().mean(-1)) * follows_BR).sum(1) / (number_B - 1).clamp(min=1)
    same_B = (~differ_BRP.any(-1) & follows_BR).sum(1) / (number_B - 1).clamp(min=1)
    new = [_first_of_its_kind(of_BRP) & real_BR for of_BRP in (rhythm_BRP, tune_BRP)]
    return torch.stack((uneven_B, alike_B, same_B, *(new_BR.sum(1) / number_B for new_BR in new)), 1)


def _first_of_its_kind(bars_BRP: Tensor) -> Tensor:
    """(B, R) whether no bar before is the same."""
    same_BRR = (bars_BRP[:, :, None] == bars_BRP[:, None]).all(-1)
    return ~(same_BRR.tril(-1).any(-1))


def _top_line(line: Slots, chosen_BM: Tensor) -> Tensor:
    """(B, 1 + kinds of steps) share of the steps that do not go on in the direction of the one before, and of each kind. Steps lead from
    onset to onset of a track."""
    batch, kinds = len(chosen_BM), len(STEP_EDGES) + 1
    row_BM = torch.arange(batch, device=chosen_BM.device)[:, None].expand_as(chosen_BM)
    part_BM, when_BM = row_BM * vocab.MAX_TRACKS + line.track_BN, _when(line)
    under_BM = chosen_BM[:, 1:] & (when_BM[:, 1:] == when_BM[:, :-1]) & (part_BM[:, 1:] == part_BM[:, :-1])
    top_BM = chosen_BM & ~F.pad(under_BM, (0, 1))
    pitch_U, part_U = line.values_BNF[..., vocab.PITCH][top_BM], part_BM[top_BM]
    within_V = part_U[1:] == part_U[:-1]
    step_V, part_V = pitch_U.diff()[within_V], part_U[1:][within_V]
    row_V = part_V // vocab.MAX_TRACKS
    turns_W = (step_V[1:].sign() != step_V[:-1].sign()) & (part_V[1:] == part_V[:-1])
    turns_B = torch.bincount(row_V[1:][turns_W], minlength=batch)
    kind_V = torch.bucketize(step_V.float(), torch.tensor(STEP_EDGES, device=step_V.device))
    kinds_BA = torch.bincount(row_V * kinds + kind_V, minlength=batch * kinds).view(batch, kinds)
    steps_B1 = kinds_BA.sum(1, keepdim=True).clamp(min=1)
    return torch.cat((turns_B[:, None], kinds_BA), 1) / steps_B1
