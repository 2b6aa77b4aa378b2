"""Packed songs -> batches of clean slots, cut, joined, transposed and relabelled on the fly, on the device that holds the tables.

What is drawn is a few numbers a clip; notes are gathered for a whole batch at once. Augmentation: transposition (pitch, key, chords,
pitch range), velocity shift (and limits), tempo label jitter. Suffixes as in ``batch``.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from musediff.chords import ANY_CHORD, NO_CHORD, QUALITIES
from musediff.clip import PITCH_RANGES, TIME_SIGNATURES
from musediff.data.store import Store
from musediff.engines.clip_rows import ClipRows
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, places
from musediff.engines.slots.tables import CLIP, NOTE, Tables


class ClipRef(NamedTuple):
    """A clip that was drawn and is not gathered yet: its tracks as rows of the clip table, all of one window."""

    rows: tuple[int, ...]
    meter: int  # class
    bars: int
    notes: int

    @property
    def length(self) -> int:
        """Tokens of the clip in the network."""
        return len(vocab.SHARED) + len(self.rows) + self.bars * (1 + len(self.rows)) + self.notes


class ClipSource:
    """Cuts clips out of a store. ``tracks_share``: how often a clip takes along other tracks of its window; ``tables``: of the store,
    where batches are to be made (on the CPU if left out)."""

    def __init__(
        self, store: Store, split: int, corpus_weight: Mapping[str, float] | None = None, tracks_share: float = 0.3,
        tables: Tables | None = None,
    ) -> None:  # fmt: skip
        self.store, self.tracks_share = store, tracks_share
        self.tables = tables or Tables.of(store, "cpu")
        self.clips = ClipRows(store, split, corpus_weight or {})
        self._meter_bars_notes = self.tables.clip_C13[:, [CLIP.index(name) for name in ("meter", "bars", "notes")]].cpu().numpy()
        window = np.stack((store.clip_song, store.clip_bar, store.clip_bars), 1)[self.rows]
        _, self.window = np.unique(window, axis=0, return_inverse=True)
        self.window = self.window.ravel()
        order = np.argsort(self.window, kind="stable")
        self.window_rows = np.split(self.rows[order], np.flatnonzero(np.diff(self.window[order])) + 1)

    @property
    def rows(self) -> np.ndarray:
        return self.clips.rows

    def draw(self, rng: np.random.Generator, size: int) -> list[ClipRef]:
        """``size`` clips drawn by weight, some with further tracks of the same window."""
        return [self.cut(self._companions(pick, rng)) for pick in self.clips.pick(rng, size)]

    def _companions(self, pick: int, rng: np.random.Generator) -> list[int]:
        row = int(self.rows[pick])
        if rng.random() >= self.tracks_share:
            return [row]
        others = self.window_rows[self.window[pick]]
        group = self.store.track_group
        kept, groups = [row], {int(group[self.store.clip_track[row]])}
        for other in rng.permutation(others):
            of = int(group[self.store.clip_track[other]])
            if of not in groups and len(kept) < vocab.MAX_TRACKS:
                kept.append(int(other))
                groups.add(of)
        return kept[: int(rng.integers(2, vocab.MAX_TRACKS + 1))]

    def cut(self, clip_rows: Sequence[int]) -> ClipRef:
        """One clip with the given rows of the clip table (same window) as tracks."""
        meter, bars, notes = self._meter_bars_notes[clip_rows[0]].tolist()
        for row in clip_rows[1:]:
            notes += int(self._meter_bars_notes[row, 2])
        return ClipRef(tuple(clip_rows), meter, bars, notes)

    def batch(self, cuts: Sequence[ClipRef], rng: np.random.Generator, augment: bool) -> Slots:
        """Clean, visible slots with all labels set, padded; shift pitch, velocity and tempo if asked."""
        rows = np.full((len(cuts), max(len(cut.rows) for cut in cuts)), -1)
        for b, cut in enumerate(cuts):
            rows[b, : len(cut.rows)] = cut.rows
        slots, velocity_BN, drums_B = _gathered(self.tables, rows, max(cut.bars for cut in cuts), max(1, *(cut.notes for cut in cuts)))
        if augment:
            velocity_BN = _augment(slots, velocity_BN, drums_B, rng)
        slots.shared_BF[:, 0] = (slots.shared_BF[:, 0] / vocab.BPM_STEP).round().clamp(1, vocab.SHARED_SIZES[0] - 1)
        slots.values_BNF[..., vocab.VELOCITY] = velocity_BN // vocab.VELOCITY_STEP
        for k in range(rows.shape[1]):
            _label(slots, k)
        return slots


def _gathered(tables: Tables, rows: np.ndarray, bars: int, notes: int) -> tuple[Slots, Tensor, Tensor]:
    """Slots with the tempo itself instead of its class and without labels that follow from notes; velocities (B, N) of MIDI; which clips
    (B,) have drums. ``rows`` (B, K): -1 where there is no track."""
    device = tables.note_N5.device
    row_BK = torch.from_numpy(rows).to(device, non_blocking=True)
    pad_BK = row_BK < 0
    clip_BKC = tables.clip_C13[row_BK.clamp(min=0)].long()
    of = {name: clip_BKC[..., column] for column, name in enumerate(CLIP)}
    number_BK = torch.where(pad_BK, 0, of["notes"])
    end_BK = number_BK.cumsum(1)
    slot_N = torch.arange(notes, device=device)
    track_BN = (slot_N >= end_BK[:, :, None]).sum(1).clamp(max=rows.shape[1] - 1)
    pad_BN = slot_N >= end_BK[:, -1:]
    first_BN = (of["first_note"] - end_BK + number_BK).gather(1, track_BN)
    note_BN5 = tables.note_N5[torch.where(pad_BN, 0, first_BN + slot_N)].long().masked_fill(pad_BN[..., None], 0)
    bar_BN, position, pitch, duration, velocity_BN = (note_BN5[..., column] for column in range(len(NOTE)))
    bar_BN = torch.where(pad_BN, 0, bar_BN - of["bar"][:, :1])
    bar_R = torch.arange(bars, device=device)
    pad_BR = bar_R >= of["bars"][:, :1]
    chords_BRC = tables.chord_RH[torch.where(pad_BR, 0, of["first_bar"][:, :1] + bar_R)].long().masked_fill(pad_BR[..., None], ANY_CHORD)
    counts_BRK, index_BN, ordinal_BN = places(track_BN, bar_BN, pad_BN, bars, rows.shape[1])
    shared_BF = torch.stack([of[name][:, 0] for name in ("bpm", "key", "meter", "bars", "genre", "rhythm")], 1)
    part_BK2 = torch.stack((of["role"], of["instrument"]), -1).masked_fill(pad_BK[..., None], 0)
    parts_BKF = torch.nn.functional.pad(part_BK2, (0, len(vocab.PART) - 2))
    values_BNF = torch.stack((position, pitch, duration, torch.zeros_like(pitch)), -1)
    track_BN = torch.where(pad_BN, 0, track_BN)
    given_BN = torch.zeros_like(pad_BN)
    slots = Slots(
        shared_BF, chords_BRC, parts_BKF, counts_BRK, values_BNF, bar_BN, track_BN, index_BN, ordinal_BN, given_BN, pad_BN, pad_BR, pad_BK
    )
    return slots, velocity_BN, (of["drums"].bool() & ~pad_BK).any(1)


def _augment(slots: Slots, velocity_BN: Tensor, drums_B: Tensor, rng: np.random.Generator) -> Tensor:
    """In place: transpose by -6..+5 semitones inside the MIDI range, shift velocities (returned) by up to 10, tempo by up to 8 %."""
    batch, device = len(drums_B), drums_B.device
    drawn = (rng.integers(-6, 6, batch), rng.integers(-10, 11, (batch, 1)), rng.uniform(0.92, 1.08, batch).astype(np.float32))
    shift_B, louder_B1, faster_B = (torch.from_numpy(numbers).to(device, non_blocking=True) for numbers in drawn)
    pitch_BN, pad_BN = slots.values_BNF[..., vocab.PITCH], slots.pad_BN
    low_B, high_B = torch.where(pad_BN, 127, pitch_BN).amin(1), torch.where(pad_BN, 0, pitch_BN).amax(1)
    shift_B = shift_B.maximum(-low_B).minimum(127 - high_B) * ~drums_B
    pitch_BN += torch.where(pad_BN, 0, shift_B[:, None])
    key_B = slots.shared_BF[:, 1] - 1
    slots.shared_BF[:, 1] = torch.where(key_B < 0, 0, key_B // 12 * 12 + (key_B + shift_B) % 12 + 1)
    chord, size = slots.chords_BRC, len(QUALITIES)
    moved = (chord // size + shift_B[:, None, None]) % 12 * size + chord % size
    slots.chords_BRC = torch.where(chord >= NO_CHORD, chord, moved)
    slots.shared_BF[:, 0] = (slots.shared_BF[:, 0] * faster_B).round()
    return torch.where(pad_BN, velocity_BN, (velocity_BN + louder_B1).clamp(1, 127))


def _label(slots: Slots, k: int) -> None:
    """In place: pitch range and velocity limits (classes, 0 for a silent track) of the notes of one track."""
    here_BN = ~slots.pad_BN & (slots.track_BN == k)
    number_B = here_BN.sum(1)
    pitch_BN, velocity_BN = slots.values_BNF[..., vocab.PITCH], slots.values_BNF[..., vocab.VELOCITY]
    total_B = torch.where(here_BN, pitch_BN, 0).sum(1)
    found = (
        torch.stack([total_B >= first * number_B for first in vocab.RANGE_FIRST_PITCH.tolist()]).sum(0),  # by the mean
        torch.where(here_BN, velocity_BN, 99).amin(1) + 1,
        torch.where(here_BN, velocity_BN, -1).amax(1) + 1,
    )
    slots.parts_BKF[:, k, 2:] = torch.where(number_B[:, None] > 0, torch.stack(found, -1), 0)


assert len(PITCH_RANGES) == len(vocab.RANGE_FIRST_PITCH) and len(TIME_SIGNATURES) < 255
