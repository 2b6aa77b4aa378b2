"""Notes -> three unit vectors -> how alike clips are (MSIM), and how well a nearest neighbour tells real from generated (1NNC).

As in the original (MuseDiffusion, ``utils/metric.py``): rhythm is 32 points of a bar, melody 12 classes of steps of the top
line, harmony 12 pitch classes; MSIM is the product of the three cosines. The original counts in 128ths of a 4/4 bar; here
every metre's bar has 128 units. A clip without notes has flat vectors instead of a crash.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from musediff.clip import Clip, Note

UNITS = 128  # a bar
POINTS = 32
COMPONENTS = ("product", "rhythm", "melody", "harmony")
_TINY = 1e-8  # what the original starts its sums with
_CHUNK = 256  # rows of a similarity matrix in memory at once
_DECIMALS = 6  # float32 sums differ in the 7th with their place in the matrix; nearer than this is a tie


@dataclass(frozen=True, slots=True)
class Vectors:
    """Unit vectors of one clip, or of n clips as rows. float32."""

    rhythm: np.ndarray  # (..., 32)
    melody: np.ndarray  # (..., 12): steps from one top note to the next, mod 12
    harmony: np.ndarray  # (..., 12): pitch classes from C


@dataclass(frozen=True, slots=True)
class ByComponent:
    """One figure by MSIM and by each of its three factors alone."""

    product: float
    rhythm: float
    melody: float
    harmony: float


def vectors(notes: Sequence[Note], clip: Clip) -> Vectors:
    """The vectors of one track's notes in the bars of its clip."""
    if not notes:
        flat = [np.full(size, size**-0.5, np.float32) for size in (POINTS, 12, 12)]
        return Vectors(flat[0], flat[1], flat[2])
    onset, pitch, duration, velocity = np.array(notes, np.int64).T
    assert onset.min() >= 0 and onset.max() < clip.end_ticks, (onset.min(), onset.max(), clip.end_ticks)
    bar, inside = np.divmod(onset, clip.bar_ticks)
    position = np.minimum(_nearest_unit(inside, clip.bar_ticks), UNITS - 1)
    length = np.clip(_nearest_unit(duration, clip.bar_ticks), 1, UNITS)
    return Vectors(
        _rhythm(bar, position, length, velocity, clip.num_measures),
        _melody(bar * UNITS + position, pitch),
        _unit(np.bincount(pitch % 12, minlength=12)),
    )


def stack(clips: Sequence[Vectors]) -> Vectors:
    """Rows of the clips' vectors."""
    return Vectors(*(np.stack([getattr(clip, name) for clip in clips]) for name in COMPONENTS[1:]))


def msim(a: Vectors, b: Vectors) -> ByComponent:
    """How alike two clips are, 0-1, and the three cosines whose product that is."""
    rhythm, melody, harmony = (float(getattr(a, name) @ getattr(b, name)) for name in COMPONENTS[1:])
    return ByComponent(rhythm * melody * harmony, rhythm, melody, harmony)


def similarity_matrix(a: Vectors, b: Vectors, component: str = "product") -> np.ndarray:
    """(n, m) float32: MSIM (or one of ``COMPONENTS``) of every row of ``a`` with every row of ``b``."""
    assert component in COMPONENTS, component
    matrix = np.empty((len(a.rhythm), len(b.rhythm)), np.float32)
    for first, chunk in _similarities(a, b, (component,)):
        matrix[first : first + _CHUNK] = chunk[component]
    return matrix


def mean_similarity(a: Vectors, b: Vectors | None = None) -> float:
    """Mean MSIM of every row of ``a`` with every row of ``b``, or with every other row of ``a``; nan where there is no pair."""
    other = a if b is None else b
    pairs = len(a.rhythm) * len(other.rhythm) - (len(a.rhythm) if b is None else 0)
    total = sum(float(chunk["product"].sum(dtype=np.float64)) for _, chunk in _similarities(a, other, ("product",)))
    own = float(np.prod([(getattr(a, name) ** 2).sum(axis=1) for name in COMPONENTS[1:]], axis=0).sum()) if b is None else 0.0
    return (total - own) / pairs if pairs else float("nan")


def one_nn_accuracy(real: Vectors, generated: Vectors) -> ByComponent:
    """Share of clips whose nearest other clip is of their own kind: .5 if real and generated cannot be told apart.

    Leave-one-out over both sets together, n >= 1 rows each. Of equally near clips the first one counts, real ones before
    generated ones: that is right for half of the clips, so it leaves the figure where it is.
    """
    both = Vectors(*(np.concatenate([getattr(real, name), getattr(generated, name)]) for name in COMPONENTS[1:]))
    is_real = np.arange(len(both.rhythm)) < len(real.rhythm)
    hits = dict.fromkeys(COMPONENTS, 0)
    for first, chunk in _similarities(both, both, COMPONENTS):
        for name, similarity in chunk.items():
            rows = np.arange(len(similarity))
            near = np.round(similarity, _DECIMALS)
            near[rows, first + rows] = -1  # not itself
            hits[name] += int((is_real[near.argmax(axis=1)] == is_real[first + rows]).sum())
    return ByComponent(**{name: count / len(is_real) for name, count in hits.items()})


def _similarities(a: Vectors, b: Vectors, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(first row, {component: (rows, m)}) for chunk after chunk of rows of ``a``."""
    needed = COMPONENTS[1:] if "product" in wanted else tuple(wanted)
    for first in range(0, len(a.rhythm), _CHUNK):
        chunk = {name: getattr(a, name)[first : first + _CHUNK] @ getattr(b, name).T for name in needed}
        if "product" in wanted:
            chunk["product"] = chunk["rhythm"] * chunk["melody"] * chunk["harmony"]
        yield first, {name: chunk[name] for name in wanted}


def _nearest_unit(ticks: np.ndarray, bar_ticks: int) -> np.ndarray:
    """Ticks -> 128ths of a bar; halfway goes down, as with the original's argmin."""
    return -((bar_ticks - 2 * UNITS * ticks) // (2 * bar_ticks))


def _rhythm(bar: np.ndarray, position: np.ndarray, length: np.ndarray, velocity: np.ndarray, bars: int) -> np.ndarray:
    """Loudness along a bar: each note fades in a line over one bar, the loudest counts; bars normalised, then summed."""
    level = (velocity + 1) // 2 * 2  # the original's 64 steps of velocity
    amplitude = (0.00542676376 * level + 0.310801) ** 2
    points = np.arange(0, UNITS, UNITS // POINTS)
    since = points - position[:, None]
    sounding = (since >= 0) & (since < length[:, None])
    grooves = np.full((bars, POINTS), _TINY)
    np.maximum.at(grooves, bar, np.where(sounding, amplitude[:, None] * (1 - since / UNITS), 0))
    return _unit((grooves / np.linalg.norm(grooves, axis=1, keepdims=True)).sum(axis=0))


def _melody(onset_units: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Steps between the highest notes of successive onsets. The original leaves out the last step, so we do."""
    moments, place = np.unique(onset_units, return_inverse=True)
    top = np.zeros(len(moments), np.int64)
    np.maximum.at(top, place, pitch)
    return _unit(np.bincount(np.diff(top)[:-1] % 12, minlength=12) + _TINY)


def _unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values)).astype(np.float32)
