"""A clip -> about a hundred numbers on what can be heard in it, for a classifier that shall tell real from generated.

Wider than the features of ``distribution``: where notes stand in the beat and the bar, how they follow each other, how
loud they are, how they sit in chord and key, how bars repeat. None of them is a label that was asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from musediff.clip import KEY_INDEX, TICKS_PER_QUARTER, Clip
from musediff.metrics.control import chord_tone_ratio, harmony_control
from musediff.metrics.distribution import LENGTH_EDGES, groove_similarity, pitch_class_entropy

Traits = Mapping[str, np.ndarray]  # name -> (n,) float64, one value per clip; a name that is missing is 0 everywhere

WIDEST = 12  # semitones of a step that are told apart
BEAT_PARTS = 12  # of a quarter: 32nds and triplets are exact to a 24th
RUN = 4  # notes of a figure that may come again


def traits(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Of the first tracks of at least one clip. What nothing can be said of, and clips without notes, give zeros."""
    rows = [dict(_traits(clip)) for clip in clips]
    names = dict.fromkeys(["notes a bar", *(name for row in rows for name in row)])
    return {name: np.nan_to_num(np.array([row.get(name, 0.0) for row in rows], np.float64)) for name in names}


def _traits(clip: Clip) -> Iterator[tuple[str, float]]:
    notes = clip.tracks[0].notes
    if not notes:
        return
    onset, pitch, duration, velocity = np.array(sorted(notes), np.int64).T
    moments, first = np.unique(onset, return_index=True)
    top = np.maximum.reduceat(pitch, first)
    yield from _pitches(pitch, top)
    yield from _times(clip, onset, moments, duration)
    yield from (("velocity spread", velocity.std()), ("velocity step", _mean(np.abs(np.diff(velocity)))))
    yield from (("velocities", len(np.unique(velocity)) / len(velocity)), ("velocity on the beat", _louder(onset, velocity)))
    yield from (("notes at once", len(onset) / len(moments)), ("notes at once, spread", float(np.diff([*first, len(onset)]).std())))
    yield from (("chord tones", chord_tone_ratio(notes, clip)), ("chord tones on the beat", _on_beat_tones(clip)))
    yield from (("in chord or key", harmony_control(notes, clip)), ("pitch class entropy", pitch_class_entropy(notes)))
    yield from _repetition(clip, moments, top)
    if clip.key:
        yield from _histogram("degree", (pitch - KEY_INDEX[clip.key]) % 12, 12)


def _pitches(pitch: np.ndarray, top: np.ndarray) -> Iterator[tuple[str, float]]:
    steps = np.diff(top)
    yield from (("pitches", len(np.unique(pitch))), ("compass", float(np.ptp(pitch))), ("pitch spread", pitch.std()))
    yield from (("step size", _mean(np.abs(steps))), ("turns", _mean(np.sign(steps[1:]) != np.sign(steps[:-1]))))
    yield from _histogram("step", np.clip(steps, -WIDEST, WIDEST) + WIDEST, 2 * WIDEST + 1, -WIDEST)


def _times(clip: Clip, onset: np.ndarray, moments: np.ndarray, duration: np.ndarray) -> Iterator[tuple[str, float]]:
    """Lengths, waits, places; legato is the length as a share of the wait for the next onset."""
    wait = np.diff([*moments, clip.end_ticks])
    after = wait[np.searchsorted(moments, onset)]
    legato = np.minimum(duration / after, 2)
    per_bar = np.bincount(onset // clip.bar_ticks, minlength=clip.num_measures)
    yield from (("notes a bar", per_bar.mean()), ("notes a bar, spread", per_bar.std()), ("bars without notes", (per_bar == 0).mean()))
    yield from (("legato", legato.mean()), ("legato spread", legato.std()), ("exactly legato", (duration == after).mean()))
    yield from _histogram("length", np.digitize(duration, LENGTH_EDGES[1:-1]), len(LENGTH_EDGES) - 1)
    yield from _histogram("wait", np.digitize(wait, LENGTH_EDGES[1:-1]), len(LENGTH_EDGES) - 1)
    yield from _histogram("place in the beat", onset % TICKS_PER_QUARTER * BEAT_PARTS // TICKS_PER_QUARTER, BEAT_PARTS)
    yield from _histogram("place in the bar", onset % clip.bar_ticks * 8 // clip.bar_ticks, 8)
    yield ("changes of length", _mean(np.diff(duration) != 0))
    yield ("changes of wait", _mean(np.diff(wait) != 0))


def _repetition(clip: Clip, moments: np.ndarray, top: np.ndarray) -> Iterator[tuple[str, float]]:
    """How much comes again: rhythms of bars, whole bars, figures."""
    bars = [moments // clip.bar_ticks == bar for bar in range(clip.num_measures)]
    rhythms = [tuple(moments[bar] % clip.bar_ticks) for bar in bars]
    tunes = [tuple(zip(rhythm, top[bar], strict=True)) for rhythm, bar in zip(rhythms, bars, strict=True)]
    yield "groove", groove_similarity(clip.tracks[0].notes, clip.num_measures, clip.bar_ticks)
    yield "bars of the rhythm before", _mean([a == b for a, b in pairwise(rhythms)])
    yield "different rhythms of bars", len(set(rhythms)) / len(rhythms)
    yield "different bars", len(set(tunes)) / len(tunes)
    steps = list(zip(np.diff(moments).tolist(), np.diff(top).tolist(), strict=True))
    figures = [tuple(steps[i : i + RUN - 1]) for i in range(len(steps) - RUN + 2)]
    yield "different figures", len(set(figures)) / len(figures) if figures else 1.0


def _on_beat_tones(clip: Clip) -> float:
    return chord_tone_ratio([note for note in clip.tracks[0].notes if note.onset_ticks % TICKS_PER_QUARTER == 0], clip)


def _louder(onset: np.ndarray, velocity: np.ndarray) -> float:
    """How much louder notes on a beat are than the others."""
    beat = onset % TICKS_PER_QUARTER == 0
    return float(velocity[beat].mean() - velocity[~beat].mean()) if 0 < beat.sum() < len(beat) else 0.0


def _histogram(name: str, values: np.ndarray, size: int, first: int = 0) -> Iterator[tuple[str, float]]:
    counts = np.bincount(values, minlength=size) / max(1, len(values))
    yield from ((f"{name} {first + i}", float(share)) for i, share in enumerate(counts))


def _mean(values: np.ndarray | list[bool]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
