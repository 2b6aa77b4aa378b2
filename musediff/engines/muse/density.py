"""How many notes to make room for: a role and a density -> notes per quarter of the clip.

The sequence has a fixed length, so the number of notes is drawn before any of them. The figures were measured on the
8-bar clips of the training songs (up to 4,000 of each role): 5, 25, 50, 75 and 95 of a hundred have fewer.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

_SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
NOTES_PER_QUARTER: Mapping[str | None, tuple[float, ...]] = MappingProxyType(
    {
        "main_melody": (0.67, 0.97, 1.25, 1.58, 2.41),
        "sub_melody": (0.56, 0.88, 1.17, 1.66, 2.62),
        "accompaniment": (0.97, 2.0, 3.16, 4.09, 6.28),
        "bass": (0.31, 0.44, 0.56, 0.78, 1.5),
        "pad": (0.72, 1.0, 1.25, 1.53, 2.0),
        "riff": (0.75, 1.87, 4.0, 5.44, 6.97),
        None: (0.67, 0.97, 1.25, 1.58, 2.41),
    }
)
_REACH = 0.45  # density -1 and 1 move the share by this much: nearly to the ends


def notes_per_quarter(role: str | None, density: float, rng: np.random.Generator) -> float:
    """One draw from the middle half of what the role has, moved by ``density`` (-1 .. 1)."""
    share = float(np.clip(rng.uniform(0.25, 0.75) + _REACH * density, _SHARES[0], _SHARES[-1]))
    return float(np.interp(share, _SHARES, NOTES_PER_QUARTER[role]))
