"""A request -> the note part of one variant: which tokens are given, which are open; and finished tokens -> notes.

Long clips are worked on in windows of bars, from left to right, each with some finished bars before it as given tokens.
Suffixes: L tokens of the note part, R bars.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from musediff.clip import Clip, Note, Track
from musediff.engines.base import Request
from musediff.engines.finishing import only_louder, playable, until, velocity_limits
from musediff.errors import BadRequest
from musediff.tokens import commu, vocab
from musediff.tokens.grammar import FREE, NOTE_TOKENS
from musediff.tokens.vocab import Kind

_ANY_NOTE = np.array([np.argmax(kind == vocab.KIND) for kind in vocab.NOTE])
NEW = -1  # source of a token that belongs to no note of the clip
CONTEXT_BARS = 4  # finished bars that a window sees before its own
WINDOW_BARS = 16  # the longest clips of the training data
KINDS_OF = {"rhythm": (Kind.POSITION, Kind.DURATION), "pitch": (Kind.PITCH,), "dynamics": (Kind.VELOCITY,)}


@dataclass(slots=True)
class Canvas:
    """Note part of one variant. ``ids`` are the tokens of the source, any legal ones where there is none; ``fixed`` is a token
    or ``FREE``; ``source`` is the note inside the window's track, or ``NEW``."""

    ids: np.ndarray
    fixed: np.ndarray
    source: np.ndarray
    bars: int

    @property
    def length(self) -> int:
        return len(self.ids)


def open_kinds(request: Request) -> tuple[Kind, ...]:
    """Kinds of tokens that may change."""
    return tuple(kind for name in request.fields for kind in KINDS_OF[name])


def build(clip: Clip, inside_R: np.ndarray, kinds: tuple[Kind, ...], redrawn_R: np.ndarray | None, given_bars: bool) -> Canvas:
    """The canvas of a clip of one track.

    Args:
        inside_R: bars that may change.
        kinds: which tokens of a note may change, if ``redrawn_R`` is None; bars then stay where they are.
        redrawn_R: new number of notes of each bar inside; then nothing of their tokens is kept. None: each bar keeps its number.
        given_bars: new notes stay in their bar. Else, in a run of such bars, they may end up in any of it.
    """
    part = commu.note_part(np.array(clip.tracks[0].notes, np.int64).reshape(-1, 4), clip.num_measures, clip.bar_ticks)
    if redrawn_R is None:
        free = inside_R[part.bar] & np.isin(vocab.KIND[part.ids], kinds)
        return Canvas(part.ids, np.where(free, FREE, part.ids), part.source, clip.num_measures)
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for bar in range(clip.num_measures):
        here = np.flatnonzero((part.bar == bar) & (part.ids != vocab.EOS))
        if inside_R[bar]:
            ids = np.concatenate(([vocab.BAR], np.tile(_ANY_NOTE, int(redrawn_R[bar]))))
            fixed = np.full(len(ids), FREE)
            if given_bars or bar == 0 or not inside_R[bar - 1]:
                fixed[0] = vocab.BAR
            pieces.append((ids, fixed, np.full(len(ids), NEW)))
        else:
            pieces.append((part.ids[here], part.ids[here], part.source[here]))
    end = np.array([vocab.EOS])
    pieces.append((end, end, np.array([NEW])))
    ids, fixed, source = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return Canvas(ids, fixed, source, clip.num_measures)


def told_wrong(canvas: Canvas, wrong: Mapping[int, frozenset[str]]) -> np.ndarray:
    """(L,) open tokens of the values ``wrong``, by the note of the window's track."""
    names = {Kind.POSITION: "onset", Kind.PITCH: "pitch", Kind.DURATION: "duration", Kind.VELOCITY: "velocity"}
    of_note = [
        names.get(kind) in wrong.get(source, ()) for kind, source in zip(vocab.KIND[canvas.ids], canvas.source.tolist(), strict=True)
    ]
    return np.array(of_note) & (canvas.fixed == FREE)


def cut(clip: Clip, track: int, first: int, last: int) -> tuple[Clip, np.ndarray]:
    """Bars ``first`` to before ``last`` with one track, as a clip of its own, and (N,) which notes of the track these are."""
    start, end = first * clip.bar_ticks, last * clip.bar_ticks
    part = clip.tracks[track]
    index = [
        i for i, note in enumerate(part.notes) if start <= note.onset_ticks < end or (last == clip.num_measures and note.onset_ticks >= end)
    ]
    notes = tuple(part.notes[i]._replace(onset_ticks=part.notes[i].onset_ticks - start) for i in index)
    chords = None if clip.chords is None else clip.chords[first * clip.chords_per_bar : last * clip.chords_per_bar]
    piece = replace(clip, num_measures=last - first, tracks=(replace(part, notes=notes),), chords=chords)
    return piece, np.array(index, np.int64)


def forget(clip: Clip) -> Clip:
    """A clip of one track with every label and chord unsaid; metre and length stay."""
    bare = Track(clip.tracks[0].notes)
    return replace(clip, tracks=(bare,), key=None, genre=None, rhythm=None, chords=None)


def windows(clip: Clip, track: int, inside_R: np.ndarray, counts_R: np.ndarray, size: int, room: int) -> list[tuple[int, int, int]]:
    """(first bar, first bar that may change, bar behind the last) of each window; together they hold every bar that may change.

    Raises:
        BadRequest: one bar alone has more tokens than the network has positions.
    """

    def cost(first: int, last: int) -> int:
        piece, _ = cut(clip, track, first, last)
        return len(commu.prefix(piece, size=size)) + last - first + NOTE_TOKENS * int(counts_R[first:last].sum()) + 1

    whole = clip.num_measures
    if whole <= WINDOW_BARS and cost(0, whole) <= room:
        return [(0, 0, whole)]
    found, start = [], 0
    while start < whole:
        if not inside_R[start]:
            start += 1
            continue
        if cost(start, start + 1) > room:
            raise BadRequest(
                f"Bar {start + 1} has {counts_R[start]} notes, more than this model can hold. Use the slots engine, or leave that bar out."
            )
        last = start + 1
        before = max(0, start - CONTEXT_BARS)  # room is left for what the window sees
        while last < whole and last - start < WINDOW_BARS - CONTEXT_BARS and cost(before, last + 1) <= room:
            last += 1
        first = start
        while first > 0 and start - first < CONTEXT_BARS and cost(first - 1, last) <= room:
            first -= 1
        found.append((first, start, last))
        start = last
    return found


def to_notes(canvas: Canvas, tokens: np.ndarray, piece: Clip, end_ticks: int) -> tuple[list[Note], list[Note]]:
    """Legal ``tokens`` (L,) of a window's clip -> notes that are where they were, and those that are not.

    What did not change of a note of the source stays exactly as it was. ``end_ticks``: the end of the whole clip, seen from
    the start of the window; a note may sound on behind the window.
    """
    track = piece.tracks[0]
    at = np.flatnonzero(vocab.KIND[tokens] == Kind.POSITION)
    columns = commu.to_columns(commu.notes_of(tokens).rows, piece.bar_ticks)
    low, high = velocity_limits(track)
    kept, changed = [], []
    for place, values in zip(at.tolist(), columns.tolist(), strict=True):
        source = int(canvas.source[place])
        fresh = Note(*values)
        fresh = until(fresh._replace(velocity=min(max(fresh.velocity, low), high)), end_ticks)
        if source == NEW:
            changed.append(fresh)
            continue
        old = track.notes[source]
        same = tokens[place : place + NOTE_TOKENS] == canvas.ids[place : place + NOTE_TOKENS]
        onset, velocity, pitch, duration = (
            was if stays else now for stays, was, now in zip(same, _ordered(old), _ordered(fresh), strict=True)
        )
        mixed = Note(onset, pitch, duration, velocity)
        if only_louder(mixed, old):
            kept.append(mixed)
        else:
            changed.append(mixed if same[0] and same[3] else until(mixed, end_ticks))
    return kept, changed


def _ordered(note: Note) -> tuple[int, int, int, int]:
    """Values in the order of the tokens."""
    return note.onset_ticks, note.velocity, note.pitch, note.duration_ticks


def splice(clip: Clip, track: int, first_bar: int, index: np.ndarray, kept: list[Note], changed: list[Note]) -> Clip:
    """The clip with the notes ``index`` of a track replaced by those of a window that starts at ``first_bar``."""
    start = first_bar * clip.bar_ticks
    part = clip.tracks[track]
    gone = set(index.tolist())
    rest = [note for i, note in enumerate(part.notes) if i not in gone]
    here, new = ([note._replace(onset_ticks=note.onset_ticks + start) for note in notes] for notes in (kept, changed))
    return with_notes(clip, track, playable(rest + here, new))


def with_notes(clip: Clip, track: int, notes: tuple[Note, ...]) -> Clip:
    """The clip with other notes in one of its tracks."""
    return replace(clip, tracks=(*clip.tracks[:track], replace(clip.tracks[track], notes=notes), *clip.tracks[track + 1 :]))
