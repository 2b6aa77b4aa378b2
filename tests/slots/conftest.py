"""Clips and batches for the tests of the slots engine."""

import numpy as np
import pytest

from musediff.clip import Clip, Note, Track
from musediff.engines.slots.batch import Slots


def make_clip(seed: int = 0, bars: int = 4, time_signature: str = "4/4", tracks: int = 1, per_bar: int = 5) -> Clip:
    """A clip on the engine's grid with distinct (onset, pitch) per track, chords known."""
    rng = np.random.default_rng(seed)
    frame = Clip(bars, (), time_signature)
    parts = []
    for k in range(tracks):
        places = {(int(rng.integers(0, bars * frame.bar_ticks // 120)) * 120, int(rng.integers(40, 90))) for _ in range(per_bar * bars)}
        notes = [Note(onset, pitch, min(240, frame.end_ticks - onset), int(rng.integers(2, 32)) * 4 + 2) for onset, pitch in sorted(places)]
        parts.append(Track(tuple(notes), role=("main_melody", "accompaniment", "bass", "pad")[k]))
    chords = tuple(int(c) for c in np.repeat(rng.integers(0, 108, bars), frame.chords_per_bar))
    return Clip(bars, tuple(parts), time_signature, 90, "cmajor", chords=chords)


@pytest.fixture
def clip() -> Clip:
    return make_clip()


def equal(a: Slots, b: Slots) -> bool:
    return all(bool((getattr(a, name) == getattr(b, name)).all()) for name in Slots.__dataclass_fields__)
