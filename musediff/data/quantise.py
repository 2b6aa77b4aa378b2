"""Performed notes -> notes on the training grid: sixteenths, or eighth triplets where a beat is played so.

Pure functions on lists of notes; every converter uses them in the order ``to_grid``, then for one-voice parts ``top_line``.
Onsets count from a bar line.
"""

from collections.abc import Iterable, Sequence

from musediff.clip import Note

BEAT_TICKS = 480
SIXTEENTH_TICKS = 120
TRIPLET_TICKS = 160
DURATION_TICKS = 60  # durations are whole 32nds
EARLY_TICKS = 30  # a note this much before a beat belongs to it
TRIPLET_NEAR_TICKS = 20  # a triplet beat has a note this near to a third of the beat ...
SIXTEENTH_FAR_TICKS = 15  # ... and farther than this from any sixteenth
MIN_VELOCITY, MAX_VELOCITY = 2, 127


def nearest(ticks: int, step: int) -> int:
    """The nearest multiple of ``step``; of two equally near, the even one."""
    return round(ticks / step) * step


def is_triplet_beat(positions: Sequence[int]) -> bool:
    """Whether onsets within one beat, -30 .. 449 ticks from its start, lie on eighth triplets rather than on sixteenths."""
    off = [abs(p - nearest(p, SIXTEENTH_TICKS)) for p in positions]
    thirds = [min(abs(p - TRIPLET_TICKS), abs(p - 2 * TRIPLET_TICKS)) for p in positions]
    if not any(t <= TRIPLET_NEAR_TICKS and o > SIXTEENTH_FAR_TICKS for t, o in zip(thirds, off, strict=True)):
        return False
    return sum(abs(p - nearest(p, TRIPLET_TICKS)) for p in positions) < sum(off)


def to_grid(notes: Iterable[Note]) -> list[Note]:
    """Onsets to the grid that fits each beat best, durations to 32nds, doubles merged, overlaps of one pitch cut; sorted."""
    beats: dict[int, list[Note]] = {}
    for note in notes:
        beats.setdefault((note.onset_ticks + EARLY_TICKS) // BEAT_TICKS, []).append(note)
    placed = []
    for beat, members in beats.items():
        start = beat * BEAT_TICKS
        positions = [n.onset_ticks - start for n in members]
        step = TRIPLET_TICKS if is_triplet_beat(positions) else SIXTEENTH_TICKS
        for note, position in zip(members, positions, strict=True):
            duration = max(DURATION_TICKS, nearest(note.duration_ticks, DURATION_TICKS))
            velocity = min(max(note.velocity, MIN_VELOCITY), MAX_VELOCITY)
            placed.append(Note(start + nearest(position, step), note.pitch, duration, velocity))
    return without_overlaps(placed)


def without_overlaps(notes: Iterable[Note]) -> list[Note]:
    """Notes of equal onset and pitch become one (the longest and loudest); a note ends where its pitch is struck again."""
    merged: dict[tuple[int, int], Note] = {}
    for note in notes:
        place = (note.onset_ticks, note.pitch)
        other = merged.get(place, note)
        duration, velocity = max(note.duration_ticks, other.duration_ticks), max(note.velocity, other.velocity)
        merged[place] = Note(*place, duration, velocity)
    next_onset: dict[int, int] = {}
    kept = []
    for note in sorted(merged.values(), reverse=True):
        room = next_onset.get(note.pitch, note.onset_ticks + note.duration_ticks) - note.onset_ticks
        kept.append(note._replace(duration_ticks=min(note.duration_ticks, room)))
        next_onset[note.pitch] = note.onset_ticks
    return kept[::-1]


def top_line(notes: Sequence[Note], gap_ticks: int = DURATION_TICKS) -> list[Note]:
    """One voice: the highest note of each onset, cut at the next onset; gaps of up to ``gap_ticks`` are filled."""
    highest = {n.onset_ticks: n for n in sorted(notes)}
    line = list(highest.values())
    for i, following in enumerate(line[1:]):
        room = following.onset_ticks - line[i].onset_ticks
        if line[i].duration_ticks + gap_ticks >= room:
            line[i] = line[i]._replace(duration_ticks=room)
    return line
