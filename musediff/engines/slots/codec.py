"""Clip -> rows of classes and back.

The network sees quantised notes; the clip's own notes are kept beside them, so that whatever is not changed comes
back bit for bit.
"""

from dataclasses import dataclass

import numpy as np

from musediff.chords import ANY_CHORD
from musediff.clip import GENRES, INSTRUMENTS, KEY_INDEX, PITCH_RANGES, RHYTHMS, ROLES, TIME_SIGNATURES, Clip, Note, Track
from musediff.engines.slots import vocab

# Positions inside a quarter that the training data use: sixteenths and triplet eighths.
_GRID = np.array([0, 3, 4, 6, 8, 9, 12])
_NEAREST = _GRID[np.abs(np.arange(0, 12, 0.25)[:, None] - _GRID).argmin(1)]  # by quarter of a position


# Share of neighbouring notes of one class: at least .83 in the scores of the training data (fifth percentile of 400 tracks of a corpus),
# at most .42 in three quarters of the tracks of POP909, which were played.
WRITTEN = 0.7
FEWEST_PLAYED = 8  # notes that tell


@dataclass(frozen=True, slots=True)
class Encoded:
    """One track as classes, sorted by bar, position, pitch; ``source[i]`` is the index of the note in the track.
    ``unseen`` are notes beyond what one bar can hold; they are never changed."""

    bar: np.ndarray
    values: np.ndarray  # (N, 4)
    source: np.ndarray
    unseen: np.ndarray


def encode_track(track: Track, bars: int, bar_ticks: int) -> Encoded:
    """Quantise a track for the network. A note stays in the bar it starts in."""
    if not track.notes:
        nothing = np.zeros(0, np.int64)
        return Encoded(nothing, np.zeros((0, 4), np.int64), nothing, nothing)
    notes = np.array(track.notes, np.int64)
    bar = np.clip(notes[:, 0] // bar_ticks, 0, bars - 1)
    quarter_positions = (notes[:, 0] - bar * bar_ticks) * 4 // vocab.POSITION_TICKS
    position = quarter_positions // 48 * 12 + _NEAREST[quarter_positions % 48]
    position = np.minimum(position, bar_ticks // vocab.POSITION_TICKS - 3)
    values = np.stack((position, notes[:, 1], vocab.duration_class(notes[:, 2]), notes[:, 3] // vocab.VELOCITY_STEP), 1)
    order = np.lexsort((values[:, 1], position, bar))
    _, first, inverse = np.unique(bar[order], return_index=True, return_inverse=True)
    fits = np.arange(len(order)) - first[inverse.ravel()] < vocab.COUNTS - 1
    return Encoded(bar[order][fits], values[order][fits], order[fits], order[~fits])


def played(velocity_N: np.ndarray) -> bool:
    """Whether velocities (classes, one note after another) are those of a performance and not of a score."""
    return len(velocity_N) >= FEWEST_PLAYED and bool((np.diff(velocity_N) == 0).mean() < WRITTEN)


def decode_notes(
    bar_X: np.ndarray, values_XF: np.ndarray, bar_ticks: int, end_ticks: int, limits: tuple[int, int], played: bool
) -> list[Note]:
    """Notes of a clip from their classes. Velocity is the middle of its class, or if the clip is ``played`` any of it, one for each class
    and onset, as if by chance; held inside ``limits``. The note ends with the clip."""
    position_X, pitch_X, duration_X, velocity_X = values_XF.T
    onset_X = bar_X * bar_ticks + position_X * vocab.POSITION_TICKS
    length_X = np.minimum(vocab.DURATION_TICKS[duration_X], end_ticks - onset_X)
    within = _scattered(bar_X, position_X, velocity_X) if played else vocab.VELOCITY_STEP // 2
    loud_X = np.clip(velocity_X * vocab.VELOCITY_STEP + within, *limits)
    columns = (column.tolist() for column in (onset_X, pitch_X, length_X, loud_X))
    return list(map(Note, *columns))


def _scattered(bar_X: np.ndarray, position_X: np.ndarray, velocity_X: np.ndarray) -> np.ndarray:
    """0 to VELOCITY_STEP - 1."""
    mixed = (bar_X * 0x9E3779B1 + position_X * 0x85EBCA77 + velocity_X * 0xC2B2AE3D) & 0xFFFFFFFF
    return (mixed ^ mixed >> 15) * 0x2C1B3C6D >> 24 & (vocab.VELOCITY_STEP - 1)


def _class(value: str | None, names: tuple[str, ...]) -> int:
    return 0 if value is None else names.index(value) + 1


def shared_classes(clip: Clip) -> np.ndarray:
    """(6,) condition classes of what the tracks share."""
    key = 0 if clip.key is None else KEY_INDEX[clip.key] + 1
    meter = TIME_SIGNATURES.index(clip.time_signature) + 1
    return np.array([vocab.bpm_class(clip.bpm), key, meter, clip.num_measures, _class(clip.genre, GENRES), _class(clip.rhythm, RHYTHMS)])


def part_classes(track: Track) -> np.ndarray:
    """(5,) condition classes of one track."""
    limit = lambda velocity: 0 if velocity is None else velocity // vocab.VELOCITY_STEP + 1  # noqa: E731
    names = (_class(track.role, ROLES), _class(track.instrument, INSTRUMENTS), _class(track.pitch_range, tuple(PITCH_RANGES)))
    return np.array([*names, limit(track.min_velocity), limit(track.max_velocity)])


def chord_rows(clip: Clip) -> np.ndarray:
    """(R, 12) chord ids, ``ANY_CHORD`` where nothing is known and behind the end of short bars."""
    rows = np.full((clip.num_measures, vocab.CHORDS_PER_BAR), ANY_CHORD, np.int64)
    if clip.chords is not None:
        rows[:, : clip.chords_per_bar] = np.array(clip.chords).reshape(clip.num_measures, clip.chords_per_bar)
    return rows
