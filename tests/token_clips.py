"""Clips for the tests of the tokens: any notes, or notes that lie on the grid."""

import numpy as np
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD
from musediff.clip import (
    BAR_TICKS,
    GENRES,
    INSTRUMENTS,
    KEYS,
    MAX_BPM,
    MIN_BPM,
    PITCH_RANGES,
    RHYTHMS,
    ROLES,
    TIME_SIGNATURES,
    Clip,
    Note,
    Track,
)  # fmt: skip
from musediff.tokens.vocab import GRID, VELOCITY_BINS


def maybe(names: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(names)


@st.composite
def tracks(draw: st.DrawFn, notes: tuple[Note, ...]) -> Track:
    limits = sorted(draw(st.tuples(st.integers(1, 127), st.integers(1, 127))))
    low, high = (value if draw(st.booleans()) else None for value in limits)
    return Track(notes, draw(maybe(ROLES)), draw(maybe(INSTRUMENTS)), draw(maybe(tuple(PITCH_RANGES))), low, high)


@st.composite
def frames(draw: st.DrawFn, notes: tuple[Note, ...], bars: int, metre: str) -> Clip:
    """A clip around the notes with any metadata."""
    few = draw(st.none() | st.lists(st.integers(0, ANY_CHORD), min_size=1, max_size=5))
    seed, number = draw(st.integers(0, 2**32 - 1)), bars * BAR_TICKS[metre] // 240
    chords = None if few is None else tuple(np.random.default_rng(seed).choice(few, number).tolist())
    bpm, key = draw(st.integers(MIN_BPM, MAX_BPM)), draw(maybe(KEYS))
    return Clip(bars, (draw(tracks(notes)),), metre, bpm, key, draw(maybe(GENRES)), draw(maybe(RHYTHMS)), chords)


@st.composite
def any_clips(draw: st.DrawFn) -> Clip:
    """Any notes at all, longer than a bar and over the end of the clip too."""
    metre, bars = draw(st.sampled_from(TIME_SIGNATURES)), draw(st.integers(1, 6))
    one = st.builds(
        Note,
        st.integers(0, bars * BAR_TICKS[metre] - 1), st.integers(0, 127), st.integers(1, 3 * BAR_TICKS[metre]), st.integers(1, 127),
    )  # fmt: skip
    return draw(frames(tuple(sorted(draw(st.lists(one, max_size=20)))), bars, metre))


def on_grid(steps: int, bar_ticks: int) -> int:
    """Ticks of a number of 1/128 bars, halves up."""
    return int(steps * bar_ticks / GRID + 0.5)


@st.composite
def grid_clips(draw: st.DrawFn) -> Clip:
    """Notes on the grid, in velocities that have a token, inside the clip."""
    metre, bars = draw(st.sampled_from(TIME_SIGNATURES)), draw(st.integers(1, 6))
    length = BAR_TICKS[metre]
    velocity = st.sampled_from(VELOCITY_BINS.tolist())
    one = st.tuples(st.integers(0, bars - 1), st.integers(0, GRID - 1), st.integers(0, 127), st.integers(1, GRID), velocity)
    notes = []
    for bar, position, pitch, steps, velocity in draw(st.lists(one, max_size=20)):
        steps = steps if bar < bars - 1 else min(steps, GRID - position)
        onset = bar * length + on_grid(position, length)
        notes.append(Note(onset, pitch, min(on_grid(steps, length), bars * length - onset), velocity))
    return draw(frames(tuple(sorted(notes)), bars, metre))
