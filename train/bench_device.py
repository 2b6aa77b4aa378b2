"""What one device does: python -m train.bench_device RECIPE --data clips.npz --weights WEIGHTS

Steps of a recipe (share of the device's peak, memory, which kernels take the time), and clips that weights write in one batch.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from torch.profiler import ProfilerActivity, profile

from musediff.cli import guarded
from musediff.clip import Clip, Track
from musediff.data import store as packed
from musediff.engines.base import Request
from musediff.engines.slots.engine import SlotsEngine
from train.log import Window
from train.notice import Notice
from train.pace import Pace
from train.ranks import ALONE
from train.recipes import RECIPES
from train.registry import make_task
from train.run import Run
from train.train import learn, usable

WARM_UP, PROFILED = 20, 4  # steps; in so many steps every objective of the slots engine has its turn
# What the name of a kernel says it does; the first that fits.
KINDS = (
    ("attention", ("flash", "fmha", "attention")),  # "fmha_cutlassB…" among them
    ("matrix products", ("gemm", "nvjet", "cutlass", "matmul", "bmm", "addmm", "cublas")),
    ("gradients of embeddings", ("embedding_backward", "embedding_dense", "compute_grad_weight", "sum_and_scatter", "krn_partial")),
    ("sorting", ("sort", "radix", "merge")),
    ("gather and scatter", ("gather", "scatter", "index", "masked", "nonzero", "cub")),
    ("compiled", ("triton",)),
    ("optimiser", ("multi_tensor", "foreach", "adam")),
    ("reductions", ("reduce", "softmax", "norm")),
    ("copies", ("memcpy", "memset", "copy")),
)


def steps(name: str, data: Path, compile_blocks: str, tokens: int | None, seconds: float) -> None:
    """Steps of a recipe, without evaluations. ``tokens`` of a batch: as in the recipe if left out."""
    device = usable(None)
    recipe = RECIPES[name]()
    recipe = replace(recipe, compile=compile_blocks, tokens=tokens or recipe.tokens)
    task = make_task(recipe, packed.load(data), device)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        run = Run(recipe, task, Path(folder), device)
        stack.enter_context(closing(run.feed))
        pace = Pace(run.network, device, ALONE)
        begun = time.perf_counter()
        for _ in range(WARM_UP):
            learn(run, pace, {}, 0.1, Notice())
        first = time.perf_counter() - begun
        print(f"{name}, compile {compile_blocks}: first {WARM_UP} steps {first:.1f} s; peak {pace.peak / 1e12:.0f} TFLOP/s")
        pace.line(run.feed.waited)
        begun, number = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            learn(run, pace, {}, 0.1, Notice())
            number += 1
        spent = time.perf_counter() - begun
        print(f"{number} steps in {spent:.1f} s, {1000 * spent / number:.0f} ms each: {pace.line(run.feed.waited)}")
        if device == "cuda":
            print(f"most memory of the device: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
            for line in kernels(run, pace):
                print(line)


def kernels(run: Run, pace: Pace) -> Iterator[str]:
    """Where the time of a step goes."""
    window: Window = {}
    torch.cuda.synchronize()
    begun = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as told:
        for _ in range(PROFILED):
            learn(run, pace, window, 0.1, Notice())
        torch.cuda.synchronize()
        spent = 1000 * (time.perf_counter() - begun) / PROFILED
    each = {event.key: event.self_device_time_total / 1000 / PROFILED for event in told.key_averages()}
    busy = sum(each.values())
    yield f"a step under the profiler {spent:.1f} ms, kernels {busy:.1f} ms"
    by_kind: dict[str, float] = {}
    for name, ms in each.items():
        by_kind[kind(name)] = by_kind.get(kind(name), 0.0) + ms
    for what, ms in sorted(by_kind.items(), key=lambda item: -item[1]):
        yield f"  {what:30} {ms:7.2f} ms {ms / busy:6.1%}"
    for name, ms in sorted(each.items(), key=lambda item: -item[1])[:25]:
        yield f"    {ms:7.2f} ms  {name[:110]}"


def kind(kernel: str) -> str:
    """See ``KINDS``."""
    lower = kernel.lower()
    return next((what for what, words in KINDS if any(word in lower for word in words)), "elementwise")


def clips(weights: Path, number: int) -> None:
    """Clips of eight bars, one draft each, all with the same metadata, from the request to notes of a clip."""
    device = usable(None)
    engine = SlotsEngine.load(weights)
    engine.network.to(device)
    for role, instrument in (("main_melody", "acoustic_piano"), ("accompaniment", "acoustic_piano")):
        clip = Clip(8, (Track((), role, instrument, None, None, None, role),), "4/4", 100, "cmajor", "newage", "standard")
        request = Request(mode="generate", clip=clip, variants=number, drafts=1)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        state = engine.prepare(request, torch.Generator().manual_seed(1))
        with torch.inference_mode():
            for _ in engine.steps(state):
                pass
        written = time.perf_counter() - begun
        made = engine.finish(state)
        spent = time.perf_counter() - begun
        notes = sum(len(one.tracks[0].notes) for one in made) / number
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device == "cuda" else ""
        rates = f"{number / spent:.0f} clips/s ({number / written:.0f} as tokens)"
        print(f"{role}: {number} at once, {notes:.0f} notes each: {rates}{memory}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.bench_device", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, default=Path("build/clips.npz"), metavar="FILE.npz")
    parser.add_argument("--compile", choices=("yes", "no"), default="yes")
    parser.add_argument("--tokens", type=int, metavar="N", help="of a batch (default: as in the recipe)")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="of steps (default 20)")
    parser.add_argument("--weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--clips", type=int, default=4096, metavar="N", help="of one batch")
    args = parser.parse_args()
    if not (args.recipe or args.weights):
        parser.error("name a recipe, --weights, or both")
    if args.recipe:
        steps(args.recipe, args.data, args.compile, args.tokens, args.seconds)
    if args.weights:
        clips(args.weights, args.clips)


if __name__ == "__main__":
    sys.exit(guarded(main))
