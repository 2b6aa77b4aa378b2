"""Two sets of clips -> how far apart their statistics are: overlapped areas and Frechet distance.

A clip is the sequence of its notes here. Sets are compared feature by feature; nothing is compared note for note.
Beside each figure belongs that of two sets of real clips of the same sizes: both see too little as well as too much.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from musediff.clip import TICKS_PER_QUARTER, Note

Features = Mapping[str, np.ndarray]  # name -> (n,) or (n, k) float64, one row per clip

LENGTH_EDGES = np.array([0, 90, 180, 300, 420, 600, 840, 1200, 1680, np.inf])  # ticks: 16th, 8th, dotted, quarter, ... whole
_GRID = 2048  # points of a density
_TINY = 1e-9


def features(clips: Sequence[Sequence[Note]]) -> dict[str, np.ndarray]:
    """The nine features of mgeval (Yang & Lerch 2020) without their per-bar copies. Clips without notes give zeros."""
    rows = [_features_of(sorted(notes)) for notes in clips]
    return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}


def overlapped_area(real: Features, generated: Features) -> dict[str, float]:
    """Per feature: area that the densities of its values have in common, of columns side by side the mean. 1 = the same; >= 2 clips each.
    Columns that are one number in all clips of both sets are left out.

    Two halves of POP909 (one clip of a song, 409 against 409) have .93 on average, with a fifth of the notes moved by up to four
    semitones .80-.85, with 40 % of them made of anything .52.
    """
    areas = {}
    for name in real:
        a, b = _columns(real[name]), _columns(generated[name])
        shared = [_shared_area(a[:, i], b[:, i]) for i in range(a.shape[1]) if np.ptp([*a[:, i], *b[:, i]]) > _TINY]
        areas[name] = float(np.mean(shared)) if shared else 1.0
    return areas


def overlapped_distances(real: Features, generated: Features) -> dict[str, float]:
    """Per feature: area shared by the densities of real-to-real and real-to-generated distances, as mgeval does; >= 2 clips each.

    Blunter than ``overlapped_area``: halves of POP909 have .97, and .97 still with a fifth of the notes moved in time.
    """
    areas = {}
    for name in real:
        a, b = _columns(real[name]), _columns(generated[name])
        within = _distances(a, a)[np.triu_indices(len(a), 1)]
        areas[name] = _shared_area(within, _distances(a, b).ravel())
    return areas


def frechet_distance(real: Features, generated: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2) over the features side by side, z-scored by the real clips; >= 2 clips each.

    Real clips are not at 0 but above it by sampling alone: two halves of POP909 (409 clips each) are at 1.0-1.1, a hundred clips at
    about five. What no real clip has is not looked at.
    Without the two tables of steps: their 225 columns are more than a few hundred clips can fill (200 real clips against
    200 others came to 130 with them).
    """
    names = [name for name in real if not name.endswith("_steps")]
    a, b = (np.concatenate([_columns(rows[name]) for name in names], axis=1) for rows in (real, generated))
    mean, deviation = a.mean(axis=0), a.std(axis=0)
    varied = deviation > _TINY  # the rest would weigh infinitely
    a, b = (((rows - mean) / np.where(varied, deviation, 1))[:, varied] for rows in (a, b))
    cov_a, cov_b = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    root_a = _root(cov_a)
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


def _features_of(notes: Sequence[Note]) -> dict[str, float | np.ndarray]:
    onset, pitch, duration, _ = np.array(notes, np.int64).reshape(-1, 4).T
    classes = pitch % 12
    moments = np.unique(onset)
    transitions = np.zeros((12, 12))
    np.add.at(transitions, (classes[:-1], classes[1:]), 1)
    lengths = np.digitize(duration, LENGTH_EDGES[1:-1])
    length_steps = np.zeros((len(LENGTH_EDGES) - 1,) * 2)
    np.add.at(length_steps, (lengths[:-1], lengths[1:]), 1)
    return {
        "pitch_count": len(np.unique(pitch)),
        "note_count": len(pitch),
        "pitch_range": np.ptp(pitch) if len(pitch) else 0,
        "pitch_shift": _mean(np.abs(np.diff(pitch))),
        "ioi": _mean(np.diff(moments)) / TICKS_PER_QUARTER,
        "pitch_classes": _histogram(classes, 12),
        "note_lengths": _histogram(lengths, len(LENGTH_EDGES) - 1),
        "pitch_class_steps": _normalised(transitions.ravel()),
        "note_length_steps": _normalised(length_steps.ravel()),
    }


def _columns(rows: np.ndarray) -> np.ndarray:
    """(n,) or (n, k) -> (n, 1) or (n, k)"""
    return rows.reshape(len(rows), -1)


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
    widths = [max(float(x.std(ddof=1)) * len(x) ** -0.2, _TINY) if len(x) > 1 else _TINY for x in (a, b)]
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
