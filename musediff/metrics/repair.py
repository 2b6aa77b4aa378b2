"""How much of a damaged part is found and put right, and the damage that the evaluation does."""

from collections.abc import Collection, Sequence, Set
from typing import NamedTuple

import numpy as np

from musediff.clip import Note


class PrecisionRecall(NamedTuple):
    """Shares, 0-1."""

    precision: float
    recall: float
    f1: float


def note_f1(notes: Sequence[Note], truth: Sequence[Note], *, tolerance_ticks: int = 0, with_duration: bool = False) -> PrecisionRecall:
    """Notes against the true ones. A pair is of one pitch with onsets (and durations) at most ``tolerance_ticks`` apart.

    Every note is in one pair at most; pairs are made in the order of time.
    """
    waiting: dict[int, list[Note]] = {}
    for note in sorted(truth):
        waiting.setdefault(note.pitch, []).append(note)
    hits = 0
    for note in sorted(notes):
        for place, other in enumerate(waiting.get(note.pitch, [])):
            near = abs(other.onset_ticks - note.onset_ticks) <= tolerance_ticks
            if near and (not with_duration or abs(other.duration_ticks - note.duration_ticks) <= tolerance_ticks):
                del waiting[note.pitch][place]
                hits += 1
                break
    return _score(hits, len(notes), len(truth))


def detection_f1(found: Collection[int], damaged: Collection[int]) -> PrecisionRecall:
    """Indices of notes that were thought wrong against those that are."""
    return _score(len(set(found) & set(damaged)), len(set(found)), len(set(damaged)))


def damage(notes: Sequence[Note], rng: np.random.Generator, share: float, bar_ticks: int) -> tuple[tuple[Note, ...], frozenset[int]]:
    """The original's ``rn``: this share of the notes get a random pitch, duration (up to a bar) and velocity at their old onset.

    A pitch that another note has at the same onset is drawn again, so that no two notes become one. Returns the notes, sorted,
    and the indices of the damaged ones among them.
    """
    chosen = _chosen(notes, rng, share)
    result = list(notes)
    taken = {(note.onset_ticks, note.pitch) for note in notes}
    for index in chosen:
        onset = notes[index].onset_ticks
        taken.discard((onset, notes[index].pitch))
        pitch = int(rng.integers(128))
        while (onset, pitch) in taken:
            pitch = int(rng.integers(128))
        taken.add((onset, pitch))
        duration = max(1, round((int(rng.integers(128)) + 1) * bar_ticks / 128))
        velocity = max(2, 2 * int(rng.integers(64)) + 1)  # the original's 64 velocities: 2, 3, 5, ..., 127
        result[index] = Note(onset, pitch, duration, velocity)
    return _in_order(result, set(chosen))


def slips(notes: Sequence[Note], rng: np.random.Generator, share: float, most: int = 4) -> tuple[tuple[Note, ...], frozenset[int]]:
    """This share of the notes on another key, up to ``most`` semitones away; all else of them stays. Returns as ``damage``.

    A note all of whose keys around are taken at its onset stays as it is.
    """
    chosen = _chosen(notes, rng, share)
    result, wrong = list(notes), set()
    taken = {(note.onset_ticks, note.pitch) for note in notes}
    for index in chosen:
        note = notes[index]
        around = range(max(0, note.pitch - most), min(127, note.pitch + most) + 1)
        free = [pitch for pitch in around if (note.onset_ticks, pitch) not in taken]
        if free:
            result[index] = note._replace(pitch=int(rng.choice(free)))
            taken.add((note.onset_ticks, result[index].pitch))
            wrong.add(index)
    return _in_order(result, wrong)


def _chosen(notes: Sequence[Note], rng: np.random.Generator, share: float) -> list[int]:
    """Places of this share of the notes, in order."""
    assert 0 <= share <= 1, share
    return sorted(rng.choice(len(notes), size=round(share * len(notes)), replace=False).tolist()) if notes else []


def _in_order(notes: Sequence[Note], wrong: Set[int]) -> tuple[tuple[Note, ...], frozenset[int]]:
    """Sorted, with the places that the ``wrong`` ones have then."""
    order = sorted(range(len(notes)), key=lambda i: notes[i])
    return tuple(notes[i] for i in order), frozenset(place for place, i in enumerate(order) if i in wrong)


def _score(hits: int, found: int, true: int) -> PrecisionRecall:
    """Nothing to find and nothing found is a full score."""
    if found == 0 and true == 0:
        return PrecisionRecall(1.0, 1.0, 1.0)
    return PrecisionRecall(hits / found if found else 0.0, hits / true if true else 0.0, 2 * hits / (found + true))
