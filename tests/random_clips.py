"""Clips for tests that need notes, but no music."""

from typing import Any

import numpy as np

from musediff.clip import Clip, Note, Track


def clip_of(notes: list[Note], bars: int = 4, metre: str = "4/4", **shared: Any) -> Clip:
    return Clip(bars, (Track(tuple(sorted(notes))),), metre, **shared)


def random_clips(seed: int, count: int, low: int = 55, high: int = 80) -> list[list[Note]]:
    """Notes on sixteenths of four bars."""
    rng = np.random.default_rng(seed)
    return [
        [Note(int(t) * 120, int(p), 240, int(v)) for t, p, v in zip(*rng.integers((0, low, 30), (64, high, 110), (24, 3)).T, strict=True)]
        for _ in range(count)
    ]
