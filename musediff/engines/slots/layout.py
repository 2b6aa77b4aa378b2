"""A request -> rows of slots: what is given, what is open, what is hidden; and finished rows -> clips.

One row is one variant. Counts of bars that may change are drawn before this (``sampler.sample_counts``); here the
kept notes of such a bar are filled up with hidden slots to the drawn count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from musediff.clip import Clip, Note, Track
from musediff.engines.base import VALUES, Request
from musediff.engines.finishing import into_range, only_louder, playable, until, velocity_limits
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, places
from musediff.engines.slots.codec import Encoded, chord_rows, decode_notes, encode_track, part_classes, played, shared_classes
from musediff.engines.slots.sampler import Noise

NEW = -1  # source index of a slot that is no note of the clip
_FIELD_CLASSES = {"rhythm": (vocab.POSITION, vocab.DURATION), "pitch": (vocab.PITCH,), "dynamics": (vocab.VELOCITY,)}


@dataclass(slots=True)
class Row:
    """One variant before padding, sorted by track and bar. ``open`` fields may change, ``hidden`` ones are masked."""

    track: np.ndarray
    bar: np.ndarray
    values: np.ndarray  # (N, 4)
    source: np.ndarray  # index of the note inside its track, or NEW
    open: np.ndarray  # (N, 4) bool
    hidden: np.ndarray  # (N, 4) bool


def open_fields(request: Request) -> np.ndarray:
    """(4,) which classes of a note may change."""
    fields = np.zeros(len(vocab.FIELDS), bool)
    for name in request.fields:
        fields[list(_FIELD_CLASSES[name])] = True
    return fields


def region(request: Request) -> np.ndarray:
    """(R, K) bars and tracks that may change."""
    inside = np.zeros((request.clip.num_measures, len(request.clip.tracks)), bool)
    bars = range(request.clip.num_measures) if request.bars is None else sorted(request.bars)
    inside[np.ix_(list(bars), list(request.tracks))] = True
    return inside


def encode_clip(clip: Clip) -> list[Encoded]:
    return [encode_track(track, clip.num_measures, clip.bar_ticks) for track in clip.tracks]


def counts_of(tracks: list[Encoded], bars: int) -> np.ndarray:
    """(R, K) notes per bar and track."""
    return np.stack([np.bincount(t.bar, minlength=bars) for t in tracks], 1)


def start_row(tracks: list[Encoded], inside: np.ndarray, fields: np.ndarray) -> Row:
    """The clip as it is: everything visible, notes inside the region open."""
    track = np.repeat(np.arange(len(tracks)), [len(t.bar) for t in tracks])
    bar = np.concatenate([t.bar for t in tracks])
    values = np.concatenate([t.values for t in tracks])
    source = np.concatenate([t.source for t in tracks])
    may = inside[bar, track][:, None] & fields[None, :]
    return Row(track, bar, values, source, may, np.zeros_like(may))


def told_wrong(row: Row, track: int, wrong: Mapping[int, frozenset[str]]) -> np.ndarray:
    """(N, 4) classes of the values ``wrong``, by the note of the track; the classes are in the order of ``VALUES``."""
    found = np.zeros_like(row.open)
    for slot in np.flatnonzero(row.track == track):
        found[slot] = [name in wrong.get(int(row.source[slot]), ()) for name in VALUES]
    return found


def refill(row: Row, counts: np.ndarray, redrawn: np.ndarray, rng: np.random.Generator) -> Row:
    """Bring bars whose count was redrawn to their new count: hidden slots are added, or notes taken out (hidden ones first)."""
    keep = np.ones(len(row.bar), bool)
    added: list[tuple[int, int]] = []
    for bar, track in np.argwhere(redrawn):
        here = np.flatnonzero((row.bar == bar) & (row.track == track))
        surplus = len(here) - int(counts[bar, track])
        if surplus > 0:
            order = np.lexsort((rng.random(len(here)), ~row.hidden[here].any(1)))
            keep[here[order[:surplus]]] = False
        added += [(int(track), int(bar))] * max(0, -surplus)
    new_track, new_bar = (np.array(column, np.int64) for column in (zip(*added, strict=True) if added else ((), ())))
    blank = np.tile(np.array([0, 60, 0, 16]), (len(added), 1))  # never shown: all four fields are hidden
    yes = np.ones((len(added), len(vocab.FIELDS)), bool)
    fresh = Row(new_track, new_bar, blank, np.full(len(added), NEW), yes, yes)
    joined = Row(*(np.concatenate((getattr(row, name)[keep], getattr(fresh, name))) for name in Row.__dataclass_fields__))
    # A hidden slot gets a random place among the visible notes of its bar: the network reads order from the place.
    key = np.where(joined.hidden[:, 0], rng.random(len(joined.bar)) * vocab.MAX_POSITIONS, joined.values[:, 0])
    order = np.lexsort((joined.values[:, 1], key, joined.bar, joined.track))
    return Row(*(getattr(joined, name)[order] for name in Row.__dataclass_fields__))


def batch(rows: list[Row], clip: Clip) -> tuple[Slots, Noise]:
    """Pad rows to one batch for the network."""
    size, bars, tracks = len(rows), clip.num_measures, len(clip.tracks)
    longest = max(1, max(len(row.bar) for row in rows))
    pad = np.ones((size, longest), bool)
    track, bar = np.zeros((size, longest), np.int64), np.zeros((size, longest), np.int64)
    values = np.zeros((size, longest, len(vocab.FIELDS)), np.int64)
    opened, hidden = np.zeros(values.shape, bool), np.zeros(values.shape, bool)
    for i, row in enumerate(rows):
        n = len(row.bar)
        pad[i, :n], track[i, :n], bar[i, :n] = False, row.track, row.bar
        values[i, :n], opened[i, :n], hidden[i, :n] = np.where(row.hidden, vocab.SIZES, row.values), row.open, row.hidden
    counts, index, ordinal = (found.numpy() for found in places(*map(torch.from_numpy, (track, bar, pad)), bars, tracks))
    given = ~opened.any(-1) & ~pad
    conditions = (shared_classes(clip), chord_rows(clip), np.stack([part_classes(t) for t in clip.tracks]))
    repeated = [np.repeat(c[None], size, 0) for c in conditions]
    no_bar, no_track = np.zeros((size, bars), bool), np.zeros((size, tracks), bool)
    arrays = (*repeated, counts, values, bar, track, index, ordinal, given, pad, no_bar, no_track)
    return Slots(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)), Noise(torch.from_numpy(hidden), torch.from_numpy(opened))


def to_clip(row: Row, values: np.ndarray, hidden: np.ndarray, clip: Clip, tracks: list[Encoded]) -> Clip:
    """The clip of one row: untouched notes bit for bit, changed ones decoded, notes still hidden left out.

    values, hidden: (N, 4) as they stand. A note of the source that changed in some fields keeps the others exactly.
    """
    parts = []
    for k, track in enumerate(clip.tracks):
        mine = row.track == k
        if not row.open[mine].any() and mine.sum() + len(tracks[k].unseen) == len(track.notes):
            parts.append(track)
            continue
        here = np.flatnonzero(mine & ~hidden.any(1))
        as_played = played(values[here, vocab.VELOCITY])
        found = decode_notes(row.bar[here], values[here], clip.bar_ticks, clip.end_ticks, velocity_limits(track), as_played)
        notes = [_note(row, int(i), values[i], new, track, clip.end_ticks) for i, new in zip(here, found, strict=True)]
        same = [of != NEW and only_louder(note, track.notes[of]) for note, of in zip(notes, row.source[here], strict=True)]
        kept = [track.notes[i] for i in tracks[k].unseen] + [note for note, old in zip(notes, same, strict=True) if old]
        changed = [note for note, old in zip(notes, same, strict=True) if not old]
        if not kept and (row.source[here] == NEW).all():
            changed = into_range(changed, track)
        parts.append(replace(track, notes=playable(kept, changed)))
    return replace(clip, tracks=tuple(parts))


def _note(row: Row, slot: int, values: np.ndarray, new: Note, track: Track, end_ticks: int) -> Note:
    """``new``: what the values say alone."""
    source = int(row.source[slot])
    if source == NEW:
        return new
    old = track.notes[source]
    changed = row.open[slot] & (values != row.values[slot])
    if not changed.any():
        return old
    order = (vocab.POSITION, vocab.PITCH, vocab.DURATION, vocab.VELOCITY)
    mixed = Note(*(n if changed[f] else o for f, n, o in zip(order, new, old, strict=True)))
    return until(mixed, end_ticks) if changed[vocab.POSITION] or changed[vocab.DURATION] else mixed
