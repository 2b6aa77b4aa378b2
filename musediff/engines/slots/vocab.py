"""The alphabet of the slots engine: four fields of a note, a count per bar and track, and the conditions.

A slot is one note. Its fields are classes: position inside the bar (12 a quarter: sixteenths and triplets), pitch,
duration and velocity. Class ``SIZES[field]`` of a field means "masked", class 0 of a condition means "any".
"""

import hashlib

import numpy as np

from musediff.clip import BAR_TICKS, GENRES, INSTRUMENTS, PITCH_RANGES, RHYTHMS, ROLES, TIME_SIGNATURES

POSITION_TICKS = 40
MAX_POSITIONS = max(BAR_TICKS.values()) // POSITION_TICKS
VELOCITY_STEP = 4
COUNTS = 64  # notes of one track in one bar: 0 .. 63
COUNT_MASK = COUNTS

# In ticks: every 32nd up to a half note, the triplet values, then coarser up to four 4/4 bars.
DURATION_TICKS = np.array(
    sorted([*range(60, 961, 60), 80, 160, 320, 640, 1080, 1200, 1320, 1440, 1680, 1920, 2160, 2400, 2880, 3360, 3840, 4800, 5760, 7680])
)
_DURATION_EDGES = np.sqrt(DURATION_TICKS[:-1] * DURATION_TICKS[1:])  # nearest in the logarithm

FIELDS = ("position", "pitch", "duration", "velocity")
POSITION, PITCH, DURATION, VELOCITY = range(4)
SIZES = (MAX_POSITIONS, 128, len(DURATION_TICKS), 128 // VELOCITY_STEP)

BPM_STEP = 5
SHARED = ("bpm", "key", "time_signature", "num_measures", "genre", "rhythm")
SHARED_SIZES = (62, 25, len(TIME_SIGNATURES) + 1, 65, len(GENRES) + 1, len(RHYTHMS) + 1)
PART = ("role", "instrument", "pitch_range", "min_velocity", "max_velocity")
PART_SIZES = (len(ROLES) + 1, len(INSTRUMENTS) + 1, len(PITCH_RANGES) + 1, SIZES[VELOCITY] + 1, SIZES[VELOCITY] + 1)
MAX_TRACKS = 4
CHORDS_PER_BAR = 12  # of the longest bar; shorter bars leave the rest at ANY_CHORD

RANGE_FIRST_PITCH = np.array([first for first, _ in PITCH_RANGES.values()])


def duration_class(ticks: np.ndarray) -> np.ndarray:
    """Class of the nearest duration on a logarithmic scale."""
    return np.searchsorted(_DURATION_EDGES, ticks).astype(np.int64)


def bpm_class(bpm: int) -> int:
    """1-61 for steps of five quarters per minute, ends clamped."""
    return int(np.clip(round(bpm / BPM_STEP), 1, SHARED_SIZES[0] - 1))


def fingerprint() -> str:
    """Changes whenever a class changes its meaning: weights carry it and are refused if it differs."""
    text = repr((POSITION_TICKS, DURATION_TICKS.tolist(), SIZES, COUNTS, SHARED, SHARED_SIZES, PART, PART_SIZES, CHORDS_PER_BAR))
    names = repr((GENRES, INSTRUMENTS, tuple(PITCH_RANGES), RHYTHMS, ROLES, TIME_SIGNATURES))
    return hashlib.sha256((text + names).encode()).hexdigest()[:16]
