"""Make trained weights ready for the product: python -m train.bundle RUN/weights --data clips.npz --out assets/weights/slots

Adds what the product needs beside the weights: ``priors.json`` (what "any" becomes) and the calibration of the strength
slider, measured with these weights on held-out clips.
"""

import argparse
import os
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
from tqdm import tqdm

from musediff import checkpoint, priors
from musediff.clip import ROLES, Clip
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.slots.engine import SlotsEngine
from musediff.pipeline import MusePipeline, Sampling

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def choose_priors(store: packed.Store, per_group: int, rng: np.random.Generator) -> list[Clip]:
    """Complete 8-bar training clips, up to ``per_group`` of every role, corpus, metre and mode."""
    complete = (store.song_split[store.clip_song] == packed.TRAIN) & (store.clip_bars == 8)
    first_bar = store.bar_offset[store.clip_song] + store.clip_bar
    corpus = np.unique(store.song_corpus, return_inverse=True)[1].ravel()[store.clip_song]
    group = np.stack((store.clip_role, corpus, store.bar_meter[first_bar], store.bar_key[first_bar] // 12), 1)
    chosen = []
    for kind in np.unique(group[complete], axis=0):
        rows = np.flatnonzero(complete & (group == kind).all(1))
        clips = (clip_at(store, [int(row)]) for row in rng.permutation(rows)[: 3 * per_group])
        chosen += [clip for clip in clips if clip.chords and clip.key and clip.tracks[0].notes and is_usual(clip)][:per_group]
    return chosen


def is_usual(clip: Clip) -> bool:
    """Neither very slow or fast, nor played at one loudness: what is drawn for "any" should surprise nobody."""
    track = clip.tracks[0]
    low, high = track.min_velocity or 0, track.max_velocity or 0
    return 60 <= clip.bpm <= 144 and 40 <= low <= 100 and (low + 8 <= high or track.role == "pad")


def calibrate(engine: SlotsEngine, clips: list[Clip]) -> list[tuple[float, float]]:
    """(strength, share of notes to hide) pairs, so that about ``strength`` of the notes come back changed."""
    plain = MusePipeline(SlotsEngine(engine.network), "slots", priors.Priors())
    changed = []
    for share in tqdm(SHARES, desc="calibrate"):
        results = [plain.modify(clip, share, sampling=Sampling(seed=i)).clips[0].tracks[0].notes for i, clip in enumerate(clips)]
        changed.append(
            float(
                np.mean(
                    [1 - len(set(new) & set(c.tracks[0].notes)) / len(c.tracks[0].notes) for new, c in zip(results, clips, strict=True)]
                )
            )
        )
    rising = np.maximum.accumulate(changed)
    pairs = [(0.0, 0.0), *((round(float(c), 4), share) for c, share in zip(rising, SHARES, strict=True) if c > 0)]
    return [*[pair for pair, after in pairwise(pairs) if pair[0] < after[0] and pair[0] < 1], (1.0, 1.0)]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.bundle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--per-group", type=int, default=10)
    parser.add_argument("--clips", type=int, default=30, help="held-out clips for the calibration")
    args = parser.parse_args()
    store, rng = packed.load(args.data), np.random.default_rng(3)
    rows = choose_priors(store, args.per_group, rng)
    valid = np.flatnonzero(
        (store.song_split[store.clip_song] == packed.VALID) & (store.clip_bars == 8) & (store.clip_role < ROLES.index("riff"))
    )
    held_out = [clip_at(store, [int(row)]) for row in rng.permutation(valid)[: args.clips]]
    calibration = calibrate(SlotsEngine.load(args.weights), [clip for clip in held_out if len(clip.tracks[0].notes) > 8])
    checkpoint.copy(args.weights, args.out, {"calibration": calibration})
    priors.save(args.out / "priors.json", [clip.meta() for clip in rows])
    print(f"{len(rows)} priors, calibration {calibration}")


if __name__ == "__main__":
    main()
