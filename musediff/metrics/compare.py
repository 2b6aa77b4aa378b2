"""A set of clips, alone or beside a reference -> the original's figures (MSIM, 1NNC, CP, CV) and the share of chord tones.

The first track of a clip is the one that counts. Clips without notes, chords or labels are counted and told, never a reason
to stop; what nothing can be said of is nan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from musediff.clip import Clip, Meta
from musediff.metrics.control import Count, chord_tone_ratio, pitch_misses, summed, velocity_misses
from musediff.metrics.similarity import COMPONENTS, ByComponent, Vectors, mean_similarity, msim, one_nn_accuracy, stack, vectors

NOTHING = ByComponent(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one set of clips. The last five need a reference."""

    clips: int
    empty: int  # without notes
    notes: float  # of a clip
    pitch: Count  # CP, of the clips for which a range was asked
    velocity: Count  # CV, of the notes for which a limit was asked
    chord_tones: float  # mean over the clips that have chords
    msim_within: float  # mean over all pairs inside the set
    msim_across: float = math.nan  # mean over all pairs with the reference
    pairs: int = 0
    msim_pairs: ByComponent = NOTHING  # mean over the pairs of a clip with the one it was made from
    nearest: ByComponent = NOTHING  # 1NNC
    nearest_clips: int = 0  # of each side

    def to_dict(self) -> dict[str, object]:
        """For JSON: nan is None."""
        counts = {name: {"total": count.total, "wrong": count.wrong} for name, count in (("cp", self.pitch), ("cv", self.velocity))}
        means = {name: _number(getattr(self, name)) for name in ("notes", "chord_tones", "msim_within", "msim_across")}
        parts = {"pairs": self.pairs, "msim_pairs": by_name(self.msim_pairs), "1nnc": by_name(self.nearest)}
        return {"clips": self.clips, "empty": self.empty, **counts, **means, **parts, "1nnc_clips": self.nearest_clips}


def describe(clips: Sequence[Clip], asked: Sequence[Meta]) -> Figures:
    """Figures of a set of at least one clip; ``asked`` is what was wanted of each."""
    wanted = [(clip.tracks[0].notes, meta) for clip, meta in zip(clips, asked, strict=True)]
    limited = [(n, m.min_velocity, m.max_velocity) for n, m in wanted if (m.min_velocity, m.max_velocity) != (None, None)]
    chord_tones = [share for clip in clips if not math.isnan(share := chord_tone_ratio(clip.tracks[0].notes, clip))]
    return Figures(
        clips=len(clips),
        empty=sum(not notes for notes, _ in wanted),
        notes=float(np.mean([len(notes) for notes, _ in wanted])),
        pitch=summed(pitch_misses(notes, meta.pitch_range) for notes, meta in wanted if meta.pitch_range is not None),
        velocity=summed(velocity_misses(*row) for row in limited),
        chord_tones=float(np.mean(chord_tones)) if chord_tones else math.nan,
        msim_within=mean_similarity(vectors_of(clips)),
    )


def compare(clips: Sequence[Clip], asked: Sequence[Meta], reference: Sequence[Clip], partner: Mapping[int, int]) -> Figures:
    """Figures of a set beside a reference; ``partner``: clip -> the clip of the reference that it was made from.

    1NNC is .5 by chance only for sets of one size: of the larger one as many clips are taken, evenly spread. Of one clip each
    it says nothing.
    """
    new, old = vectors_of(clips), vectors_of(reference)
    size = min(len(clips), len(reference))
    pairs = [msim(_rows(new, i), _rows(old, k)) for i, k in partner.items()]
    return replace(
        describe(clips, asked),
        msim_across=mean_similarity(new, old),
        pairs=len(pairs),
        msim_pairs=mean(pairs),
        nearest=one_nn_accuracy(_spread(old, size), _spread(new, size)) if size > 1 else NOTHING,
        nearest_clips=size,
    )


def vectors_of(clips: Sequence[Clip]) -> Vectors:
    """Rows of the clips' first tracks."""
    return stack([vectors(clip.tracks[0].notes, clip) for clip in clips])


def mean(values: Sequence[ByComponent]) -> ByComponent:
    """Component by component; nan of nothing."""
    return ByComponent(*(float(np.mean([getattr(v, name) for v in values])) for name in COMPONENTS)) if values else NOTHING


def by_name(value: ByComponent) -> dict[str, float | None]:
    """For JSON: nan is None."""
    return {name: _number(getattr(value, name)) for name in COMPONENTS}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def _rows(of: Vectors, chosen: int | np.ndarray) -> Vectors:
    return Vectors(*(getattr(of, name)[chosen] for name in COMPONENTS[1:]))


def _spread(of: Vectors, size: int) -> Vectors:
    """``size`` of the rows, evenly spread."""
    return _rows(of, np.linspace(0, len(of.rhythm) - 1, size).astype(int))
