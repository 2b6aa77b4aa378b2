"""A held-out clip and a model -> how well it repairs, refills and changes the clip. One clip, one row of figures.

``Row.real`` is what the figure is without the model: the damaged clip, the bars of another song.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from musediff.clip import Clip, Note
from musediff.errors import BadRequest
from musediff.metrics.ranking import spearman
from musediff.metrics.repair import PrecisionRecall, damage, detection_f1, note_f1, slips
from musediff.metrics.similarity import msim, vectors
from musediff.pipeline import MusePipeline, Sampling

DAMAGE = 0.4
SLIPS = 0.1
STRENGTHS = tuple(level / 10 for level in range(1, 11))
REFILLED = frozenset({2, 3, 4, 5})  # bars, from 0
CHANGED = "changed_"  # + strength


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one clip by name. ``refused``: what the engine said it cannot do."""

    model: dict[str, float] = field(default_factory=dict)
    real: dict[str, float] = field(default_factory=dict)
    refused: str = ""


def repaired(pipeline: MusePipeline, clip: Clip, sampling: Sampling) -> Row:
    """Damage 40 % of the notes (pitch, duration, velocity), repair without telling the share; and repair the clean clip.

    A note counts as found if it does not come back as it was.
    """
    track = clip.tracks[0]
    notes, bad = damage(track.notes, np.random.default_rng(sampling.seed), DAMAGE, clip.bar_ticks)
    try:
        mended, again = _mended(pipeline, clip, notes, sampling), _mended(pipeline, clip, track.notes, sampling)
    except BadRequest as error:
        return Row(refused=f"repair: {error}")
    whole = vectors(track.notes, clip)
    before, after = (msim(whole, vectors(played, clip)).product for played in (notes, mended))
    figures = {f"found_{name}": value for name, value in _found(notes, mended, bad)._asdict().items()}
    touched = share_changed(track.notes, again)
    return Row(figures | {"repaired_msim": after, "clean_changed": touched}, {"repaired_msim": before})


def slipped(pipeline: MusePipeline, clip: Clip, sampling: Sampling) -> Row:
    """A tenth of the notes one to four semitones off, all else as it was: which of them come back otherwise than they are."""
    notes, bad = slips(clip.tracks[0].notes, np.random.default_rng(sampling.seed), SLIPS)
    try:
        found = _found(notes, _mended(pipeline, clip, notes, sampling), bad)
    except BadRequest as error:
        return Row(refused=f"repair: {error}")
    return Row({"slips_precision": found.precision, "slips_recall": found.recall})


def refilled(pipeline: MusePipeline, clip: Clip, other: Clip | None, sampling: Sampling) -> Row:
    """Bars 3-6 are taken out and made anew; against the notes that were there (onset and pitch, chroma). Beside them the same
    bars of ``other``, a clip of another song in the same metre. What lies outside must come back as it was."""
    try:
        made = pipeline.modify(clip, 1.0, bars=REFILLED, sampling=sampling).clips[0].tracks[0].notes
    except BadRequest as error:
        return Row(refused=f"refill: {error}")
    (inside, outside), (new, kept) = (_parted(notes, clip.bar_ticks) for notes in (clip.tracks[0].notes, made))
    figures = _likeness(new, inside) | {"refilled_outside": float(kept == outside)}
    return Row(figures, {} if other is None else _likeness(_parted(other.tracks[0].notes, clip.bar_ticks)[0], inside))


def changed(pipeline: MusePipeline, clip: Clip, sampling: Sampling) -> Row:
    """The share of the notes that do not come back as they were, at each of ten strengths; and Spearman's rho of these ten."""
    notes, shares = clip.tracks[0].notes, []
    try:
        for level in STRENGTHS:
            shares.append(share_changed(notes, pipeline.modify(clip, level, sampling=sampling).clips[0].tracks[0].notes))
    except BadRequest as error:
        return Row(refused=f"strength: {error}")
    rho = spearman(np.array(STRENGTHS), np.array(shares))
    return Row({f"{CHANGED}{level:.1f}": share for level, share in zip(STRENGTHS, shares, strict=True)} | {"strength_clip": rho})


def share_changed(notes: Sequence[Note], back: Sequence[Note]) -> float:
    """Share of at least one note that did not come back as it was."""
    there = set(back)
    return sum(note not in there for note in notes) / len(notes)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every figure over the rows that have it, and what follows from the ten strengths."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row[name] for row in rows if name in row and not math.isnan(row[name])] for name in names}
    figures = {name: float(np.mean(values)) for name, values in found.items() if values}
    curve = [figures.pop(f"{CHANGED}{level:.1f}", math.nan) for level in STRENGTHS]
    if not any(map(math.isnan, curve)):
        figures["strength_error"] = float(np.abs(np.array(curve) - STRENGTHS).mean())
        rho = spearman(np.array(STRENGTHS), np.array(curve))
        figures |= {} if math.isnan(rho) else {"strength": rho}
    return figures


def curve(rows: Sequence[Mapping[str, float]]) -> list[float]:
    """Mean share changed at each of the ten strengths; empty if there are no such rows."""
    with_curve = [[row[f"{CHANGED}{level:.1f}"] for level in STRENGTHS] for row in rows if "strength_clip" in row]
    return np.mean(with_curve, axis=0).round(4).tolist() if with_curve else []


def companion(clips: Sequence[Clip], songs: Sequence[int], place: int) -> Clip | None:
    """The next clip of another song in the same metre."""
    clip = clips[place]
    for step in range(1, len(clips)):
        other = (place + step) % len(clips)
        if songs[other] != songs[place] and clips[other].time_signature == clip.time_signature:
            return clips[other]
    return None


def _mended(pipeline: MusePipeline, clip: Clip, notes: tuple[Note, ...], sampling: Sampling) -> tuple[Note, ...]:
    """What repair makes of the clip with these notes."""
    given = replace(clip, tracks=(replace(clip.tracks[0], notes=notes),))
    return pipeline.repair(given, sampling=sampling).clips[0].tracks[0].notes


def _found(notes: Sequence[Note], back: Sequence[Note], bad: frozenset[int]) -> PrecisionRecall:
    """Notes that did not come back as they were against those that are ``bad``."""
    left = set(back)
    return detection_f1({k for k, note in enumerate(notes) if note not in left}, bad)


def _parted(notes: Sequence[Note], bar_ticks: int) -> tuple[list[Note], list[Note]]:
    """Notes that begin in the bars to refill, and the rest."""
    inside = [note for note in notes if note.onset_ticks // bar_ticks in REFILLED]
    return inside, [note for note in notes if note.onset_ticks // bar_ticks not in REFILLED]


def _likeness(notes: Sequence[Note], truth: Sequence[Note]) -> dict[str, float]:
    """Chroma: cosine of the counts of pitch classes; 0 where only one has notes, nan where none has."""
    chroma = [np.bincount([note.pitch % 12 for note in part], minlength=12) if part else np.zeros(12) for part in (notes, truth)]
    size = float(np.linalg.norm(chroma[0]) * np.linalg.norm(chroma[1]))
    alike = float(chroma[0] @ chroma[1]) / size if size else 0.0
    return {"refilled_f1": note_f1(notes, truth).f1, "refilled_chroma": alike if notes or truth else math.nan}
