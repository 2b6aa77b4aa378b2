"""Rows of the clip table -> ``Clip``, with every label that follows from the notes."""

from collections.abc import Sequence

import numpy as np

from musediff.chords import ANY_CHORD
from musediff.clip import GENRES, INSTRUMENTS, KEY_NAMES, RHYTHMS, ROLES, TIME_SIGNATURES, Clip, Note, Track, mean_pitch_range
from musediff.data.store import UNKNOWN, Store


def clip_at(store: Store, rows: Sequence[int]) -> Clip:
    """The clip whose tracks are the given rows; they must be cut from the same bars of the same song."""
    first = rows[0]
    song, bars = int(store.clip_song[first]), int(store.clip_bars[first])
    row = int(store.bar_offset[song]) + int(store.clip_bar[first])
    start = int(store.bar_start_ticks[row])
    chords = store.chord[store.chord_offset[row] : store.chord_offset[row + bars]]
    key, genre = int(store.bar_key[row]), int(store.song_genre[song])
    clip = Clip(
        num_measures=bars,
        tracks=(),
        time_signature=TIME_SIGNATURES[store.bar_meter[row]],
        bpm=int(store.bar_bpm[row]),
        key=None if key == UNKNOWN else KEY_NAMES[key],
        genre=None if genre == UNKNOWN else GENRES[genre],
        rhythm=RHYTHMS[store.clip_rhythm[first]],
        chords=None if (chords == ANY_CHORD).any() else tuple(chords.tolist()),
    )
    tracks = tuple(_track(store, int(r), start, clip.end_ticks) for r in rows)
    return Clip(bars, tracks, clip.time_signature, clip.bpm, clip.key, clip.genre, clip.rhythm, clip.chords)


def _track(store: Store, row: int, start: int, end: int) -> Track:
    track = int(store.clip_track[row])
    first, last = store.note_offset[track], store.note_offset[track + 1]
    low, high = first + np.searchsorted(store.note_onset_ticks[first:last], (start, start + end))
    onset = store.note_onset_ticks[low:high] - start
    duration = np.minimum(store.note_duration_ticks[low:high], end - onset)
    columns = (onset, store.note_pitch[low:high], duration, store.note_velocity[low:high])
    notes = tuple(sorted(Note(*(int(v) for v in values)) for values in zip(*columns, strict=True)))
    instrument = int(store.track_instrument[track])
    role = ROLES[store.clip_role[row]]
    if not notes:
        return Track((), role)
    velocities = [n.velocity for n in notes]
    return Track(
        notes, role, None if instrument == UNKNOWN else INSTRUMENTS[instrument], mean_pitch_range(sum(n.pitch for n in notes) / len(notes)),
        min(velocities), max(velocities), role,
    )  # fmt: skip
