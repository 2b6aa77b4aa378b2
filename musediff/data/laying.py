"""Runs of whole bars of a score and the notes of its parts -> the bars, keys, chords and tracks of a ``Song``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from musediff.clip import BAR_TICKS, Note
from musediff.data.parts import bass_line
from musediff.data.quantise import EARLY_TICKS, to_grid, top_line
from musediff.data.song import Bar, Song
from musediff.data.store import TRAIN, VALID
from musediff.midi.harmony import infer_chords, infer_keys

# Written metre -> ours: read as it is, two measures as one bar, one measure as two bars.
WHOLE = {(4, 4): "4/4", (2, 2): "4/4", (8, 8): "4/4", (3, 4): "3/4", (6, 8): "6/8", (12, 8): "12/8"}
PAIRED = {(2, 4): "4/4", (4, 8): "4/4", (3, 8): "6/8"}
HALVED = {(6, 4): "3/4", (4, 2): "4/4"}
USUAL_BPM = 100  # of a score without a tempo
VALID_PERCENT = 5
SIGNATURE_BONUS = 0.1  # for the two keys of a signature, in units of correlation


@dataclass(frozen=True, slots=True)
class Part:
    """A track to be: its notes (n, 4) in ticks of the score. ``is_bass``: only the lowest line is wanted, ``is_voice``: the highest."""

    instrument: str
    group: int
    name: str
    notes: np.ndarray
    is_bass: bool = False
    is_voice: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Whole bars one after the other, in one metre and signature, in ticks of the score."""

    start_ticks: int
    meter: str
    bars: int
    fifths: int | None  # of the key signature, flats below zero

    @property
    def length_ticks(self) -> int:
        return self.bars * BAR_TICKS[self.meter]


def run_between(start_ticks: int, end_ticks: int, written: tuple[int, int], fifths: int | None) -> Run | None:
    """The whole bars between two ticks, counted from the first; None if there are none or the written metre is not used."""
    meter = WHOLE.get(written) or PAIRED.get(written) or HALVED.get(written)
    bars = (end_ticks - start_ticks) // BAR_TICKS[meter] if meter else 0
    return Run(start_ticks, meter, bars, fifths) if meter and bars else None


def split_of(work: str) -> int:
    """Training or validation, by the hash of a work's name."""
    return VALID if int(sha256(work.encode()).hexdigest(), 16) % 100 < VALID_PERCENT else TRAIN


def lay(song: Song, run: Run, parts: Sequence[Part], tempos: Sequence[tuple[int, float]]) -> None:
    """Append a run to the song: notes on the grid, a key for every bar, chords; a new segment wherever the key changes."""
    offset = song.bars[-1].end_ticks if song.bars else 0
    placed = [placed_notes(part, run) for part in parts]
    sounding = [note for part, notes in zip(parts, placed, strict=True) if not part.is_bass for note in notes]
    table = np.array(sounding, dtype=np.int64).reshape(-1, 4)
    starts = [i * BAR_TICKS[run.meter] for i in range(run.bars)]
    blank = [Bar(start, run.meter, None, _bpm(tempos, run.start_ticks + start), 0) for start in starts]
    favoured = np.zeros((run.bars, 24))
    if run.fifths is not None:
        favoured[:, [run.fifths * 7 % 12, (run.fifths * 7 + 9) % 12 + 12]] = SIGNATURE_BONUS
    keys = infer_keys(bar_weights(blank, table), favoured).tolist()
    segment, first = song.bars[-1].segment + 1 if song.bars else 0, 0
    for i, bar in enumerate(blank):
        segment += i > 0 and keys[i] != keys[i - 1]
        song.bars.append(replace(bar, start_ticks=offset + bar.start_ticks, key=keys[i], segment=segment))
        if i + 1 == run.bars or keys[i + 1] != keys[i]:
            song.chords += _chords(table, starts[first], i + 1 - first, run.meter, keys[i])
            first = i + 1
    for track, notes in zip(song.tracks, placed, strict=True):
        track.notes += [n._replace(onset_ticks=n.onset_ticks + offset) for n in notes]


def placed_notes(part: Part, run: Run) -> list[Note]:
    """Notes of a part that begin in a run, on the grid, from the start of the run and ended at its end."""
    end = run.length_ticks
    table = part.notes - (run.start_ticks, 0, 0, 0)
    notes = to_grid(Note(*row) for row in table[(table[:, 0] >= -EARLY_TICKS) & (table[:, 0] < end)].tolist())
    notes = [n._replace(duration_ticks=min(n.duration_ticks, end - n.onset_ticks)) for n in notes if 0 <= n.onset_ticks < end]
    if part.is_bass:
        return bass_line(notes, BAR_TICKS[run.meter] // (1 if run.meter == "3/4" else 2))
    return top_line(notes) if part.is_voice else notes


def _bpm(tempos: Sequence[tuple[int, float]], ticks: int) -> int:
    """Tempo at a tick; the first mark counts from the start."""
    return round(max(1.0, next((bpm for tick, bpm in reversed(tempos) if tick <= ticks), tempos[0][1] if tempos else USUAL_BPM)))


def _chords(table: np.ndarray, start_ticks: int, bars: int, meter: str, key: int) -> tuple[int, ...]:
    end_ticks = start_ticks + bars * BAR_TICKS[meter]
    inside = table[(table[:, 0] + table[:, 2] > start_ticks) & (table[:, 0] < end_ticks)] - (start_ticks, 0, 0, 0)
    return infer_chords(inside.tolist(), bars, meter, key)


def bar_weights(bars: Sequence[Bar], notes: np.ndarray) -> np.ndarray:
    """Ticks by pitch class of notes (n, 4) in each of the bars, counted where a note begins: (bars, 12)."""
    starts = np.array([bar.start_ticks for bar in bars])
    bar = np.searchsorted(starts, notes[:, 0], side="right") - 1
    inside = (bar >= 0) & (notes[:, 0] < starts[bar] + np.array([BAR_TICKS[b.meter] for b in bars])[bar])
    place = bar[inside] * 12 + notes[inside, 1] % 12
    return np.bincount(place, notes[inside, 2], minlength=len(bars) * 12).reshape(-1, 12)
