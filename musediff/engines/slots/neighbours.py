"""What the notes around a note tell of it, as vectors and logits for the slots network. Suffixes as in ``batch``, D width."""

import torch
from torch import Tensor, nn

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import ECHOES, NO_PITCH, WAITS, Place
from musediff.engines.slots.lookup import Asked, tables_of

WIDEST = 24  # semitones between two notes that are told apart
INTERVAL_RANK = 32


class Neighbours(nn.Module):
    """What the notes around a note tell of it: waits, intervals, the rhythm of other bars, and likely intervals of a pitch to be chosen.

    Attention could find all of this, but it has to learn first which note is the next one: without it generated notes miss
    each other's onsets by the way their lengths are drawn, and melodies turn too often.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        tables = lambda number, size, width=width: nn.ModuleList(nn.Embedding(size, width) for _ in range(number))  # noqa: E731
        near = 2 + len(ECHOES)
        self.seen_waits, self.chosen_waits = tables(2, 2 * WAITS), tables(2, 2 * WAITS)
        self.seen_intervals = tables(near, 2 * WIDEST + 2)
        self.echoes = tables(len(ECHOES), vocab.MAX_POSITIONS + 1)
        self.asked = nn.Linear(width, near * INTERVAL_RANK, bias=False)
        self.intervals = tables(near, 2 * NO_PITCH - 1, INTERVAL_RANK)

    def seen(self, place: Place, pitch_X: Tensor) -> list[Asked]:
        """To look up for notes as they are in the clip, hidden ones too."""
        step_XP = (pitch_X[..., None] - place.pitch_XP).clamp(-WIDEST, WIDEST) + WIDEST
        known_XP = (pitch_X[..., None] < NO_PITCH) & (place.pitch_XP < NO_PITCH)
        intervals = _each(self.seen_intervals, torch.where(known_XP, step_XP, 2 * WIDEST + 1))
        return [*_each(self.seen_waits, place.wait_XW), *self.rhythm(place), *intervals]

    def rhythm(self, place: Place) -> list[Asked]:
        """To look up: the positions of other bars, which are known before the own one is."""
        return _each(self.echoes, place.echo_XE)

    def chosen(self, place: Place) -> list[Asked]:
        """To look up for notes whose onset has been chosen."""
        return _each(self.chosen_waits, place.wait_XW)

    def pitch_logits(self, hidden_XD: Tensor, place: Place) -> Tensor:
        """(X, V) how likely the intervals to the notes around make each pitch: the same melody is as likely in any key."""
        pitch_V = torch.arange(NO_PITCH, device=hidden_XD.device)
        logits = hidden_XD.new_zeros(())
        asked = self.asked(hidden_XD).chunk(len(self.intervals), -1)
        for asked_XI, table, near_X in zip(asked, self.intervals, place.pitch_XP.unbind(-1), strict=True):
            there_X1 = (near_X < NO_PITCH)[..., None]
            step_XV = pitch_V - torch.where(there_X1, near_X[..., None], 0) + NO_PITCH - 1
            logits = logits + (asked_XI @ table.weight.to(asked_XI.dtype).T).gather(-1, step_XV) * there_X1
        return logits


def _each(tables: nn.ModuleList, classes_XM: Tensor) -> list[Asked]:
    return list(zip(tables_of(tables), classes_XM.unbind(-1), strict=True))
