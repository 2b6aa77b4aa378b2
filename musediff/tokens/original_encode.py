"""The original's encoder, faults and all: notes and a table row of metadata -> its 729 tokens (``compat="original"``).

What it does differently from ``commu`` is listed in docs/muse.md. Everything here takes the row as ComMU's csv names it:
bpm, audio_key, time_signature, pitch_range, num_measures, inst, genre, min_velocity, max_velocity, track_role, rhythm,
is_incomplete_measure and chord_progressions; ``None`` or "unknown" is unknown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from musediff.chords import QUALITIES
from musediff.clip import INSTRUMENT_GROUPS, KEY_INDEX, PITCH_RANGES, RHYTHMS, ROLES, TICKS_PER_QUARTER, Note
from musediff.errors import BadRequest
from musediff.tokens import vocab

Row = Mapping[str, Any]

TWELVE_EIGHT = vocab.PITCH_RANGE  # one id, two meanings
MAX_BPM = 200
CHORDS_PER_BAR = {"4/4": 8, "3/4": 6, "6/8": 6, "12/8": 12}
PROMPT_CHORDS_PER_BAR = 8  # in a prompt, whatever the metre
NO_CHORD = "nn"
ROOTS = ("a", "a#", "b", "c", "c#", "d", "d#", "e", "f", "f#", "g", "g#")

_FLATS = {"ab": "g#", "bb": "a#", "db": "c#", "eb": "d#", "gb": "f#"}
# Spellings beyond the nine qualities: flats know all of these, naturals only some, sharps none. Names come in lower case, so
# those with a capital letter ("mM7") can never be found; the original lists them all the same.
_FLAT_QUALITIES = {
    **{quality: quality for quality in QUALITIES},
    "maj": "", "6": "", "add2": "maj7", "sus2": "maj7", "dim7": "dim", "m6": "m", "madd2": "m7", "7sus4": "sus4",
}  # fmt: skip
_NATURAL_QUALITIES = {"7sus4": "sus4", "m6": "m", "sus2": "maj7", "add2": "maj7", "6": "", "dim7": "dim", "madd2": "m7"}


def _chord_ids() -> dict[str, int]:
    plain = {root + quality: vocab.CHORD + 9 * i + q for i, root in enumerate(ROOTS) for q, quality in enumerate(QUALITIES)}
    flats = {flat + said: plain[sharp + meant] for flat, sharp in _FLATS.items() for said, meant in _FLAT_QUALITIES.items()}
    naturals = {root + said: plain[root + meant] for root in ROOTS if "#" not in root for said, meant in _NATURAL_QUALITIES.items()}
    return {**plain, **flats, **naturals, NO_CHORD: vocab.CHORD + len(plain)}


CHORD_IDS = _chord_ids()
PROMPT_CHORD_IDS: dict[str, int] = {root.upper() + quality: CHORD_IDS[root + quality] for root in ROOTS for quality in QUALITIES}


class Events(NamedTuple):
    """Bars, chords, notes and end as one list of tokens, and the lines printed on the way."""

    tokens: list[int]
    printed: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The layout that the network sees. ``mask``: 1 where it is noised."""

    ids: list[int]
    mask: list[int]


def _known(value: Any) -> bool:
    return value is not None and value != "unknown"


def _named(row: Row, field: str, first: int, numbers: Mapping[str, int]) -> int:
    value = row[field]
    if not _known(value):
        return first
    if value not in numbers:
        raise BadRequest(f"{field}: the original has no token for {value!r}. It knows {', '.join(numbers)}.")
    return first + 1 + numbers[value]


def _numbered(names: Sequence[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def encode_meta(row: Row) -> list[int]:
    """The eleven metadata. Numbers are not checked: a velocity of 200 becomes an id of another group, or of none.

    Raises:
        BadRequest: an unknown name, or a number of bars that is not 4, 8 or 16 (with or without a pick-up).
    """
    metres = {**_numbered(vocab.COMMU_TIME_SIGNATURES), "12/8": TWELVE_EIGHT - vocab.TIME_SIGNATURE - 1}
    groups = {name: index for index, group in enumerate(INSTRUMENT_GROUPS) for name in group}
    instrument = row["inst"].split("-")[0] if _known(row["inst"]) else None
    low, high = row["min_velocity"], row["max_velocity"]
    return [
        vocab.BPM + (min(int(row["bpm"]), MAX_BPM) // vocab.BPM_STEP or 1) if _known(row["bpm"]) else vocab.BPM,
        _named(row, "audio_key", vocab.KEY, KEY_INDEX),
        _named(row, "time_signature", vocab.TIME_SIGNATURE, metres),
        _named(row, "pitch_range", vocab.PITCH_RANGE, _numbered(tuple(PITCH_RANGES))),
        _measures(row["num_measures"]),
        _named({"inst": instrument}, "inst", vocab.INSTRUMENT, groups),
        _named(row, "genre", vocab.GENRE, _numbered(vocab.COMMU_GENRES)),
        vocab.LIMIT + 1 + math.floor(low / 2) if _known(low) else vocab.LIMIT,
        vocab.LIMIT + 1 + math.ceil(high / 2) if _known(high) else vocab.LIMIT,
        _named(row, "track_role", vocab.ROLE, _numbered(ROLES)),
        _named(row, "rhythm", vocab.RHYTHM, _numbered(RHYTHMS)),
    ]


def _measures(number: float) -> int:
    for index, known in enumerate(vocab.COMMU_MEASURES):
        if math.floor(number) in (known, known + 1):
            return vocab.MEASURES + index
    raise BadRequest(f"num_measures: the original has no token for {number} bars. It knows 4, 8 and 16, each with a pick-up or without.")


def bar_ticks(time_signature: str, ticks_per_quarter: int) -> int:
    """Length of a bar."""
    top, bottom = (int(part) for part in time_signature.split("/"))
    return int(ticks_per_quarter * top / bottom * 4)


def duration_bins(ticks_per_bar: int) -> np.ndarray:
    """Durations in whole ticks: 128 of them in 4/4, 130 where a bar is no multiple of 128 (the last two have no token)."""
    step = ticks_per_bar // vocab.GRID
    return np.arange(step, ticks_per_bar + 1, step)


def encode_events(notes: Sequence[Note], row: Row, ticks_per_quarter: int = TICKS_PER_QUARTER) -> Events:
    """Bars, chords and notes. ``notes`` are in ticks of the file, not of the clip, if the two differ."""
    per_bar = bar_ticks(row["time_signature"], ticks_per_quarter)
    measures = math.ceil(row["num_measures"])
    printed: list[str] = []
    timed: list[tuple[float, list[int]]] = [(bar * per_bar, [vocab.BAR]) for bar in range(measures)]
    timed += _chord_events(row, per_bar, printed)
    for note in sorted(notes):
        bar = note.onset_ticks // per_bar
        if bar < measures:
            timed.append((note.onset_ticks, _note(note, bar * per_bar, per_bar, printed)))
    timed.sort(key=lambda event: event[0])  # stable: at one tick bar, chord, notes
    return Events([*chain.from_iterable(tokens for _, tokens in timed), vocab.EOS], "".join(f"{line}\n" for line in printed))


def _chord_events(row: Row, per_bar: int, printed: list[str]) -> list[tuple[float, list[int]]]:
    """At the start of every bar and wherever the name changes. With a pick-up the first bar has none."""
    names = list(chain.from_iterable(row["chord_progressions"]))
    per_measure = CHORDS_PER_BAR[row["time_signature"]]
    events = []
    for index, name in enumerate(names):
        bar, place = divmod(index, per_measure)
        if place == 0 or name != names[index - 1]:
            tick = (bar + bool(row["is_incomplete_measure"])) * per_bar + per_bar * place / per_measure
            spelling = name.split("/")[0].split("(")[0].lower()
            token = CHORD_IDS.get(spelling)
            if token is None:
                printed.append(f"OOV Chord_{spelling}")
            events.append((tick, [vocab.POSITION + int(place / per_measure * vocab.GRID), *([] if token is None else [token])]))
    return events


def _note(note: Note, bar_start: int, per_bar: int, printed: list[str]) -> list[int]:
    grid = np.linspace(bar_start, bar_start + per_bar, vocab.GRID, endpoint=False)
    position = int(np.abs(grid - note.onset_ticks).argmin())
    loud = int(np.searchsorted(vocab.VELOCITY_BINS, note.velocity, "right")) - 1
    if loud < 0:  # velocity 1 has no bin and gets the loudest
        printed.append(f"OOV Note Velocity_{loud}")
        loud = len(vocab.VELOCITY_BINS) - 1
    duration = min(int(np.abs(duration_bins(per_bar) - note.duration_ticks).argmin()), vocab.GRID - 1)
    return [vocab.POSITION + position, vocab.VELOCITY + loud, vocab.PITCH + note.pitch, vocab.DURATION + duration]


def merge(meta: Sequence[int], events: Sequence[int]) -> Merged:
    """Metadata, chord pairs moved out of the notes, separator, notes."""
    chords = [place for place, token in enumerate(events) if vocab.CHORD <= token < vocab.DURATION]
    pairs = {place - offset for place in chords for offset in (0, 1)}
    given = [*meta, *(events[place] for place in sorted(pairs)), vocab.EOS]
    rest = [token for place, token in enumerate(events) if place not in pairs]
    return Merged(given + rest, [0] * len(given) + [1] * len(rest))


def prompt(row: Row, length: int) -> Merged:
    """The start of a generation: metadata and chords, a separator of 0, and room up to ``length``.

    ``chord_progressions`` is read at eight chords a bar in every metre, and a change inside a bar leaves its position only.

    Raises:
        BadRequest: as in :func:`encode_meta`; a chord that has no name of ComMU's own; bars that are not whole; no room.
    """
    names = [name for line in row["chord_progressions"] for name in line]
    if len(names) % PROMPT_CHORDS_PER_BAR:
        raise BadRequest(f"chord_progression: {len(names)} chords are no whole bars of {PROMPT_CHORDS_PER_BAR}.")
    given = encode_meta(row)
    for index, name in enumerate(names):
        bar_place = index % PROMPT_CHORDS_PER_BAR
        if bar_place == 0:
            given += [vocab.POSITION, _prompt_chord(name)]
        elif name != names[index - 1]:
            given.append(vocab.POSITION + bar_place * vocab.GRID // PROMPT_CHORDS_PER_BAR)
    given.append(vocab.PAD)
    if len(given) > length:
        raise BadRequest(f"The prompt needs {len(given)} tokens and the network has room for {length}. Ask for fewer bars.")
    return Merged(given + [vocab.PAD] * (length - len(given)), [0] * len(given) + [1] * (length - len(given)))


def _prompt_chord(name: str) -> int:
    if name not in PROMPT_CHORD_IDS:
        raise BadRequest(f"chord_progression: the original has no token for {name!r} in a prompt. Write it in sharps, as C#m7.")
    return PROMPT_CHORD_IDS[name]
