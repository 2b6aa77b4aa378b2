"""Make trained weights ready for the product: python -m train.bundle RUN/weights --data clips.npz --out assets/weights/slots

Adds the calibration of the strength slider, measured with these weights on held-out clips.
"""

import os
import sys
from itertools import pairwise

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
from tqdm import tqdm

from musediff import checkpoint
from musediff.cli import guarded
from musediff.clip import ROLES, Clip
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.calibration import UNCHANGED
from musediff.pipeline import MusePipeline, Sampling
from train.arguments import weights_parser
from train.evaluate_edits import share_changed

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def calibrate(plain: MusePipeline, clips: list[Clip]) -> list[tuple[float, float]]:
    """(strength, the engine's own) pairs, so that about ``strength`` of the notes come back changed. ``plain``: not calibrated."""
    changed = []
    for share in tqdm(SHARES, desc="calibrate"):
        results = [plain.modify(clip, share, sampling=Sampling(seed=i)).clips[0] for i, clip in enumerate(clips)]
        changed.append(np.mean([share_changed(*(c.tracks[0].notes for c in pair)) for pair in zip(clips, results, strict=True)]))
    rising = np.maximum.accumulate(changed)
    pairs = [(0.0, 0.0), *((round(float(c), 4), share) for c, share in zip(rising, SHARES, strict=True) if c > 0)]
    return [*[pair for pair, after in pairwise(pairs) if pair[0] < after[0] and pair[0] < 1], (1.0, 1.0)]


def held_out(store: packed.Store, number: int) -> list[Clip]:
    """Clips of 8 bars with more than a few notes, without riffs."""
    valid = (store.song_split[store.clip_song] == packed.VALID) & (store.clip_bars == 8) & (store.clip_role < ROLES.index("riff"))
    rows = np.random.default_rng(3).permutation(np.flatnonzero(valid))[:number]
    return [clip for clip in (clip_at(store, [int(row)]) for row in rows) if len(clip.tracks[0].notes) > 8]


def main() -> None:
    parser = weights_parser("bundle", str(__doc__), 30, "held-out clips for the calibration")
    args = parser.parse_args()
    plain = MusePipeline.load(args.weights)
    plain.engine.calibration = UNCHANGED
    clips = held_out(packed.load(args.data), args.clips)
    if not clips:
        parser.error(f"{args.data}: no held-out clip of 8 bars with more than a few notes, so nothing can be calibrated")
    calibration = calibrate(plain, clips)
    checkpoint.copy(args.weights, args.out, {"calibration": calibration})
    print(f"calibration {calibration}")


if __name__ == "__main__":
    sys.exit(guarded(main))
