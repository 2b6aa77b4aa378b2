"""A song's tracks -> training examples: every window of 4, 8 or 16 bars inside one segment that has enough notes for its role."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from musediff.clip import BAR_TICKS, Note, rhythm_of
from musediff.data.song import Bar, ClipRow, Song

STRIDES = {4: 2, 8: 4, 16: 4}
# Content rules by role. The notes per bar were measured on the corpora: sparser windows are mostly rests and fragments.
MIN_NOTES_PER_BAR = {"main_melody": 2.0, "sub_melody": 1.5, "accompaniment": 3.0, "bass": 1.0, "pad": 2.0, "riff": 2.0}
SILENT_BARS_SHARE = {"main_melody": 1 / 4, "sub_melody": 1 / 4, "accompaniment": 1 / 8, "bass": 1 / 4, "pad": 0.0, "riff": 0.0}
STARTS_IN_FIRST_BAR = frozenset({"main_melody", "sub_melody", "accompaniment", "riff"})


def spans(bars: Sequence[Bar]) -> list[tuple[int, int]]:
    """(start, end) in song ticks of every segment."""
    edges = [i for i in range(len(bars)) if i == 0 or bars[i].segment != bars[i - 1].segment] + [len(bars)]
    return [(bars[first].start_ticks, bars[after - 1].end_ticks) for first, after in pairwise(edges)]


def windows(bars: Sequence[Bar], strides: dict[int, int] = STRIDES) -> list[tuple[int, int]]:
    """(first bar, length) of every window inside one segment; starts are multiples of the stride from the segment's first bar."""
    places = []
    first = 0
    for end in range(1, len(bars) + 1):
        if end < len(bars) and bars[end].segment == bars[first].segment:
            continue
        for length, stride in strides.items():
            places += [(bar, length) for bar in range(first, end - length + 1, stride)]
        first = end
    return places


def cut(notes: Sequence[Note], start_ticks: int, end_ticks: int) -> list[Note]:
    """Notes (sorted) that begin in the window, counted from its start, ended at its end."""
    first, last = bisect_left(notes, (start_ticks,)), bisect_left(notes, (end_ticks,))
    return [
        Note(n.onset_ticks - start_ticks, n.pitch, min(n.duration_ticks, end_ticks - n.onset_ticks), n.velocity) for n in notes[first:last]
    ]


def fault(notes: Sequence[Note], role: str, bars: int, bar_ticks: int) -> str | None:
    """Why the notes of a window are no example of the role, or None."""
    if len(notes) < MIN_NOTES_PER_BAR[role] * bars:
        return "too few notes"
    if role in STARTS_IN_FIRST_BAR and notes[0].onset_ticks >= bar_ticks:
        return "first bar empty"
    sounding = {bar for n in notes for bar in range(n.onset_ticks // bar_ticks, (n.onset_ticks + n.duration_ticks - 1) // bar_ticks + 1)}
    if bars - len(sounding) > SILENT_BARS_SHARE[role] * bars:
        return "too many empty bars"
    return None


def fingerprint(notes: Sequence[Note]) -> tuple[tuple[int, int], ...]:
    """Onsets and intervals: equal for windows that repeat each other in any key."""
    return tuple((n.onset_ticks, n.pitch - notes[0].pitch) for n in notes)


def add_clips(song: Song, track: int, role: str, places: Iterable[tuple[int, int]]) -> None:
    """Append the clips of one track in one role to ``song.clips``; the rest is counted in ``song.dropped``."""
    notes = song.tracks[track].notes
    seen = set()
    for bar, length in places:
        meter = song.bars[bar].meter
        start, bar_ticks = song.bars[bar].start_ticks, BAR_TICKS[meter]
        inside = cut(notes, start, start + length * bar_ticks)
        reason = fault(inside, role, length, bar_ticks)
        if reason is None:
            key = (length, fingerprint(inside))
            reason = "repetition" if key in seen else None
            seen.add(key)
        if reason is not None:
            song.dropped[f"{role}: {reason}"] += 1
            continue
        song.clips.append(ClipRow(track, bar, length, role, rhythm_of((n.onset_ticks for n in inside), meter)))
