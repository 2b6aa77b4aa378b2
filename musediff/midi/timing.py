"""Tempos -> one tempo; onsets -> standard or triplet rhythm, and how many of them lie off the grid."""

from collections.abc import Sequence

import numpy as np

from musediff.clip import MAX_BPM, MIN_BPM, TICKS_PER_QUARTER

DEFAULT_BPM = 120  # what the MIDI standard says for a file without tempo
SAME_TEMPO = 0.03
SIXTEENTH_TICKS, TRIPLET_TICKS = 120, 160
OFF_GRID_TICKS = 20


def typical_bpm(tempos: Sequence[tuple[int, float]], start_ticks: int, end_ticks: int) -> tuple[int, list[str]]:
    """Median tempo of a window, weighted by ticks, within 20 to 300; and what to say about it."""
    if not tempos:
        return DEFAULT_BPM, [f"The file does not say its tempo; {DEFAULT_BPM} bpm is assumed."]
    begins = np.array([tick for tick, _ in tempos])
    begins[0] = min(begins[0], start_ticks)  # the first tempo holds from the beginning
    lasting = np.minimum([*begins[1:], max(end_ticks, begins[-1])], end_ticks) - np.maximum(begins, start_ticks)
    inside = lasting > 0
    values, weights = np.array([bpm for _, bpm in tempos])[inside], lasting[inside]
    order = np.argsort(values)
    middle = float(values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])
    bpm = min(max(round(middle), MIN_BPM), MAX_BPM)
    notes = []
    if values.max() > values.min() * (1 + SAME_TEMPO):
        notes.append(f"The tempo changes from {values.min():.0f} to {values.max():.0f} bpm; its median, {bpm} bpm, is used throughout.")
    elif abs(middle - bpm) > 1:
        notes.append(f"A tempo of {middle:.0f} bpm is out of range; {bpm} bpm is used.")
    elif abs(middle - bpm) > 0.05:
        notes.append(f"The tempo of {middle:.2f} bpm is rounded to {bpm}.")
    return bpm, notes


def off_grid_share(onsets: Sequence[int]) -> float:
    """Share of onsets farther than 20 ticks (a sixth of a sixteenth) from every sixteenth and eighth triplet."""
    if not onsets:
        return 0.0
    place = np.asarray(onsets)
    return float((np.minimum(_distance(place, SIXTEENTH_TICKS), _distance(place, TRIPLET_TICKS)) > OFF_GRID_TICKS).mean())


def _distance(ticks: np.ndarray, step: int) -> np.ndarray:
    """To the nearest multiple of a step that divides the quarter."""
    assert TICKS_PER_QUARTER % step == 0, step
    return np.abs((ticks + step // 2) % step - step // 2)
