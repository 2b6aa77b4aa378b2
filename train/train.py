"""Train a model: python -m train RECIPE --data clips.npz --out runs/x

One flat loop, read top to bottom: draw clips -> augment, hide, damage -> losses -> step -> EMA -> now and then evaluate
and save. Needs torch, numpy, safetensors and tqdm only. The last state is resumed when --out already holds one.
"""

import argparse
import json
import math
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # must precede torch: 5x faster beside other processes

import numpy as np
import torch

from musediff import checkpoint
from musediff.data import store as packed
from musediff.engines.slots import vocab
from musediff.engines.slots.dataset import ClipSource, collate
from musediff.engines.slots.losses import count_loss, note_losses
from musediff.engines.slots.network import Slots, SlotsNetwork
from musediff.engines.slots.process import drop_conditions, noise
from train.recipes import RECIPES, Recipe


class Prepared:
    """Draws finished batches."""

    def __init__(self, source: ClipSource, recipe: Recipe, device: str, rng: np.random.Generator, generator: torch.Generator) -> None:
        self.source, self.recipe, self.device, self.rng, self.generator = source, recipe, device, rng, generator

        self.clips = source.batches(rng, recipe.tokens)

    def next(self) -> Slots:
        slots = collate(next(self.clips), self.rng, augment=True).to(self.device)
        drop_conditions(slots, self.generator)
        return slots


def optimisers(network: SlotsNetwork, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for the rest."""
    matrices = [p for name, p in network.named_parameters() if name.startswith("blocks") and p.ndim == 2 and recipe.muon_rate > 0]
    chosen = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    if not matrices:
        return [adam]
    return [adam, torch.optim.Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay, momentum=0.95)]


def rate(recipe: Recipe, step: int, done: float) -> float:
    """Share of the learning rate: linear warm-up, then cosine to ``last_rate`` as ``done`` goes from 0 to 1."""
    cosine = recipe.last_rate + (1 - recipe.last_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return min(1.0, (step + 1) / recipe.warm_up) * cosine


@torch.no_grad()
def evaluate(network: SlotsNetwork, source: ClipSource, device: str, batches: int = 6) -> dict[str, float]:
    """Losses on the same held-out clips, the same noise, every time."""
    rng, generator = np.random.default_rng(0), torch.Generator(device).manual_seed(0)
    sums: dict[str, float] = {}
    network.eval()
    for _ in range(batches):
        slots = collate(source.draw(rng, 64), rng, augment=False).to(device)
        with torch.autocast(device, torch.bfloat16):
            losses = note_losses(network, noise(slots, generator), generator)
            parts = dict(zip(vocab.FIELDS, losses.fields, strict=True)) | {
                "judge": losses.judge,
                "count": count_loss(network, slots, generator),
            }
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + float(value) / batches
    network.train()
    return sums


def save_state(
    out: Path, network: SlotsNetwork, ema: dict[str, torch.Tensor], opts: list, step: int, seconds: float, recipe: Recipe, valid: dict
) -> None:
    """Everything to go on from (state.pt, atomic) and the EMA weights as they would be shipped."""
    state = {"network": network.state_dict(), "ema": ema, "optimisers": [o.state_dict() for o in opts], "step": step, "seconds": seconds}
    torch.save(state, out / "state.pt.part")
    (out / "state.pt.part").replace(out / "state.pt")
    about = {"recipe": asdict(recipe), "step": step, "minutes": round(seconds / 60, 1), "valid": valid}
    checkpoint.save(out / "weights", "slots", asdict(recipe.network), vocab.fingerprint(), ema, about)


def train(recipe: Recipe, data: Path, out: Path, device: str, resume: bool = True) -> dict[str, float]:
    """Run a recipe to its end; returns the last held-out losses."""
    torch.manual_seed(recipe.seed)
    store = packed.load(data)
    source = ClipSource(store, packed.TRAIN, recipe.corpus_weight, recipe.tracks_share)
    held_out = ClipSource(store, packed.VALID, recipe.corpus_weight, recipe.tracks_share)
    network = SlotsNetwork(recipe.network).to(device).train()
    ema = {name: value.detach().clone() for name, value in network.state_dict().items()}
    opts = optimisers(network, recipe)
    step, before = 0, 0.0
    out.mkdir(parents=True, exist_ok=True)
    if resume and (out / "state.pt").exists():
        state = torch.load(out / "state.pt", map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        ema, step, before = state["ema"], state["step"], state["seconds"]
        for opt, saved in zip(opts, state["optimisers"], strict=True):
            opt.load_state_dict(saved)
    make = Prepared(
        source, recipe, device, np.random.default_rng(recipe.seed + step), torch.Generator(device).manual_seed(recipe.seed + step)
    )
    shadow = SlotsNetwork(recipe.network).to(device)
    print(
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {len(source.rows)} clips, {len(held_out.rows)} held out",
        flush=True,
    )
    log = (out / "metrics.jsonl").open("a")
    start, valid, window = time.monotonic(), {}, []
    while True:
        seconds = before + time.monotonic() - start
        done = max(step / recipe.steps, seconds / 60 / recipe.minutes)
        finished = done >= 1
        if finished or (step and step % recipe.evaluate_every == 0):
            shadow.load_state_dict(ema)
            valid = evaluate(shadow, held_out, device)
            save_state(out, network, ema, opts, step, seconds, recipe, valid)
            line = {"step": step, "minutes": round(seconds / 60, 2), "valid": {k: round(v, 4) for k, v in valid.items()}}
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")
            log.flush()
            if finished:
                return valid
        for opt in opts:
            base = recipe.muon_rate if isinstance(opt, torch.optim.Muon) else recipe.learning_rate
            for group in opt.param_groups:
                group["lr"] = base * rate(recipe, step, done)
        slots = make.next()
        with torch.autocast(device, torch.bfloat16):
            losses = note_losses(network, noise(slots, make.generator), make.generator)
        losses.total.backward()
        counts = None
        if step % recipe.count_every == 0:
            with torch.autocast(device, torch.bfloat16):
                counts = count_loss(network, make.next(), make.generator)
            counts.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        if not torch.isfinite(norm):
            raise SystemExit(f"step {step}: the gradient is not finite")
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        decay = min(recipe.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            names = [n for n, v in network.state_dict().items()]
            current = network.state_dict()
            torch._foreach_lerp_([ema[n] for n in names], [current[n] for n in names], 1 - decay)
        window.append([float(x) for x in losses.fields] + [float(losses.judge), float(norm)])
        step += 1
        if step % 50 == 0:
            means = np.mean(window, 0)
            window = []
            parts = {**dict(zip((*vocab.FIELDS, "judge", "norm"), means.round(3).tolist(), strict=True))}
            line = {"step": step, "minutes": round((before + time.monotonic() - start) / 60, 2), **parts}
            line["count"] = round(float(counts.detach()), 3) if counts is not None else None
            print(json.dumps(line), flush=True)
            log.write(json.dumps(line) + "\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True, help="packed clips, made by: python -m musediff data build")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an earlier state there is resumed")
    parser.add_argument("--minutes", type=float, help="end after this long instead of the recipe's time")
    parser.add_argument("--steps", type=int, help="end after this many steps")
    parser.add_argument("--tokens", type=int, help="size of a batch")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(arguments)
    recipe = RECIPES[args.recipe]()
    said = {name: getattr(args, name) for name in ("minutes", "steps", "tokens", "seed") if getattr(args, name) is not None}
    train(replace(recipe, **said), args.data, args.out, args.device)
