"""The strength that is asked for -> the engine's own, so that about that share of the notes changes.

The pairs (asked, own) are measured with the weights by ``train.bundle`` and stored beside them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from musediff.errors import BadCheckpoint

Calibration = tuple[tuple[float, float], ...]
UNCHANGED: Calibration = ((0.0, 0.0), (1.0, 1.0))


def read(config: Mapping[str, Any], folder: Path) -> Calibration:
    """That of a checkpoint's settings; ``UNCHANGED`` if it was never measured.

    Raises:
        BadCheckpoint: it is no list of pairs.
    """
    try:
        return tuple((float(asked), float(own)) for asked, own in config["about"].get("calibration", UNCHANGED))
    except (AttributeError, TypeError, ValueError) as error:
        raise BadCheckpoint(f"{folder / 'config.json'}: the calibration is no list of pairs ({error}).") from error


def own_strength(calibration: Calibration, asked: float) -> float:
    """By interpolation; 0 stays 0."""
    known, own = zip(*calibration, strict=True)
    return 0.0 if asked == 0 else float(np.interp(asked, known, own))
