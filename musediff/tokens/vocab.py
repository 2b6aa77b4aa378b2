"""The alphabet of the muse engine: ComMU's 729 tokens as one computed table, and eight of our own behind them.

A piece is eleven metadata, position and chord pairs, a separator (``EOS``), then bars of notes. A note is four tokens:
position, velocity, pitch, duration. The first id of a metadata group means "unknown"; the group of bars has no such id.
"""

import hashlib
from enum import IntEnum
from itertools import accumulate

import numpy as np

from musediff.chords import ANY_CHORD, CHORD_NAMES, NO_CHORD, QUALITIES
from musediff.clip import GENRES, INSTRUMENT_GROUPS, KEY_NAMES, PITCH_RANGES, RHYTHMS, ROLES, TIME_SIGNATURES


class Kind(IntEnum):
    """What a token is, for the grammar."""

    PAD = 0
    EOS = 1
    BAR = 2
    PITCH = 3
    VELOCITY = 4
    CHORD = 5
    DURATION = 6
    POSITION = 7
    META = 8


NOTE = (Kind.POSITION, Kind.VELOCITY, Kind.PITCH, Kind.DURATION)  # the four tokens of a note, in their order
GRID = 128  # positions of a bar, and durations: 1 to 128 of the same steps
VELOCITY_BINS = np.linspace(2, 127, 64).astype(np.int64)  # 2, then the odd numbers from 3
COMMU_MEASURES = (4, 8, 16)
COMMU_GENRES = GENRES[:2]
COMMU_TIME_SIGNATURES = TIME_SIGNATURES[:3]  # its 12/8 has the id of "pitch range unknown"
INSTRUMENT_IDS = len(INSTRUMENT_GROUPS) - 1  # its ninth group has the id of "genre unknown"
BPM_STEP, BPM_STEPS = 5, 40

# Name, number of ids, kind. The order is ComMU's.
_BLOCKS = (
    ("PAD", 1, Kind.PAD),
    ("EOS", 1, Kind.EOS),
    ("BAR", 1, Kind.BAR),
    ("PITCH", 128, Kind.PITCH),
    ("VELOCITY", len(VELOCITY_BINS), Kind.VELOCITY),
    ("CHORD", len(CHORD_NAMES), Kind.CHORD),
    ("DURATION", GRID, Kind.DURATION),
    ("POSITION", GRID, Kind.POSITION),
    ("BPM", 1 + BPM_STEPS, Kind.META),
    ("KEY", 1 + len(KEY_NAMES), Kind.META),
    ("TIME_SIGNATURE", 1 + len(COMMU_TIME_SIGNATURES), Kind.META),
    ("PITCH_RANGE", 1 + len(PITCH_RANGES), Kind.META),
    ("MEASURES", len(COMMU_MEASURES), Kind.META),
    ("INSTRUMENT", 1 + INSTRUMENT_IDS, Kind.META),
    ("GENRE", 1 + len(COMMU_GENRES), Kind.META),
    ("LIMIT", 66, Kind.META),  # of velocity: half its value, rounded down for the lowest and up for the highest
    ("ROLE", 1 + len(ROLES), Kind.META),
    ("RHYTHM", 1 + len(RHYTHMS), Kind.META),
    ("OWN_TIME_SIGNATURE", len(TIME_SIGNATURES) - len(COMMU_TIME_SIGNATURES), Kind.META),
    ("OWN_GENRE", len(GENRES) - len(COMMU_GENRES), Kind.META),
    ("OWN_MEASURES", 1, Kind.META),  # any number that ComMU has no id for
    ("OWN_INSTRUMENT", 1, Kind.META),
)
FIRST = dict(zip((name for name, _, _ in _BLOCKS), accumulate((0, *(size for _, size, _ in _BLOCKS))), strict=False))
PAD, EOS, BAR = FIRST["PAD"], FIRST["EOS"], FIRST["BAR"]
PITCH, VELOCITY, CHORD = FIRST["PITCH"], FIRST["VELOCITY"], FIRST["CHORD"]
DURATION, POSITION = FIRST["DURATION"], FIRST["POSITION"]
BPM, KEY, TIME_SIGNATURE, PITCH_RANGE = FIRST["BPM"], FIRST["KEY"], FIRST["TIME_SIGNATURE"], FIRST["PITCH_RANGE"]
MEASURES, INSTRUMENT, GENRE, LIMIT = FIRST["MEASURES"], FIRST["INSTRUMENT"], FIRST["GENRE"], FIRST["LIMIT"]
ROLE, RHYTHM = FIRST["ROLE"], FIRST["RHYTHM"]
OWN_TIME_SIGNATURE, OWN_GENRE = FIRST["OWN_TIME_SIGNATURE"], FIRST["OWN_GENRE"]
OWN_MEASURES, OWN_INSTRUMENT = FIRST["OWN_MEASURES"], FIRST["OWN_INSTRUMENT"]

SIZE_ORIGINAL = OWN_TIME_SIGNATURE
SIZE = sum(size for _, size, _ in _BLOCKS)
META_TOKENS = 11

KIND = np.repeat(np.array([kind for _, _, kind in _BLOCKS], np.int8), [size for _, size, _ in _BLOCKS])  # (SIZE,)
# FOLLOWS[a, b]: in the note part a token of kind b may stand behind one of kind a.
FOLLOWS = np.zeros((len(Kind), len(Kind)), bool)
FOLLOWS[np.ix_((Kind.BAR, Kind.DURATION), (Kind.BAR, Kind.POSITION, Kind.EOS))] = True
FOLLOWS[NOTE[:-1], NOTE[1:]] = True
FOLLOWS[[Kind.EOS, Kind.PAD], Kind.PAD] = True
for _table in (KIND, VELOCITY_BINS, FOLLOWS):
    _table.flags.writeable = False

_A = 9  # ComMU counts roots from A, we from C
_ROOTS = 12


def chord_token(chord: int) -> int:
    """Token of a chord id. ComMU has none for "not said": ``ANY_CHORD`` is written like ``NO_CHORD``."""
    assert 0 <= chord <= ANY_CHORD, chord
    if chord >= NO_CHORD:
        return CHORD + NO_CHORD
    root, quality = divmod(chord, len(QUALITIES))
    return CHORD + (root - _A) % _ROOTS * len(QUALITIES) + quality


def chord_of(token: int) -> int:
    """Chord id of a token."""
    assert CHORD <= token < DURATION, token
    root, quality = divmod(token - CHORD, len(QUALITIES))
    return NO_CHORD if token - CHORD == NO_CHORD else (root + _A) % _ROOTS * len(QUALITIES) + quality


def velocity_token(velocity: int) -> int:
    """Token of the highest bin that is not above a velocity, 1-127. Velocity 1 goes up to the lowest bin."""
    return VELOCITY + max(0, int(np.searchsorted(VELOCITY_BINS, velocity, "right")) - 1)


def velocity_of(token: int) -> int:
    """Velocity of a token: 2, 3, 5, ... 127."""
    return int(VELOCITY_BINS[token - VELOCITY])


def fingerprint() -> str:
    """Changes whenever a token changes its meaning: weights carry it and are refused if it differs."""
    names = (CHORD_NAMES, GENRES, INSTRUMENT_GROUPS, KEY_NAMES, tuple(PITCH_RANGES), RHYTHMS, ROLES, TIME_SIGNATURES)
    blocks = [(name, size, int(kind)) for name, size, kind in _BLOCKS]
    text = repr((blocks, VELOCITY_BINS.tolist(), COMMU_MEASURES, BPM_STEP, names))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
