"""The chord vocabulary: 12 roots x 9 qualities and "no chord", as one table of integers.

The nine qualities are those of ComMU. A chord is named in sharps ("C#m7"), an id is
``root * 9 + quality``; ``NO_CHORD`` stands for "N.C." and ``ANY_CHORD`` for "not said".
Richer labels are folded onto the nine with :func:`fold`.
"""

import re

ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
QUALITIES = ("", "7", "+", "dim", "m", "m7", "m7b5", "maj7", "sus4")
INTERVALS = (
    (0, 4, 7),
    (0, 4, 7, 10),
    (0, 4, 8),
    (0, 3, 6),
    (0, 3, 7),
    (0, 3, 7, 10),
    (0, 3, 6, 10),
    (0, 4, 7, 11),
    (0, 5, 7),
)
NO_CHORD = 108
ANY_CHORD = 109
NUM_CHORDS = 110
NO_CHORD_NAME = "N.C."

ROOT_PITCH_CLASS = {
    **{name: i for i, name in enumerate(ROOTS)},
    **{"Cb": 11, "Db": 1, "Eb": 3, "Fb": 4, "Gb": 6, "Ab": 8, "Bb": 10, "E#": 5, "B#": 0},
}

# Spellings that mean one of the nine exactly.
EXACT = {
    "": "", "M": "", "maj": "", "major": "",
    "7": "7", "dom7": "7",
    "+": "+", "aug": "+", "#5": "+",
    "dim": "dim", "o": "dim", "°": "dim",
    "m": "m", "min": "m", "minor": "m", "-": "m", "mi": "m",
    "m7": "m7", "min7": "m7", "-7": "m7", "mi7": "m7",
    "m7b5": "m7b5", "min7b5": "m7b5", "hdim7": "m7b5", "hdim": "m7b5", "ø": "m7b5", "ø7": "m7b5", "m7-5": "m7b5",
    "maj7": "maj7", "M7": "maj7", "ma7": "maj7", "major7": "maj7", "Δ": "maj7", "Δ7": "maj7", "^7": "maj7",
    "sus4": "sus4", "sus": "sus4",
}  # fmt: skip
# Spellings outside the nine, with the nearest one of the nine (the choices of ComMU's encoder, except
# sus2, which becomes a plain triad instead of maj7: half of its notes would otherwise be wrong).
FOLDED = {
    "6": "", "maj6": "", "M6": "", "69": "", "6/9": "", "add2": "", "add9": "", "add4": "", "add11": "", "5": "", "b5": "",
    "sus2": "", "2": "",
    "9": "7", "11": "7", "13": "7", "7b9": "7", "7#9": "7", "7b5": "7", "7#11": "7", "9b5": "7", "7b13": "7",
    "7#5": "+", "aug7": "+", "+7": "+", "maj7#5": "+", "augmaj7": "+",
    "dim7": "dim", "o7": "dim", "°7": "dim",
    "m6": "m", "min6": "m", "madd9": "m", "madd2": "m", "mM7": "m", "mmaj7": "m", "minmaj7": "m", "m(maj7)": "m", "m69": "m",
    "m9": "m7", "min9": "m7", "m11": "m7", "min11": "m7", "m13": "m7",
    "maj9": "maj7", "M9": "maj7", "maj11": "maj7", "maj13": "maj7", "maj7#11": "maj7",
    "7sus4": "sus4", "7sus": "sus4", "9sus4": "sus4", "9sus": "sus4", "sus4(b7)": "sus4", "sus4(b7,9)": "sus4", "13sus4": "sus4",
}  # fmt: skip

_NAME = re.compile(r"([A-G][#b]?)(.*)", re.DOTALL)


def chord_name(chord: int) -> str:
    """Name of a chord id in sharps: 4 -> "Cm", ``NO_CHORD`` -> "N.C."."""
    assert 0 <= chord < ANY_CHORD, chord
    return NO_CHORD_NAME if chord == NO_CHORD else ROOTS[chord // 9] + QUALITIES[chord % 9]


CHORD_NAMES = tuple(chord_name(i) for i in range(ANY_CHORD))
_ID_OF_NAME = {name: i for i, name in enumerate(CHORD_NAMES)}


def chord_id(name: str) -> int:
    """Id of a canonical name (one of ``CHORD_NAMES``)."""
    return _ID_OF_NAME[name]


def split_root(text: str) -> tuple[int, str] | None:
    """("F#m7/C#") -> (6, "m7/C#"): pitch class of the root and the rest, or None if no root is there."""
    match = _NAME.fullmatch(text)
    if match is None or match[1] not in ROOT_PITCH_CLASS:
        return None
    return ROOT_PITCH_CLASS[match[1]], match[2]


def fold(root: int, quality: str) -> int | None:
    """Chord id of a root pitch class and any spelling of a quality in the tables above; None if it is in neither."""
    name = EXACT.get(quality, FOLDED.get(quality))
    return None if name is None else root * len(QUALITIES) + QUALITIES.index(name)


def pitch_classes(chord: int) -> frozenset[int]:
    """Pitch classes of a chord id; empty for ``NO_CHORD`` and ``ANY_CHORD``."""
    if chord >= NO_CHORD:
        return frozenset()
    return frozenset((chord // 9 + step) % 12 for step in INTERVALS[chord % 9])


def transpose(chord: int, semitones: int) -> int:
    """The same chord, ``semitones`` higher."""
    if chord >= NO_CHORD:
        return chord
    return (chord // 9 + semitones) % 12 * 9 + chord % 9
