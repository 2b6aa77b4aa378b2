"""Packed songs -> batches of clean slots, cut, joined, transposed and relabelled on the fly.

Everything per note is computed once for the whole store; a clip is then four slices. Augmentation works on whole
batches of tensors: transposition (pitch, key, chords, pitch range), velocity shift (and limits), tempo label jitter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from musediff.chords import ANY_CHORD
from musediff.clip import INSTRUMENTS, PITCH_RANGES, TIME_SIGNATURES
from musediff.data.store import UNKNOWN, Store
from musediff.engines.clip_rows import ClipRows, frame_at, transposed
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots


@dataclass(frozen=True, slots=True)
class Raw:
    """One clip before padding. Notes are sorted by track, bar, position, pitch."""

    shared: np.ndarray  # (6,) bpm in quarters per minute, the rest as classes
    chords: np.ndarray  # (R, 12)
    roles: np.ndarray  # (K,) role class
    instruments: np.ndarray  # (K,)
    notes: np.ndarray  # (N, 6): track, bar, position, pitch, duration class, velocity 1-127
    drums: bool

    @property
    def length(self) -> int:
        """Tokens of the clip in the network."""
        return len(vocab.SHARED) + len(self.roles) + len(self.chords) * (1 + len(self.roles)) + len(self.notes)


class ClipSource:
    """Cuts clips out of a store. ``tracks_share``: how often a clip takes along other tracks of its window."""

    def __init__(self, store: Store, split: int, corpus_weight: Mapping[str, float] | None = None, tracks_share: float = 0.3) -> None:
        self.store, self.tracks_share = store, tracks_share
        self.clips = ClipRows(store, split, corpus_weight or {})
        self.note_bar, self.note_position, self.note_duration = _per_note(store)
        window = np.stack((store.clip_song, store.clip_bar, store.clip_bars), 1)[self.rows]
        _, self.window = np.unique(window, axis=0, return_inverse=True)
        self.window = self.window.ravel()
        order = np.argsort(self.window, kind="stable")
        self.window_rows = np.split(self.rows[order], np.flatnonzero(np.diff(self.window[order])) + 1)

    @property
    def rows(self) -> np.ndarray:
        return self.clips.rows

    def draw(self, rng: np.random.Generator, size: int) -> list[Raw]:
        """``size`` clips drawn by weight, some with further tracks of the same window."""
        return [self.cut(self._companions(pick, rng)) for pick in self.clips.pick(rng, size)]

    def _companions(self, pick: int, rng: np.random.Generator) -> np.ndarray:
        row = self.rows[pick]
        if rng.random() >= self.tracks_share:
            return np.array([row])
        others = self.window_rows[self.window[pick]]
        group = self.store.track_group
        kept, groups = [row], {int(group[self.store.clip_track[row]])}
        for other in rng.permutation(others):
            of = int(group[self.store.clip_track[other]])
            if of not in groups and len(kept) < vocab.MAX_TRACKS:
                kept.append(other)
                groups.add(of)
        return np.array(kept[: int(rng.integers(2, vocab.MAX_TRACKS + 1))])

    def cut(self, clip_rows: np.ndarray) -> Raw:
        """One clip with the given rows of the clip table (same window) as tracks."""
        store, frame = self.store, frame_at(self.store, int(clip_rows[0]))
        bar, bars, row = frame.bar, frame.bars, frame.row
        chords = np.full((bars, vocab.CHORDS_PER_BAR), ANY_CHORD, np.int64)
        for i in range(bars):
            start, end = store.chord_offset[row + i], store.chord_offset[row + i + 1]
            chords[i, : end - start] = store.chord[start:end]
        shared = np.array(
            [
                frame.bpm, 0 if frame.key == UNKNOWN else frame.key + 1, frame.meter + 1, bars,
                0 if frame.genre == UNKNOWN else frame.genre + 1, frame.rhythm + 1,
            ]
        )  # fmt: skip
        notes = [self._notes(int(store.clip_track[clip]), k, bar, bars) for k, clip in enumerate(clip_rows)]
        instruments = store.track_instrument[store.clip_track[clip_rows]].astype(np.int64)
        drums = bool(np.any(instruments == INSTRUMENTS.index("drums_full")))
        instruments = np.where(instruments == UNKNOWN, 0, instruments + 1)
        return Raw(shared, chords, store.clip_role[clip_rows].astype(np.int64) + 1, instruments, np.concatenate(notes), drums)

    def _notes(self, track: int, k: int, bar: int, bars: int) -> np.ndarray:
        store = self.store
        start, end = int(store.note_offset[track]), int(store.note_offset[track + 1])
        low, high = start + np.searchsorted(self.note_bar[start:end], (bar, bar + bars))
        span = slice(low, high)
        columns = (self.note_bar[span] - bar, self.note_position[span], store.note_pitch[span], self.note_duration[span])
        notes = np.stack((np.full(high - low, k), *columns, store.note_velocity[span]), 1).astype(np.int64)
        return limit_per_bar(notes[np.lexsort((notes[:, 3], notes[:, 2], notes[:, 1]))])


def limit_per_bar(notes: np.ndarray) -> np.ndarray:
    """At most ``COUNTS - 1`` notes of one track in one bar; later ones are left out."""
    _, first, inverse = np.unique(notes[:, 0] * 4096 + notes[:, 1], return_index=True, return_inverse=True)
    place = np.arange(len(notes)) - first[inverse.ravel()] if len(notes) else np.zeros(0, int)
    return notes[place < vocab.COUNTS - 1]


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


def collate(clips: list[Raw], rng: np.random.Generator, augment: bool) -> Slots:
    """Pad clips to one batch of clean, visible slots with all labels set; shift pitch, velocity and tempo if asked."""
    batch = len(clips)
    bars, tracks = max(len(c.chords) for c in clips), max(len(c.roles) for c in clips)
    longest = max(1, max(len(c.notes) for c in clips))
    notes = np.zeros((batch, longest, 6), np.int64)
    pad_BN = np.ones((batch, longest), bool)
    chords = np.full((batch, bars, vocab.CHORDS_PER_BAR), ANY_CHORD, np.int64)
    parts = np.zeros((batch, tracks, len(vocab.PART)), np.int64)
    pad_BR, pad_BK = np.ones((batch, bars), bool), np.ones((batch, tracks), bool)
    for b, clip in enumerate(clips):
        notes[b, : len(clip.notes)], pad_BN[b, : len(clip.notes)] = clip.notes, False
        chords[b, : len(clip.chords)], pad_BR[b, : len(clip.chords)] = clip.chords, False
        parts[b, : len(clip.roles), 0], parts[b, : len(clip.roles), 1] = clip.roles, clip.instruments
        pad_BK[b, : len(clip.roles)] = False
    shared = np.stack([c.shared for c in clips])
    if augment:
        _augment(clips, notes, pad_BN, chords, shared, rng)
    shared[:, 0] = np.clip(np.rint(shared[:, 0] / vocab.BPM_STEP), 1, vocab.SHARED_SIZES[0] - 1)
    for k in range(tracks):
        _label(notes, ~pad_BN & (notes[..., 0] == k), parts[:, k])
    counts, index, ordinal = places(notes[..., 0], notes[..., 1], pad_BN, bars, tracks)
    values = np.stack((notes[..., 2], notes[..., 3], notes[..., 4], notes[..., 5] // vocab.VELOCITY_STEP), -1)
    arrays = (
        shared,
        chords,
        parts,
        counts,
        values,
        notes[..., 1],
        notes[..., 0],
        index,
        ordinal,
        np.zeros_like(pad_BN),
        pad_BN,
        pad_BR,
        pad_BK,
    )
    return Slots(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))


def places(track: np.ndarray, bar: np.ndarray, pad: np.ndarray, bars: int, tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (B, R, K), place inside bar and track (B, N), place inside the track (B, N) of sorted notes."""
    batch, longest = track.shape
    counts = np.zeros((batch, bars, tracks), np.int64)
    who = np.broadcast_to(np.arange(batch)[:, None], track.shape)
    np.add.at(counts, (who[~pad], bar[~pad], track[~pad]), 1)
    slot = np.arange(longest)[None, :]
    before = np.cumsum(counts.transpose(0, 2, 1).reshape(batch, -1), 1) - counts.transpose(0, 2, 1).reshape(batch, -1)
    index = slot - np.take_along_axis(before, track * bars + bar, 1)
    of_track = before.reshape(batch, tracks, bars)[:, :, 0]
    ordinal = slot - np.take_along_axis(of_track, track, 1)
    return counts, np.where(pad, 0, index), np.where(pad, 0, np.minimum(ordinal, 4095))


def _augment(
    clips: list[Raw], notes: np.ndarray, pad: np.ndarray, chords: np.ndarray, shared: np.ndarray, rng: np.random.Generator
) -> None:
    """In place: transpose by -6..+5 semitones inside the MIDI range, shift velocities by up to 10, tempo by up to 8 %."""
    batch = len(clips)
    pitch, velocity = notes[..., 3], notes[..., 5]
    low, high = np.where(pad, 127, pitch).min(1), np.where(pad, 0, pitch).max(1)
    shift = np.clip(rng.integers(-6, 6, batch), -low, 127 - high) * np.array([not c.drums for c in clips])
    pitch += np.where(pad, 0, shift[:, None])
    key = shared[:, 1] - 1
    shared[:, 1] = np.where(key < 0, 0, key // 12 * 12 + (key + shift) % 12 + 1)
    chords[...] = transposed(chords, shift[:, None, None])
    velocity[...] = np.clip(velocity + rng.integers(-10, 11, (batch, 1)), 1, 127)
    shared[:, 0] = np.rint(shared[:, 0] * rng.uniform(0.92, 1.08, batch))


def _label(notes: np.ndarray, here: np.ndarray, part: np.ndarray) -> None:
    """Pitch range and velocity limits (classes, 0 for a silent track) of the notes of one track, written into ``part`` (B, 5)."""
    number = here.sum(1)
    mean = np.where(here, notes[..., 3], 0).sum(1) / np.maximum(number, 1)
    velocity = notes[..., 5] // vocab.VELOCITY_STEP
    part[:, 2] = np.where(number > 0, np.searchsorted(vocab.RANGE_FIRST_PITCH, mean, side="right"), 0)
    part[:, 3] = np.where(number > 0, np.where(here, velocity, 99).min(1) + 1, 0)
    part[:, 4] = np.where(number > 0, np.where(here, velocity, -1).max(1) + 1, 0)


assert len(PITCH_RANGES) == len(vocab.RANGE_FIRST_PITCH) and len(TIME_SIGNATURES) < 255
