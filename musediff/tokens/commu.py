"""Clip <-> tokens of the muse engine: what is asked for as a prefix, then bars of notes on a grid of 128 steps.

Positions and durations share one grid, 1/128 of the bar in every metre. A duration is at most one bar. The original's
own codec, with its faults, is in ``original_encode`` and ``original_decode``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from musediff.chords import ANY_CHORD
from musediff.clip import GENRES, INSTRUMENT_GROUPS, KEY_INDEX, PITCH_RANGES, RHYTHMS, ROLES, TIME_SIGNATURES, Clip, Note, Track
from musediff.tokens import vocab
from musediff.tokens.vocab import Kind

_GROUP_OF = {name: index for index, group in enumerate(INSTRUMENT_GROUPS) for name in group}
_LAST_ONLY = (Kind.EOS, Kind.PAD)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One track as L tokens. The closing ``EOS`` counts to the last bar."""

    ids: np.ndarray  # (L,) int64
    noised: np.ndarray  # (L,) bool: True in the note part, False in the prefix with its separator
    bar: np.ndarray  # (L,) int64, -1 in the prefix
    source: np.ndarray  # (L,) int64: index of the note in its track, -1 where there is none


class Reading(NamedTuple):
    """What can be read of a note part, legal or not."""

    rows: np.ndarray  # (N, 5) int64: bar, position, pitch, duration in steps, velocity
    num_measures: int
    problems: tuple[str, ...]


def prefix(clip: Clip, track: int = 0, size: int = vocab.SIZE) -> np.ndarray:
    """(P,) tokens of what is asked for: metadata, chords, separator.

    With ``size=SIZE_ORIGINAL`` only the original's ids are used: what it has none for is "unknown", and the number of bars
    is the nearest of its three.
    """
    assert size in (vocab.SIZE_ORIGINAL, vocab.SIZE), size
    return np.array([*_meta(clip, clip.tracks[track], size), *_chords(clip), vocab.EOS], np.int64)


def _meta(clip: Clip, part: Track, size: int) -> list[int]:
    low, high = part.min_velocity, part.max_velocity
    return [
        vocab.BPM + min(max(clip.bpm // vocab.BPM_STEP, 1), vocab.BPM_STEPS),
        vocab.KEY if clip.key is None else vocab.KEY + 1 + KEY_INDEX[clip.key],
        _named(clip.time_signature, TIME_SIGNATURES, vocab.TIME_SIGNATURE, vocab.OWN_TIME_SIGNATURE, size),
        _named(part.pitch_range, tuple(PITCH_RANGES), vocab.PITCH_RANGE),
        _measures(clip.num_measures, size),
        _instrument(part.instrument, size),
        _named(clip.genre, GENRES, vocab.GENRE, vocab.OWN_GENRE, size),
        vocab.LIMIT if low is None else vocab.LIMIT + 1 + low // 2,
        vocab.LIMIT if high is None else vocab.LIMIT + 1 + (high + 1) // 2,
        _named(part.role, ROLES, vocab.ROLE),
        _named(clip.rhythm, RHYTHMS, vocab.RHYTHM),
    ]


_ORIGINAL_NAMES = {vocab.TIME_SIGNATURE: len(vocab.COMMU_TIME_SIGNATURES), vocab.GENRE: len(vocab.COMMU_GENRES)}


def _named(value: str | None, names: tuple[str, ...], first: int, own: int | None = None, size: int = vocab.SIZE) -> int:
    """Id of a name: in the original's group, or in ours behind it, or "unknown"."""
    if value is None:
        return first
    index, original = names.index(value), _ORIGINAL_NAMES.get(first, len(names))
    if index < original:
        return first + 1 + index
    assert own is not None
    return own + index - original if size == vocab.SIZE else first


def _instrument(name: str | None, size: int) -> int:
    """Id of an instrument's group. The original has none for the last, the voice; the choir's group is the nearest."""
    if name is None:
        return vocab.INSTRUMENT
    group = _GROUP_OF[name]
    if group < vocab.INSTRUMENT_IDS:
        return vocab.INSTRUMENT + 1 + group
    return vocab.OWN_INSTRUMENT if size == vocab.SIZE else vocab.INSTRUMENT + vocab.INSTRUMENT_IDS


def _measures(number: int, size: int) -> int:
    if size == vocab.SIZE and number not in vocab.COMMU_MEASURES:
        return vocab.OWN_MEASURES
    nearest = min(vocab.COMMU_MEASURES, key=lambda known: abs(known - number))
    return vocab.MEASURES + vocab.COMMU_MEASURES.index(nearest)


def _chords(clip: Clip) -> list[int]:
    """A pair of position and chord at the start of every bar and at every change. None if no chord is known."""
    if clip.chords is None or all(chord == ANY_CHORD for chord in clip.chords):
        return []
    tokens, before = [], -1
    for index, chord in enumerate(clip.chords):
        place, token = index % clip.chords_per_bar, vocab.chord_token(chord)
        if place == 0 or token != before:
            tokens += [vocab.POSITION + place * vocab.GRID // clip.chords_per_bar, token]
        before = token
    return tokens


CHORD_PLACES = 4  # of a bar, evenly spread: where a layout tells which chord sounds
# Classes of the numbers of a layout: bars (0: none, the last one: that or later), kinds, notes or chords of a bar, chords (0: not said).
LAYOUT_SIZES = (33, len(Kind), 64, *(vocab.DURATION - vocab.CHORD + 1,) * CHORD_PLACES)


def layout(prefix: np.ndarray, part: np.ndarray) -> np.ndarray:
    """(L, 7) where each token of a prefix and a note part stands: its bar from 1 (0 for metadata and the ends), its kind, which
    chord or note of the bar it belongs to (a bar's own token: 0), and in the note part the chords of the bar."""
    chords, notes = prefix[vocab.META_TOKENS : -1], part[:-1]
    nowhere = np.zeros((vocab.META_TOKENS, 2), np.int64)
    rows = (nowhere, _numbered(chords == vocab.POSITION, 2, 0), nowhere[:1], _numbered(notes == vocab.BAR, len(vocab.NOTE), 1), nowhere[:1])
    bar, number = np.concatenate(rows).T
    kinds = vocab.KIND[np.concatenate((prefix, part))].astype(np.int64)
    sounding = _chords_of_bars(chords, int(bar.max(initial=0)))[bar]
    sounding[: len(prefix)] = 0
    return np.minimum(np.column_stack((bar, kinds, number, sounding)), np.array(LAYOUT_SIZES) - 1)


def _chords_of_bars(pairs: np.ndarray, bars: int) -> np.ndarray:
    """(bars + 1, CHORD_PLACES) from 1 the chords that a prefix's pairs of position and chord say, 0 where none is said."""
    found = np.zeros((bars + 1, CHORD_PLACES), np.int64)
    bar = np.cumsum(pairs[::2] == vocab.POSITION)
    place = -(-(pairs[::2] - vocab.POSITION) * CHORD_PLACES // vocab.GRID)
    for where, first, chord in zip(bar.tolist(), place.tolist(), pairs[1::2].tolist(), strict=True):
        found[where, first:] = chord - vocab.CHORD + 1
    return found


def _numbered(starts: np.ndarray, size: int, alone: int) -> np.ndarray:
    """(L, 2) bar from 1, and which piece of ``size`` tokens of it, from 1, behind the first ``alone`` tokens of the bar."""
    bar = np.cumsum(starts)
    after = np.arange(len(starts)) - np.flatnonzero(starts)[bar - 1]
    return np.stack((bar, (after - alone) // size + 1), 1)


def encode(clip: Clip, track: int = 0, size: int = vocab.SIZE) -> Encoded:
    """Prefix and note part of one track. A note stays in the bar it starts in; at one position notes are sorted by pitch."""
    given = prefix(clip, track, size)
    part = note_part(np.array(clip.tracks[track].notes, np.int64).reshape(-1, 4), clip.num_measures, clip.bar_ticks)
    nowhere = np.full(len(given), -1, np.int64)
    return Encoded(
        np.concatenate((given, part.ids)),
        np.concatenate((np.zeros(len(given), bool), part.noised)),
        np.concatenate((nowhere, part.bar)),
        np.concatenate((nowhere, part.source)),
    )


def note_part(notes: np.ndarray, num_measures: int, bar_ticks: int) -> Encoded:
    """Tokens of notes alone, without prefix. ``notes``: (N, 4) onset, pitch, duration (ticks), velocity."""
    onset, pitch, duration, velocity = notes.T
    bar = np.clip(onset // bar_ticks, 0, num_measures - 1)
    position = np.clip(_steps(onset - bar * bar_ticks, bar_ticks), 0, vocab.GRID - 1)
    order = np.lexsort((pitch, position, bar))
    length = num_measures + 4 * len(notes) + 1
    ids, bar_of, source = (np.full(length, value, np.int64) for value in (vocab.EOS, num_measures - 1, -1))
    counts = np.bincount(bar, minlength=num_measures)
    bar_place = np.arange(num_measures) + 4 * (np.cumsum(counts) - counts)
    ids[bar_place], bar_of[bar_place] = vocab.BAR, np.arange(num_measures)
    place = bar[order, None] + 1 + 4 * np.arange(len(notes))[:, None] + np.arange(4)  # (N, 4)
    steps = np.clip(_steps(duration, bar_ticks), 1, vocab.GRID)
    loud = np.maximum(np.searchsorted(vocab.VELOCITY_BINS, velocity, "right") - 1, 0)
    columns = (vocab.POSITION + position, vocab.VELOCITY + loud, vocab.PITCH + pitch, vocab.DURATION - 1 + steps)
    ids[place] = np.stack(columns, 1)[order]
    bar_of[place], source[place] = bar[order, None], order[:, None]
    return Encoded(ids, np.ones(length, bool), bar_of, source)


def _steps(ticks: np.ndarray, bar_ticks: int) -> np.ndarray:
    """Nearest number of grid steps, halves up."""
    return (2 * ticks * vocab.GRID + bar_ticks) // (2 * bar_ticks)


def legal(ids: np.ndarray, num_measures: int) -> bool:
    """Whether a note part is BAR (position velocity pitch duration)* ... EOS PAD*, with exactly this many bars."""
    if len(ids) == 0 or ids.min() < 0 or ids.max() >= vocab.SIZE:
        return False
    kinds = vocab.KIND[ids]
    follows = bool(vocab.FOLLOWS[kinds[:-1], kinds[1:]].all())
    return bool(kinds[0] == Kind.BAR and kinds[-1] in _LAST_ONLY and follows and np.sum(kinds == Kind.BAR) == num_measures)


def decode(ids: np.ndarray, clip: Clip) -> tuple[Note, ...]:
    """Notes of a legal note part in the bars and the metre of ``clip``, sorted; all end with the clip at the latest."""
    assert legal(ids, clip.num_measures)
    return to_notes(_rows(ids), clip)


def to_notes(rows: np.ndarray, clip: Clip) -> tuple[Note, ...]:
    """Notes of a :class:`Reading`, sorted. What lies behind the last bar of ``clip`` is left out."""
    columns = to_columns(rows[rows[:, 0] < clip.num_measures], clip.bar_ticks)
    columns[:, 2] = np.minimum(columns[:, 2], clip.end_ticks - columns[:, 0])
    return tuple(sorted(Note(*row) for row in columns.tolist()))


def to_columns(rows: np.ndarray, bar_ticks: int) -> np.ndarray:
    """(N, 4) onset, pitch, duration (ticks), velocity of the rows of a :class:`Reading`, in their order."""
    bar, position, pitch, steps, velocity = rows.T
    return np.stack((bar * bar_ticks + _ticks(position, bar_ticks), pitch, _ticks(steps, bar_ticks), velocity), 1)


def _ticks(steps: np.ndarray, bar_ticks: int) -> np.ndarray:
    """Ticks of a number of grid steps, halves up."""
    return (2 * steps * bar_ticks + vocab.GRID) // (2 * vocab.GRID)


def notes_of(ids: np.ndarray) -> Reading:
    """Every complete note of any sequence of tokens, and what is wrong with the sequence, in sentences."""
    kinds = vocab.KIND[ids]
    problems = [] if len(ids) and kinds[0] == Kind.BAR else ["The first token is no bar."]
    end = _end(ids)
    for place in np.flatnonzero(~vocab.FOLLOWS[kinds[:-1], kinds[1:]][:end]):
        before, here = (Kind(kinds[place + i]).name.lower() for i in (0, 1))
        problems.append(f"Token {place + 2} ({here}) may not stand behind token {place + 1} ({before}).")
    if end == len(ids):
        problems.append("There is no end token.")
    elif behind_end := int(np.sum(kinds[end + 1 :] != Kind.PAD)):
        problems.append(f"Behind the end {behind_end} of the tokens are no padding.")
    return Reading(_rows(ids), int(np.sum(kinds[:end] == Kind.BAR)), tuple(problems))


def _end(ids: np.ndarray) -> int:
    """Place of the first ``EOS``, or the length without one."""
    ends = np.flatnonzero(ids == vocab.EOS)
    return int(ends[0]) if len(ends) else len(ids)


def _rows(ids: np.ndarray) -> np.ndarray:
    """(N, 5) as in :class:`Reading`: the complete notes between the first bar and the end."""
    ids = ids[: _end(ids)]
    kinds = vocab.KIND[ids]
    bar = np.cumsum(kinds == Kind.BAR) - 1
    whole = bar[: max(len(ids) - 3, 0)] >= 0
    for offset, kind in enumerate(vocab.NOTE):
        whole &= kinds[offset : offset + len(whole)] == kind
    at = np.flatnonzero(whole)
    velocity = vocab.VELOCITY_BINS[ids[at + 1] - vocab.VELOCITY]
    return np.stack((bar[at], ids[at] - vocab.POSITION, ids[at + 2] - vocab.PITCH, ids[at + 3] - vocab.DURATION + 1, velocity), 1)
