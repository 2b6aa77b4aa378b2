"""How many notes to make room for: a role and a density -> notes of each bar.

The sequence has a fixed length, so the numbers of notes are decided before any of them: they are those of a real clip.
``assets/counts.json`` holds some for every role, made by ``python -m train.priors``: notes in each of the eight 4/4 bars of
training clips, sorted by their sum.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from musediff.errors import BadCheckpoint

COUNTS = Path(__file__).parents[3] / "assets" / "counts.json"
_QUARTERS = 4  # of a bar in the file
_REACH = 0.45  # density -1 and 1 move the share by this much: nearly to the ends

Counts = Mapping[str, np.ndarray]  # role -> (clips, bars), by their sum


def load(path: Path = COUNTS) -> Counts:
    """Read counts.json.

    Raises:
        BadCheckpoint: it is not there or cannot be read.
    """
    try:
        return {role: np.array(rows, np.int64).reshape(len(rows), -1) for role, rows in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{path}: cannot be read ({error}). Copy the assets folder again.") from error


def notes_per_bar(counts: Counts, role: str | None, density: float, bars: int, quarters: float, rng: np.random.Generator) -> np.ndarray:
    """(R,) of one clip of the role, repeated or cut to ``bars`` of ``quarters`` each. Roles that are not known are melodies.

    ``density`` (-1 .. 1) moves the draw to clips with fewer or more notes; without it all are as likely as in the file.
    """
    rows = counts.get(role or "", counts["main_melody"])
    share = float(np.clip(rng.random() * (1 - abs(density) * _REACH) + max(density, 0) * _REACH, 0, 1 - 1e-9))
    found = np.resize(rows[int(share * len(rows))], bars) * (quarters / _QUARTERS)
    return (found + rng.random(bars)).astype(np.int64)  # a part of a note is one by chance
