"""What a field may be, whatever the network thinks: masks on logits, and the octave that brings a track into its range."""

import numpy as np
import torch
from torch import Tensor

from musediff.clip import PITCH_RANGES, Track
from musediff.engines.slots import vocab
from musediff.engines.slots.codec import velocity_limits

FORBIDDEN = -1e9


def allowed(tracks: tuple[Track, ...], bar_ticks: int) -> list[Tensor]:
    """Per field a table (K, V), 0 where a class is allowed and ``FORBIDDEN`` where not: onsets inside the bar,
    velocities whose class touches the asked limits."""
    tables = [torch.zeros(len(tracks), size) for size in vocab.SIZES]
    tables[vocab.POSITION][:, bar_ticks // vocab.POSITION_TICKS :] = FORBIDDEN
    classes = torch.arange(vocab.SIZES[vocab.VELOCITY]) * vocab.VELOCITY_STEP
    for k, track in enumerate(tracks):
        low, high = velocity_limits(track)
        tables[vocab.VELOCITY][k, (classes + vocab.VELOCITY_STEP - 1 < low) | (classes > high)] = FORBIDDEN
    return tables


def octave_shift(pitches: np.ndarray, pitch_range: str | None) -> int:
    """Semitones (whole octaves) that bring the mean pitch nearest to the middle of a range it lies outside of."""
    if pitch_range is None or not len(pitches):
        return 0
    first, last = PITCH_RANGES[pitch_range]
    mean = pitches.mean()
    if first <= mean < last + 1:
        return 0
    shifts = [s for s in range(-120, 121, 12) if pitches.min() + s >= 0 and pitches.max() + s <= 127]
    return min(shifts, key=lambda s: (abs(mean + s - (first + last + 1) / 2), abs(s)))
