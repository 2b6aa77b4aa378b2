"""What both engines do with drawn notes: limits of a track, the octave that brings it into its range, no collisions."""

from collections.abc import Sequence

import numpy as np

from musediff.clip import PITCH_RANGES, Note, Track


def velocity_limits(track: Track) -> tuple[int, int]:
    """Inclusive; the whole MIDI range where nothing is asked."""
    return (1 if track.min_velocity is None else track.min_velocity, 127 if track.max_velocity is None else track.max_velocity)


def octave_shift(pitches: np.ndarray, pitch_range: str | None) -> int:
    """Semitones (whole octaves) that bring the mean pitch nearest to the middle of a range it lies outside of."""
    if pitch_range is None or not len(pitches):
        return 0
    first, last = PITCH_RANGES[pitch_range]
    mean = pitches.mean()
    if first <= mean < last + 1:
        return 0
    shifts = [s for s in range(-120, 121, 12) if pitches.min() + s >= 0 and pitches.max() + s <= 127]
    return min(shifts, key=lambda s: (abs(mean + s - (first + last + 1) / 2), abs(s)))


def into_range(notes: Sequence[Note], track: Track) -> list[Note]:
    """A wholly new track is moved by octaves into the pitch range that was asked for."""
    shift = octave_shift(np.array([n.pitch for n in notes]), track.pitch_range)
    return [n._replace(pitch=n.pitch + shift) for n in notes] if shift else list(notes)


def until(note: Note, end_ticks: int) -> Note:
    """The note, over at ``end_ticks`` at the latest."""
    return note._replace(duration_ticks=max(1, min(note.duration_ticks, end_ticks - note.onset_ticks)))


def only_louder(note: Note, old: Note) -> bool:
    """Whether it is the same note but for its velocity: nothing can collide that did not before."""
    return note[:3] == old[:3]


def playable(kept: Sequence[Note], changed: Sequence[Note]) -> tuple[Note, ...]:
    """Both together, sorted. Changed notes are dropped where another note has their onset and pitch, and end where their
    pitch sounds again; those that are kept stay as they are."""
    taken = {(n.onset_ticks, n.pitch) for n in kept}
    result, next_onset = [], dict[int, int]()
    for note, new in sorted([(n, False) for n in kept] + [(n, True) for n in changed], reverse=True):
        if new:
            place = (note.onset_ticks, note.pitch)
            if place in taken:
                continue
            taken.add(place)
            until_again = next_onset.get(note.pitch, note.onset_ticks + note.duration_ticks) - note.onset_ticks
            note = note._replace(duration_ticks=until_again) if until_again < note.duration_ticks else note
        next_onset[note.pitch] = note.onset_ticks
        result.append(note)
    return tuple(reversed(result))
