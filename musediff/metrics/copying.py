"""Training songs -> an index of the runs of notes in them -> which clips hold such a run.

A run of n notes of a top line is the n - 1 steps of (time to the next onset, interval) between them, so it is the same in
every transposition and at every place in the bar. Runs are hashed to 64 bits: beside three million known ones a clip of a
hundred notes is taken for a copy by chance once in 10^10.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musediff.clip import Note

RUNS = (9, 13, 17)  # notes
RUN_TICKS = 20  # onsets are compared on 24ths of a quarter: 32nds and triplets are exact
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, hence invertible mod 2**64


@dataclass(frozen=True, slots=True)
class Index:
    """``known``: by the number of notes, the hashes of all runs, sorted."""

    known: dict[int, np.ndarray]  # uint64

    @classmethod
    def of(cls, onset_ticks: np.ndarray, pitch: np.ndarray, track: np.ndarray, runs: Sequence[int] = RUNS) -> "Index":
        """Of whole tracks: three (N,) columns, notes of a track (any number that grows) beside each other in order of onset.

        Five million notes take some ten seconds and 100 MB.
        """
        steps, last = _steps(onset_ticks, pitch, track)
        return cls({run: np.unique(_hashes(steps, last, run)) for run in runs})

    def copied(self, notes: Sequence[Note], run: int) -> bool:
        """Whether a run of so many notes of the top line is in the index."""
        if not notes:
            return False
        onset, pitch = np.array(sorted(notes), np.int64).T[:2]
        found = _hashes(*_steps(onset, pitch, np.zeros(len(onset), np.int64)), run)
        known = self.known[run]
        place = np.searchsorted(known, found)
        return bool(len(known)) and bool((known[np.minimum(place, len(known) - 1)] == found).any())

    def rates(self, clips: Sequence[Sequence[Note]]) -> dict[int, float]:
        """Share of the clips, at least one, that hold a run, by its number of notes."""
        assert clips
        return {run: float(np.mean([self.copied(notes, run) for notes in clips])) for run in self.known}


def _steps(onset_ticks: np.ndarray, pitch: np.ndarray, track: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Top lines -> (M,) uint64 steps from each note to the next, and (M,) how many steps the same track still has from there."""
    moment = (np.asarray(onset_ticks, np.int64) + RUN_TICKS // 2) // RUN_TICKS
    new = np.ones(len(moment), bool)
    new[1:] = (np.diff(moment) != 0) | (np.diff(track) != 0)
    first = np.flatnonzero(new)
    top = np.maximum.reduceat(np.asarray(pitch, np.int64), first) if len(first) else np.zeros(0, np.int64)
    moment, of = moment[first], np.asarray(track)[first]
    inside = np.diff(of) == 0
    steps = ((np.diff(moment)[inside] << 8) + np.diff(top)[inside] + 128).astype(np.uint64)
    of = of[1:][inside]
    ends = np.append(np.flatnonzero(np.diff(of)) + 1, len(of))
    return steps, ends[np.searchsorted(ends, np.arange(len(of)), "right")] - np.arange(len(of)) if len(of) else np.zeros(0, np.int64)


def _hashes(steps: np.ndarray, left: np.ndarray, run: int) -> np.ndarray:
    """One of every run: a polynomial mod 2**64, mixed after every term."""
    assert run >= 2, run
    starts = np.flatnonzero(left >= run - 1)
    total = np.zeros(len(starts), np.uint64)
    for place in range(run - 1):
        total = (total ^ steps[starts + place]) * _BASE
        total ^= total >> np.uint64(29)
    return total
