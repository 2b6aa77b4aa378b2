"""Numbers -> what their order says: how well one follows another (Spearman), how well it tells two kinds apart (AUC)."""

import math

import numpy as np


def ranks(values: np.ndarray) -> np.ndarray:
    """(n,) float64: places from 1 on; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks, -1 to 1; nan where one of them does not vary (Spearman 1904)."""
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (x, y))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size else math.nan


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Chance that a positive one scores above a negative one, a tie counting half; nan without one of both."""
    wins = ranks(scores)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    pairs = float(positive.sum()) * float((~positive).sum())
    return float(wins / pairs) if pairs else math.nan
