"""What followed when the notes before were last like these: how a line of notes repeats itself.

Of every token the longest match of the notes up to it with earlier ones is looked up, as predictors by partial matching do (Pearce and
Wiggins 2004, https://doi.org/10.1080/0929821052000343840), and what stood behind it, in the same track. Notes are alike in one of three
ways: same place in the bar and pitch; same wait and interval since the note before; same wait and duration.

Shape suffixes: B batch, M tokens of the line, G ways of being alike, F fields, X notes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, bar_lengths
from musediff.engines.slots.line import starts

LONGEST = 12  # notes of a match that are told apart
WAYS = 3
REPETITION = WAYS * (3 + len(vocab.FIELDS))  # numbers that tell of a note how it repeats what was before
_WIDE = 1024  # more than there are classes of anything, or steps between two of them
_NONE = -1  # what is like nothing


@dataclass(slots=True)
class Recall:
    """Of each token. ``values``: of the note that would follow, by the same steps in time and pitch; -1: none, or no such class."""

    length_BMG: Tensor  # notes that are alike, at most LONGEST; 0: nothing is recalled
    values_BMGF: Tensor


def recall(line: Slots) -> Recall:
    """Of a whole line; of padding anything."""
    start_BM, pitch_BM, duration_BM = starts(line), line.values_BNF[..., vocab.PITCH], line.values_BNF[..., vocab.DURATION]
    bar_B = bar_lengths(line)
    when_BM = line.bar_BN * bar_B[:, None] + line.values_BNF[..., vocab.POSITION]
    wait_BM, interval_BM = (torch.diff(x_BM, dim=1, prepend=x_BM[:, :1]) for x_BM in (when_BM, pitch_BM))
    wait_BM = wait_BM.clamp(0, _WIDE - 1)
    alike = (line.values_BNF[..., vocab.POSITION] * _WIDE + pitch_BM, wait_BM * _WIDE + interval_BM + 128, wait_BM * _WIDE + duration_BM)
    own_BM = line.track_BN * _WIDE * _WIDE  # no track is like another
    found = [_latest(torch.where(start_BM | line.pad_BN, _NONE, own_BM + kind_BM)) for kind_BM in alike]
    length_BMG, last_BMG = (torch.stack(parts, -1) for parts in zip(*found, strict=True))
    after_BMG = (last_BMG + 1).clamp(max=pitch_BM.shape[1] - 1)
    moved = lambda x_BM: x_BM[..., None] + _at(x_BM, after_BMG) - _at(x_BM, last_BMG)  # noqa: E731
    velocity_BM = line.values_BNF[..., vocab.VELOCITY]
    guesses = (moved(when_BM) % bar_B[:, None, None], moved(pitch_BM), _at(duration_BM, after_BMG), _at(velocity_BM, after_BMG))
    nothing_BMG1 = ((length_BMG == 0) | _at(start_BM, after_BMG))[..., None]
    return Recall(length_BMG, torch.where(nothing_BMG1, _NONE, torch.stack(guesses, -1)))


def _latest(kind_BM: Tensor) -> tuple[Tensor, Tensor]:
    """(B, M) twice: the length of the longest match of what ends at each token with what ends before it, and where the latest of these
    ends."""
    tokens = kind_BM.shape[1]
    token_M = torch.arange(tokens, device=kind_BM.device)
    alive_BMM = (kind_BM[:, :, None] == kind_BM[:, None]) & (kind_BM[:, :, None] != _NONE) & (token_M < token_M[:, None])
    same_BMM, length_BMM = alive_BMM, alive_BMM.to(torch.int16)
    for _ in range(LONGEST - 1):  # one note longer: both ends one token back
        same_BMM = torch.nn.functional.pad(same_BMM, (1, -1, 1, -1))
        alive_BMM = alive_BMM & same_BMM
        length_BMM = length_BMM + alive_BMM
    best_BM = (length_BMM.long() * tokens + token_M).amax(-1)
    return best_BM // tokens, best_BM % tokens


def _at(x_BM: Tensor, token_BMG: Tensor) -> Tensor:
    """(B, M, G) what stands at other tokens."""
    return x_BM.gather(1, token_BMG.flatten(1)).view_as(token_BMG)


def repetition(line: Slots, note_BM: Tensor, before_BM: Tensor) -> Tensor:
    """(X, REPETITION) of notes: how long the match before it is, whether it has two or four notes, and whether it tells each field."""
    of = recall(line)
    length_XG = of.length_BMG[before_BM].float()
    true_XGF = (of.values_BMGF[before_BM] == line.values_BNF[note_BM][:, None]).float()
    return torch.cat((length_XG / LONGEST, (length_XG >= 2).float(), (length_XG >= 4).float(), true_XGF.flatten(1)), 1)
