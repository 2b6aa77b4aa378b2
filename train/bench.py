"""Seconds and memory of generating, beside the original's network, in one run: python -m train.bench

The original's network is rebuilt in size only (BERT, 12 layers x 768, 2096 tokens, float32 as it runs there) with today's
fused attention, so it is faster here than the original's own code; 500 steps are its README's setting.
"""

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # every new length fills it; 1,024 entries cost 200 MB and more, measured

import numpy as np
import torch
from torch import nn

from musediff.clip import Meta
from musediff.pipeline import MusePipeline, Sampling

ORIGINAL_STEPS = 500


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


def original_forward(times: int) -> np.ndarray:
    """Seconds of one forward pass of a network of the original's size."""
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
    args = parser.parse_args()
    pipeline = MusePipeline.load(args.weights)
    print(f"{pipeline.description}; {torch.get_num_threads()} threads, torch {torch.__version__}")
    one = np.zeros(0)
    for role in ("main_melody", "accompaniment"):
        for guidance in (1.0, 1.5):
            meta = Meta(num_measures=8, time_signature="4/4", track_role=role)
            run = lambda i, g=guidance, m=meta: pipeline.generate(m, Sampling(seed=i, steps=16, guidance=g))  # noqa: E731
            spent = seconds(run, args.times)
            line(f"one {role}, 8 bars, 16 steps, guidance {guidance}", spent)
            one = spent if guidance == 1.0 else one
    four = seconds(lambda i: pipeline.generate(meta, Sampling(seed=i, steps=16, guidance=1.0, variants=4)), args.times)
    line("four accompaniments at once, guidance 1.0", four)
    print(f"peak memory of the process so far: {peak_megabytes():.0f} MB")
    original = original_forward(3)
    line("one forward pass of a network of the original's size", original)
    ratio = float(np.median(original)) * ORIGINAL_STEPS / float(np.median(one))
    print(f"{ORIGINAL_STEPS} such passes take {ratio:,.0f} times as long as one accompaniment here")


if __name__ == "__main__":
    main()
