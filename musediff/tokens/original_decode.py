"""The original's decoder: ids and mask -> chords put back, a weak check, notes and markers (``compat="original"``).

What it does differently from ``commu`` is listed in docs/muse.md. Times are ticks of 480 per quarter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musediff.clip import KEY_INDEX, TICKS_PER_QUARTER, Note
from musediff.errors import MuseError
from musediff.tokens import vocab
from musediff.tokens.original_encode import CHORD_IDS, TWELVE_EIGHT, bar_ticks, duration_bins
from musediff.tokens.vocab import Kind

_NOTE = list(vocab.NOTE)
_KEY_NAMES = {index: name for name, index in KEY_INDEX.items()}  # of two spellings the last one
_CHORD_NAMES = {token: name for name, token in reversed(CHORD_IDS.items())}  # of all spellings the first one, in sharps


class BadSequence(MuseError):
    """The original leaves this sequence out. The message is its own."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Metadata, and events with the chords back among the notes."""

    meta: list[int]
    events: list[int]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the original writes to its file. ``printed``: the lines that it prints on the way."""

    bpm: float
    time_signature: str
    key: str | None
    notes: tuple[Note, ...]  # in the order of the tokens
    markers: tuple[tuple[int, str], ...]
    printed: str


def restore(ids: Sequence[int], mask: Sequence[int]) -> Restored:
    """Undo ``original_encode.merge``: the notes end at their first ``EOS``, chord pairs go back into their bars.

    Bars are counted by the pairs at position 0. One bar more than that is a pick-up, missing bars are appended empty.

    Raises:
        BadSequence: no ``EOS``, or too many bars.
    """
    given = len(ids) - sum(mask)
    notes = list(ids[given:])
    if vocab.EOS not in notes:
        raise BadSequence("NO EOS TOKEN")
    notes = notes[: notes.index(vocab.EOS)]
    chords = list(ids[vocab.META_TOKENS : given - 1])
    bars_of_chords = _split(chords, vocab.POSITION)[1:]
    head, *bars = _split(notes, vocab.BAR)
    bars += [[vocab.BAR] for _ in range(len(bars_of_chords) - len(bars))]
    pick_up = len(bars) - len(bars_of_chords)
    if pick_up > 1:
        raise BadSequence("RESTORE_CHORD FROM META FAILED")
    events = [*head, *(bars[0] if pick_up else [])]
    for bar, of_chords in zip(bars[pick_up:], bars_of_chords, strict=True):
        events += _with_chords(bar, of_chords)
    return Restored(list(ids[: vocab.META_TOKENS]), [*events, vocab.EOS])


def _split(tokens: list[int], first: int) -> list[list[int]]:
    """What stands before the first ``first``, then one part for each, beginning with it."""
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token == first:
            parts.append([])
        parts[-1].append(token)
    return parts


def _with_chords(bar: list[int], chords: list[int]) -> list[int]:
    """Each pair behind the last note of a smaller position."""
    result = list(bar)
    for start in range(0, len(chords) - 1, 2):
        position = chords[start]
        earlier = [place for place, token in enumerate(result) if vocab.POSITION <= token < position]
        at = earlier[-1] + 1 if earlier else 1
        while at < len(result) and vocab.KIND[result[at]] != Kind.POSITION:
            at += 1
        result[at:at] = chords[start : start + 2]
    return result


def validate(events: Sequence[int], strict: bool = False) -> None:
    """The original's check: one complete note is enough. ``strict`` (its metrics only): the grammar, but not the number of bars.

    Raises:
        BadSequence: the check failed.
    """
    kinds = [int(vocab.KIND[token]) for token in events]
    if not any(kinds[i : i + 4] == _NOTE for i in range(len(kinds))):
        raise BadSequence("VALIDATION OF SEQUENCE FAILED")
    if strict and not _grammatical(kinds):
        raise BadSequence("STRICT VALIDATION OF SEQUENCE FAILED")


def _grammatical(kinds: list[int]) -> bool:
    if kinds[0] != Kind.BAR:
        return False
    place = 0
    while kinds[place] != Kind.EOS:
        if kinds[place] == Kind.BAR:
            place += 1
        elif kinds[place : place + 2] == [Kind.POSITION, Kind.CHORD]:
            place += 2
        elif kinds[place : place + 4] == _NOTE:
            place += 4
        else:
            return False
    return place == len(kinds) - 1


def decode(ids: Sequence[int], mask: Sequence[int], strict: bool = False) -> Decoded:
    """Restore, check, read.

    Raises:
        BadSequence: as :func:`restore` and :func:`validate` do.
    """
    restored = restore(ids, mask)
    validate(restored.events, strict)
    return read(restored)


def read(restored: Restored) -> Decoded:
    """Notes and markers of whatever is readable; a chord right before the end is lost."""
    meta = restored.meta
    metre = _time_signature(meta[2])
    per_bar = bar_ticks(metre, TICKS_PER_QUARTER)
    bins = duration_bins(per_bar)
    unknown = [token for token in restored.events if not vocab.EOS <= token < vocab.BPM]
    events = [token for token in restored.events if vocab.EOS <= token < vocab.BPM]
    kinds = [int(vocab.KIND[token]) for token in events]
    notes, markers, bar = [], [], -1
    for place in range(len(events) - 3):
        if kinds[place] == Kind.BAR:
            bar += 1
        if kinds[place] != Kind.POSITION:
            continue
        onset = int(np.linspace(bar * per_bar, (bar + 1) * per_bar, vocab.GRID, endpoint=False)[events[place] - vocab.POSITION])
        if kinds[place + 1] == Kind.CHORD:
            markers.append((onset, _CHORD_NAMES[events[place + 1]]))
        elif kinds[place : place + 4] == _NOTE:
            velocity, pitch, duration = events[place + 1 : place + 4]
            ticks = int(bins[duration - vocab.DURATION])
            notes.append(Note(onset, pitch - vocab.PITCH, ticks, vocab.velocity_of(velocity)))
    return Decoded(
        bpm=float((meta[0] - vocab.BPM) * vocab.BPM_STEP),
        time_signature=metre,
        key=_KEY_NAMES.get(meta[1] - vocab.KEY - 1),
        notes=tuple(notes),
        markers=tuple(markers),
        printed="".join(f"OOV: {token}\n" for token in unknown),
    )


def _time_signature(token: int) -> str:
    """Unknown is read as 4/4."""
    names = dict(enumerate(vocab.COMMU_TIME_SIGNATURES, vocab.TIME_SIGNATURE + 1)) | {TWELVE_EIGHT: "12/8"}
    return names.get(token, "4/4")
