"""Asked versus got: what of the metadata can be measured in the notes of a clip.

CP, CV and CH are ComMU's controllability figures: the mean pitch inside the asked range, the velocities inside the asked
limits, the notes that belong to the chord or else to the key. ``*_misses`` count as the original does, ``*_control`` to the
tick and the single velocity. Shares of nothing are nan.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from musediff.chords import ANY_CHORD, NO_CHORD, pitch_classes
from musediff.clip import PITCH_RANGES, Clip, Meta, Note, mean_pitch_range, rhythm_of, scale_of

IN_HARMONY_SHARE = 0.9  # from here on key and chords count as met


class Row(NamedTuple):
    """One line of the report. ``ok`` is None where nothing was asked or nothing can be measured."""

    field: str
    asked: str
    got: str
    ok: bool | None


class Count(NamedTuple):
    """How many were looked at, and how many of them are not as asked."""

    total: int
    wrong: int

    @property
    def share(self) -> float:
        """Share of the wrong ones, 0-1; nan of none."""
        return self.wrong / self.total if self.total else math.nan


def summed(counts: Iterable[Count]) -> Count:
    """All together."""
    every = list(counts)
    return Count(sum(count.total for count in every), sum(count.wrong for count in every))


def pitch_misses(notes: Sequence[Note], pitch_range: str | None) -> Count:
    """CP as the original counts it: one clip, wrong if its mean pitch lies outside the range, or between two ranges like 35.5.

    An unsaid range is never missed, and always by a clip without notes (there the original fails).
    """
    if pitch_range is None:
        return Count(1, 0)
    first, last = PITCH_RANGES[pitch_range]
    return Count(1, 0 if notes and first <= mean_pitch(notes) <= last else 1)


def velocity_misses(notes: Sequence[Note], min_velocity: int | None, max_velocity: int | None) -> Count:
    """CV as the original counts it: notes, and those outside the limits. Its tokens tell velocities apart by two, limits too.

    A limit that is not said is no limit (the original then counts every note as wrong).
    """
    levels = [max(0, (note.velocity - 1) // 2) for note in notes]
    low = 0 if min_velocity is None else min_velocity // 2 - 1
    high = 63 if max_velocity is None else (max_velocity + 1) // 2 - 1
    return Count(len(levels), sum(not low <= level <= high for level in levels))


def mean_pitch(notes: Sequence[Note]) -> float:
    """Mean MIDI pitch."""
    return sum(note.pitch for note in notes) / len(notes) if notes else math.nan


def pitch_control(notes: Sequence[Note], pitch_range: str) -> bool:
    """Whether the mean pitch lies in the asked range; a mean between two ranges belongs to the lower one."""
    return bool(notes) and mean_pitch_range(mean_pitch(notes)) == pitch_range


def velocity_control(notes: Sequence[Note], min_velocity: int | None, max_velocity: int | None) -> float:
    """Share of notes whose velocity is inside the limits (inclusive, None = no limit)."""
    return _share([(min_velocity or 0) <= note.velocity <= (max_velocity or 127) for note in notes])


def harmony_misses(notes: Sequence[Note], clip: Clip) -> Count:
    """CH as a count: notes, and those neither in the chord at their onset nor in the scale of the key (ComMU, Lee et al. 2022).

    A note is counted where chord or key is known.
    """
    scale = frozenset(scale_of(clip.key)) if clip.key else frozenset()
    allowed = [(note.pitch % 12, scale | pitch_classes(clip.chord_at(note.onset_ticks))) for note in notes]
    return Count(sum(bool(tones) for _, tones in allowed), sum(bool(tones) and pitch not in tones for pitch, tones in allowed))


def harmony_control(notes: Sequence[Note], clip: Clip) -> float:
    """CH: share of notes in the chord at their onset or in the scale of the key."""
    return 1 - harmony_misses(notes, clip).share


def chord_tone_ratio(notes: Sequence[Note], clip: Clip) -> float:
    """Share of notes that are tones of the chord at their onset. Notes where there is none, or any, are left out."""
    chords = [(note.pitch % 12, clip.chord_at(note.onset_ticks)) for note in notes]
    return _share([pitch in pitch_classes(chord) for pitch, chord in chords if chord not in (NO_CHORD, ANY_CHORD)])


def in_key_share(notes: Sequence[Note], key: str) -> float:
    """Share of notes in the scale of the key (natural minor)."""
    scale = scale_of(key)
    return _share([note.pitch % 12 in scale for note in notes])


def density(notes: Sequence[Note], num_measures: int) -> float:
    """Notes per bar."""
    return len(notes) / num_measures


def bars_exact(clip: Clip, num_measures: int) -> bool:
    """Whether the clip has that many bars and every note starts inside them."""
    return clip.num_measures == num_measures and all(0 <= n.onset_ticks < clip.end_ticks for t in clip.tracks for n in t.notes)


def asked_vs_got(meta: Meta, clip: Clip, track: int = 0) -> tuple[Row, ...]:
    """A row per field of ``meta``, then the notes per bar. Genre, role and instrument are labels: they steer, notes do not show them."""
    part, notes = clip.tracks[track], clip.tracks[track].notes
    heard = mean_pitch_range(mean_pitch(notes)) if notes else None
    soft, loud = (min(n.velocity for n in notes), max(n.velocity for n in notes)) if notes else (None, None)
    rhythm = rhythm_of((n.onset_ticks for n in notes), clip.time_signature) if notes else None
    rows = [
        _row("bpm", meta.bpm, clip.bpm, clip.bpm == meta.bpm),
        _key_row(meta, clip, notes),
        _row("time_signature", meta.time_signature, clip.time_signature, clip.time_signature == meta.time_signature),
        _row("pitch_range", meta.pitch_range, heard, heard == meta.pitch_range),
        _row("num_measures", meta.num_measures, clip.num_measures, bars_exact(clip, meta.num_measures or 0)),
        _row("inst", meta.inst, part.instrument, part.instrument == meta.inst),
        _row("genre", meta.genre, clip.genre, None),
        _row("min_velocity", meta.min_velocity, soft, soft is not None and soft >= (meta.min_velocity or 0)),
        _row("max_velocity", meta.max_velocity, loud, loud is not None and loud <= (meta.max_velocity or 127)),
        _row("track_role", meta.track_role, part.role, None),
        _row("rhythm", meta.rhythm, rhythm, rhythm == meta.rhythm),
        _chord_row(meta, clip, notes),
        Row("density", "any", f"{density(notes, clip.num_measures):.1f} notes per bar", None),
    ]
    return tuple(rows)


def _row(field: str, asked: object, got: object, ok: bool | None) -> Row:
    return Row(field, "any" if asked is None else str(asked), "unknown" if got is None else str(got), None if asked is None else ok)


def _key_row(meta: Meta, clip: Clip, notes: Sequence[Note]) -> Row:
    key = meta.audio_key or clip.key
    if key is None or not notes:
        return _row("audio_key", meta.audio_key, None, False)
    share = in_key_share(notes, key)
    return _row("audio_key", meta.audio_key, f"{share:.0%} of the notes in {key}", share >= IN_HARMONY_SHARE)


def _chord_row(meta: Meta, clip: Clip, notes: Sequence[Note]) -> Row:
    asked = meta.chord_progression and "as written"
    ratio = chord_tone_ratio(notes, clip)
    if math.isnan(ratio):
        return _row("chord_progression", asked, None, None)
    in_harmony = harmony_control(notes, clip)
    ok = clip.chords == meta.chord_progression and in_harmony >= IN_HARMONY_SHARE
    return _row("chord_progression", asked, f"{ratio:.0%} chord tones, {in_harmony:.0%} in chord or key", ok)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else math.nan
