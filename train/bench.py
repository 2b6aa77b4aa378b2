"""Seconds and memory of generating beside the original's network, and of the metrics on 10,000 clips: python -m train.bench

The original's network is rebuilt in size only (BERT, 12 layers x 768, 2096 tokens, float32 as it runs there) with today's
fused attention, so it is faster here than the original's own code; 500 steps are its README's setting.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

# As the page and the command line have it; see app.py.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

import numpy as np
import torch
from torch import nn

from musediff.cli import guarded
from musediff.clip import Clip, Meta, Note, Track
from musediff.metrics.compare import vectors_of
from musediff.metrics.similarity import one_nn_accuracy, similarity_matrix
from musediff.pipeline import MusePipeline, Sampling

ORIGINAL_STEPS = 500
Made = TypeVar("Made")


def seconds(call: Callable[[int], object], times: int) -> np.ndarray:
    """Wall-clock seconds of ``times`` calls, after one to warm up."""
    call(0)
    spent = []
    for i in range(times):
        start = time.perf_counter()
        call(i + 1)
        spent.append(time.perf_counter() - start)
    return np.array(spent)


def peak_megabytes() -> float:
    """The most memory that the process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def random_clips(number: int, rng: np.random.Generator) -> list[Clip]:
    """Eight bars of 48 notes each, on sixteenths."""
    notes = np.stack((120 * rng.integers(128, size=(number, 48)), rng.integers(40, 90, (number, 48))), 2)
    beside = np.stack((60 * rng.integers(1, 17, (number, 48)), rng.integers(30, 110, (number, 48))), 2)
    columns = np.concatenate((notes, beside), 2).tolist()
    return [Clip(8, (Track(tuple(sorted(Note(*note) for note in clip))),)) for clip in columns]


def timed(name: str, call: Callable[[], Made]) -> Made:
    """What the call makes; its cost is printed."""
    wall, processor = time.perf_counter(), time.process_time()
    made = call()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name:58} processor {processor:6.2f} s   wall {wall:6.2f} s   peak {peak_megabytes():4.0f} MB")
    return made


def similarity(number: int) -> None:
    """MSIM of every clip of a set with every clip of another, and 1NNC of both together.

    Processor time is the sum over the threads: on two idle cores the clock shows no more than that, and no less than half.
    """
    rng = np.random.default_rng(0)
    sets = [random_clips(number, rng) for _ in range(2)]
    a, b = (timed(f"vectors of {number:,} clips", lambda clips=clips: vectors_of(clips)) for clips in sets)
    timed(f"1NNC of {number:,} + {number:,} clips, with its components", lambda: one_nn_accuracy(a, b))
    timed(f"MSIM matrix of {number:,} x {number:,} clips", lambda: similarity_matrix(a, b))


def original_forward(times: int) -> np.ndarray:
    """Seconds of one forward pass of a network of the original's size, on all cores."""
    torch.set_num_threads(os.cpu_count() or 1)
    layer = nn.TransformerEncoderLayer(768, 12, 3072, activation="gelu", batch_first=True)
    network = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False).eval()
    tokens = torch.randn(1, 2096, 768)
    with torch.inference_mode():
        return seconds(lambda _: network(tokens), times)


def line(name: str, spent: np.ndarray) -> None:
    p50, p95 = np.percentile(spent, (50, 95))
    print(f"{name:58} p50 {p50:7.3f} s   p95 {p95:7.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="default: the bundled ones")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--similarity", type=int, default=10_000, metavar="N", help="clips of each set (default 10000)")
    parser.add_argument("--only-similarity", action="store_true", help="leave the networks out")
    args = parser.parse_args()
    if not args.only_similarity:
        generating(args)
    similarity(args.similarity)


def generating(args: argparse.Namespace) -> None:
    """One clip, four clips, and a network of the original's size."""
    pipeline = MusePipeline.load(args.weights)
    print(f"{pipeline.description}; {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    stepped = pipeline.engine.stepped
    ways = {"as usual": Sampling(), "one draft": Sampling(drafts=1), "guidance 1.5": Sampling(guidance=1.5)}
    ways |= {f"{stepped}, 16 steps": Sampling(steps=16, sampler=stepped)} if stepped else {}
    spent: dict[str, np.ndarray] = {}
    for role in ("main_melody", "accompaniment"):
        meta = Meta(num_measures=8, time_signature="4/4", track_role=role)
        for way, sampling in ways.items():
            spent[way] = seconds(lambda i, m=meta, s=sampling: pipeline.generate(m, replace(s, seed=i)), args.times)
            line(f"one {role}, 8 bars, {way}", spent[way])
    line("four accompaniments at once", seconds(lambda i: pipeline.generate(meta, Sampling(seed=i, variants=4)), args.times))
    print(f"peak memory of the process so far: {peak_megabytes():.0f} MB")
    original = original_forward(3)
    line("one forward pass of a network of the original's size", original)
    ratio = float(np.median(original)) * ORIGINAL_STEPS / float(np.median(spent["as usual"]))
    print(f"{ORIGINAL_STEPS} such passes take {ratio:,.0f} times as long as one accompaniment here")


if __name__ == "__main__":
    sys.exit(guarded(main))
