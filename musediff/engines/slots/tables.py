"""A packed file as the slots engine reads it: its notes and clips as integer tables on a device, from which batches are gathered.

Suffixes: N notes of the whole file, C rows of its clip table, R bars of all songs after each other, H half beats of a bar.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from musediff.chords import ANY_CHORD
from musediff.clip import INSTRUMENTS
from musediff.data.store import UNKNOWN, Store
from musediff.engines.slots import vocab

# Columns of the notes, and of the clips.
NOTE = ("bar", "position", "pitch", "duration", "velocity")  # the bar inside the song; the rest classes, but for the velocity of MIDI
# "first_bar" is counted in all songs, "bar" inside its song; from "key" on classes of conditions, but for the last.
CLIP = ("first_note", "notes", "first_bar", "bar", "bars", "bpm", "key", "meter", "genre", "rhythm", "role", "instrument", "drums")


@dataclass(frozen=True, slots=True)
class Tables:
    """Notes are sorted by track, bar, position and pitch; what a bar holds of one track beyond ``vocab.COUNTS - 1`` is left out.
    So the notes of a clip lie together, from ``first_note`` on."""

    note_N5: Tensor  # int16, columns as in ``NOTE``
    clip_C13: Tensor  # int32, columns as in ``CLIP``
    chord_RH: Tensor  # uint8

    @classmethod
    def of(cls, store: Store, device: str) -> "Tables":
        """Those of a packed file."""
        notes, clips, chords = *_notes_and_clips(store), _chords(store)
        return cls(*(torch.from_numpy(table).to(device) for table in (notes, clips, chords)))


def _notes_and_clips(store: Store) -> tuple[np.ndarray, np.ndarray]:
    bar, position, duration = _per_note(store)
    track = np.repeat(np.arange(len(store.note_offset) - 1), np.diff(store.note_offset))
    most_bars = int(np.diff(store.bar_offset).max())
    group = track * most_bars + bar
    order = np.argsort((group * vocab.MAX_POSITIONS + position) * 128 + store.note_pitch, kind="stable")
    group = group[order]
    kept = np.arange(len(group)) - np.searchsorted(group, group) < vocab.COUNTS - 1
    order, group = order[kept], group[kept]
    columns = (bar, position, store.note_pitch, duration, store.note_velocity)
    notes = np.stack([column[order].astype(np.int16) for column in columns], 1)
    of_track = store.clip_track.astype(np.int64) * most_bars + store.clip_bar
    first, last = np.searchsorted(group, of_track), np.searchsorted(group, of_track + store.clip_bars)
    return notes, np.stack([column.astype(np.int32) for column in (first, last - first, *_conditions(store))], 1)


def _conditions(store: Store) -> tuple[np.ndarray, ...]:
    """Of every clip what ``CLIP`` has beside its notes."""
    row = store.bar_offset[store.clip_song] + store.clip_bar
    instrument = store.track_instrument[store.clip_track]
    or_any = lambda column: np.where(column == UNKNOWN, 0, column.astype(np.int64) + 1)  # noqa: E731
    key, genre, meter = or_any(store.bar_key[row]), or_any(store.song_genre[store.clip_song]), store.bar_meter[row].astype(np.int64) + 1
    rhythm, role = store.clip_rhythm.astype(np.int64) + 1, store.clip_role.astype(np.int64) + 1
    drums = instrument == INSTRUMENTS.index("drums_full")
    bars = (row, store.clip_bar, store.clip_bars)
    return (*bars, store.bar_bpm[row], key, meter, genre, rhythm, role, or_any(instrument), drums)


def _chords(store: Store) -> np.ndarray:
    """Of every bar; bars of fewer half beats leave the rest at ``ANY_CHORD``."""
    chords = np.full((len(store.chord_offset) - 1, vocab.CHORDS_PER_BAR), ANY_CHORD, np.uint8)
    number = np.diff(store.chord_offset)
    bar = np.repeat(np.arange(len(number)), number)
    chords[bar, np.arange(len(store.chord)) - store.chord_offset[bar]] = store.chord
    return chords


def _per_note(store: Store) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bar inside the song, position class and duration class of every note of the store."""
    note_bar = np.zeros(len(store.note_pitch), np.int32)
    position = np.zeros(len(store.note_pitch), np.int16)
    for song in range(store.songs):
        starts = store.bar_start_ticks[store.bar_offset[song] : store.bar_offset[song + 1]]
        first, last = store.note_offset[store.track_offset[song]], store.note_offset[store.track_offset[song + 1]]
        onset = store.note_onset_ticks[first:last]
        bar = np.searchsorted(starts, onset, side="right") - 1
        note_bar[first:last] = bar
        position[first:last] = (onset - starts[np.maximum(bar, 0)]) // vocab.POSITION_TICKS
    return note_bar, np.clip(position, 0, vocab.MAX_POSITIONS - 1), vocab.duration_class(store.note_duration_ticks)
