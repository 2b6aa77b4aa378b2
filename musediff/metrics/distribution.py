"""Two sets of clips -> how far apart their statistics are (overlapped area, Frechet distance), and how much is copied.

A clip is the sequence of its notes here. Distances are between sets of one feature each; nothing is compared note for note.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from musediff.clip import TICKS_PER_QUARTER, Note

Features = Mapping[str, np.ndarray]  # name -> (n,) or (n, k) float64, one row per clip

_LENGTH_EDGES = np.array([0, 90, 180, 300, 420, 600, 840, 1200, 1680, np.inf])  # ticks: 16th, 8th, dotted, quarter, ... whole
_GRID = 2048  # points of a density
_RUN_TICKS = 20  # onsets are compared on 24ths of a quarter: 32nds and triplets are exact
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, hence invertible mod 2**64


def features(clips: Sequence[Sequence[Note]]) -> dict[str, np.ndarray]:
    """The nine features of mgeval (Yang & Lerch 2020) without their per-bar copies. Clips without notes give zeros."""
    rows = [_features_of(sorted(notes)) for notes in clips]
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def overlapped_area(real: Features, generated: Features) -> dict[str, float]:
    """Per feature: area shared by the densities of real-to-real and real-to-generated distances. 1 = the same; >= 2 clips each."""
    areas = {}
    for name in real:
        a, b = (np.atleast_2d(rows.T).T for rows in (real[name], generated[name]))
        within = _distances(a, a)[np.triu_indices(len(a), 1)]
        areas[name] = _shared_area(within, _distances(a, b).ravel())
    return areas


def frechet_distance(real: Features, generated: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2) over the features side by side, z-scored by the real clips; >= 2 clips each.

    Without the two tables of steps: their 225 columns are more than a few hundred clips can fill (200 real clips against
    200 others came to 130 with them).
    """
    names = [name for name in real if not name.endswith("_steps")]
    a, b = (np.concatenate([np.atleast_2d(rows[name].T).T for name in names], axis=1) for rows in (real, generated))
    mean, deviation = a.mean(axis=0), a.std(axis=0)
    varied = deviation > 1e-9  # the rest would weigh infinitely
    a, b = (((rows - mean) / np.where(varied, deviation, 1))[:, varied] for rows in (a, b))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root_a = _root(np.atleast_2d(cov_a))
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root_a @ cov_b @ root_a), 0, None)).sum()
    return float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def pitch_class_entropy(notes: Sequence[Note]) -> float:
    """Entropy of the pitch classes in bits: 0 (one) .. 3.58 (all twelve alike)."""
    counts = np.bincount([note.pitch % 12 for note in notes], minlength=12) if notes else np.zeros(12)
    share = counts[counts > 0] / max(1, counts.sum())
    return float(-(share * np.log2(share)).sum()) + 0.0


def groove_similarity(notes: Sequence[Note], num_measures: int, bar_ticks: int) -> float:
    """Mean over neighbouring bars of the share of sixteenths on which both start a note or both do not. nan for one bar.

    Wu & Yang 2020 (Jazz Transformer), with sixteenths for their 64 points: on finer ones every pair is near 1.
    """
    sixteenths = bar_ticks // 120
    onsets = np.zeros(num_measures * sixteenths, bool)
    places = np.array([note.onset_ticks for note in notes], np.int64) // 120
    onsets[places[places < len(onsets)]] = True
    bars = onsets.reshape(num_measures, sixteenths)
    return float((bars[1:] == bars[:-1]).mean()) if num_measures > 1 else float("nan")


def copy_rate(generated: Sequence[Sequence[Note]], training: Sequence[Sequence[Note]], run: int = 13) -> float:
    """Share of clips that hold a run of ``run`` notes found in the training set, in any transposition.

    Two runs are equal if they take the same steps of (time to the next note, interval); notes are in order of onset, then pitch.
    """
    assert run >= 2 and len(generated) > 0, (run, len(generated))
    known = np.unique(np.concatenate([np.zeros(0, np.uint64), *(_runs(notes, run) for notes in training)]))
    return float(np.mean([np.isin(_runs(notes, run), known).any() for notes in generated]))


def _features_of(notes: Sequence[Note]) -> dict[str, float | np.ndarray]:
    onset, pitch, duration, _ = np.array(notes, np.int64).reshape(-1, 4).T
    classes = pitch % 12
    moments = np.unique(onset)
    transitions = np.zeros((12, 12))
    np.add.at(transitions, (classes[:-1], classes[1:]), 1)
    lengths = np.digitize(duration, _LENGTH_EDGES[1:-1])
    length_steps = np.zeros((len(_LENGTH_EDGES) - 1,) * 2)
    np.add.at(length_steps, (lengths[:-1], lengths[1:]), 1)
    return {
        "pitch_count": len(np.unique(pitch)),
        "note_count": len(pitch),
        "pitch_range": np.ptp(pitch) if len(pitch) else 0,
        "pitch_shift": _mean(np.abs(np.diff(pitch))),
        "ioi": _mean(np.diff(moments)) / TICKS_PER_QUARTER,
        "pitch_classes": _histogram(classes, 12),
        "note_lengths": _histogram(lengths, len(_LENGTH_EDGES) - 1),
        "pitch_class_steps": _normalised(transitions.ravel()),
        "note_length_steps": _normalised(length_steps.ravel()),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _histogram(values: np.ndarray, size: int) -> np.ndarray:
    return _normalised(np.bincount(values, minlength=size))


def _normalised(counts: np.ndarray) -> np.ndarray:
    return counts / max(1, counts.sum())


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) Euclidean distances."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.clip(squares, 0, None))


def _shared_area(a: np.ndarray, b: np.ndarray) -> float:
    """Area under both Gaussian kernel densities (Scott's bandwidth, as scipy's gaussian_kde in mgeval).

    The samples are binned finely and the bins convolved with the kernel: 125,000 distances in milliseconds.
    """
    widths = [max(float(x.std(ddof=1)) * len(x) ** -0.2, 1e-9) if len(x) > 1 else 1e-9 for x in (a, b)]
    low, high = min(a.min(), b.min()) - 4 * max(widths), max(a.max(), b.max()) + 4 * max(widths)
    step = (high - low) / _GRID
    densities = []
    for values, width in zip((a, b), widths, strict=True):
        counts = np.histogram(values, bins=_GRID, range=(low, high))[0] / len(values)
        kernel = np.exp(-0.5 * (np.arange(-_GRID // 2, _GRID // 2 + 1) * step / max(width, step / 4)) ** 2)
        densities.append(np.convolve(counts, kernel / kernel.sum(), mode="same"))
    return float(np.minimum(densities[0], densities[1]).sum())


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a symmetric matrix without negative eigenvalues."""
    values, bases = np.linalg.eigh(matrix)
    return (bases * np.sqrt(np.clip(values, 0, None))) @ bases.T


def _runs(notes: Sequence[Note], run: int) -> np.ndarray:
    """A 64-bit hash of every run of ``run`` successive notes, the same in every transposition."""
    if len(notes) < run:
        return np.zeros(0, np.uint64)
    onset, pitch = np.array(sorted(notes), np.int64).T[:2]
    gaps = np.diff((onset + _RUN_TICKS // 2) // _RUN_TICKS)
    steps = ((gaps << 8) + np.diff(pitch) + 128).astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(steps, run - 1)
    total = np.zeros(len(windows), np.uint64)
    for place in range(run - 1):  # a polynomial mod 2**64, mixed after every term
        total = (total ^ windows[:, place]) * _BASE
        total ^= total >> np.uint64(29)
    return total
