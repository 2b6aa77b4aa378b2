"""What "any" becomes, chosen from the training songs: python -m train.priors --data clips.npz --out assets

priors.json: metadata and chords of clips; counts.json: notes in each bar of clips, by role.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from musediff import priors
from musediff.cli import guarded
from musediff.cli_options import count
from musediff.clip import ROLES, TIME_SIGNATURES, Clip
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.clip_rows import ClipRows
from train.recipes import Recipe

BARS = 8


def choose_priors(store: packed.Store, per_group: int, rng: np.random.Generator) -> list[Clip]:
    """Complete 8-bar training clips, up to ``per_group`` of every role, corpus, metre and mode."""
    complete = (store.song_split[store.clip_song] == packed.TRAIN) & (store.clip_bars == BARS)
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


def choose_counts(store: packed.Store, per_role: int, rng: np.random.Generator) -> dict[str, list[list[int]]]:
    """Role -> notes in each bar of 8-bar training clips in 4/4, by their sum; corpora count as in training."""
    clips = ClipRows(store, packed.TRAIN, Recipe().corpus_weight)
    rows = clips.rows
    of_metre = store.bar_meter[store.bar_offset[store.clip_song[rows]] + store.clip_bar[rows]] == TIME_SIGNATURES.index("4/4")
    found = {}
    for index, role in enumerate(ROLES):
        here = np.flatnonzero((store.clip_role[rows] == index) & (store.clip_bars[rows] == BARS) & of_metre)
        share = clips.weight[here] / clips.weight[here].sum()
        chosen = rows[rng.choice(here, min(per_role, len(here)), replace=False, p=share)]
        found[role] = sorted((bar_counts(clip_at(store, [int(row)])) for row in chosen), key=sum)
    return found


def bar_counts(clip: Clip) -> list[int]:
    """Notes that start in each bar."""
    bars = [note.onset_ticks // clip.bar_ticks for note in clip.tracks[0].notes]
    return np.bincount(np.array(bars, np.int64), minlength=clip.num_measures).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.priors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--per-group", type=count, default=10, metavar="N", help="clips of one role, corpus, metre and mode (default 10)")
    parser.add_argument("--counts", type=count, default=128, metavar="N", help="clips of one role whose notes are counted (default 128)")
    args = parser.parse_args()
    store = packed.load(args.data)
    rows = choose_priors(store, args.per_group, np.random.default_rng(3))
    priors.save(args.out / "priors.json", [clip.meta() for clip in rows])
    counts = choose_counts(store, args.counts, np.random.default_rng(3))
    lines = [f'"{role}": {json.dumps(of_role, separators=(",", ":"))}' for role, of_role in counts.items()]
    (args.out / "counts.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(rows)} priors, counts of {', '.join(f'{len(of_role)} {role}' for role, of_role in counts.items())}")


if __name__ == "__main__":
    sys.exit(guarded(main))
