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
from typing import Any, TextIO

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

LOG_EVERY = 50


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


class Run:
    """A run with everything that has to survive it: network, EMA, optimisers, step and the time spent."""

    def __init__(self, recipe: Recipe, out: Path, device: str) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        self.network = SlotsNetwork(recipe.network).to(device).train()
        self.shadow = SlotsNetwork(recipe.network).to(device)  # evaluates the EMA
        self.ema = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.opts = optimisers(self.network, recipe)
        self.step, self.before, self.start = 0, 0.0, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        if (out / "state.pt").exists():
            self._resume(torch.load(out / "state.pt", map_location=device, weights_only=True))

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema, self.step, self.before = state["ema"], state["step"], state["seconds"]
        for opt, saved in zip(self.opts, state["optimisers"], strict=True):
            opt.load_state_dict(saved)

    @property
    def seconds(self) -> float:
        """Spent so far, earlier parts of the run included."""
        return self.before + time.monotonic() - self.start

    @property
    def done(self) -> float:
        """Share of the run, by steps or by time, whichever is nearer to its end."""
        return max(self.step / self.recipe.steps, self.seconds / 60 / self.recipe.minutes)

    def save(self, valid: dict[str, float]) -> None:
        """Everything to go on from (state.pt, atomic) and the EMA weights as they would be shipped."""
        optimisers = [o.state_dict() for o in self.opts]
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimisers": optimisers,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, self.out / "state.pt.part")
        (self.out / "state.pt.part").replace(self.out / "state.pt")
        about = {"recipe": asdict(self.recipe), "step": self.step, "minutes": round(self.seconds / 60, 1), "valid": valid}
        checkpoint.save(self.out / "weights", "slots", asdict(self.recipe.network), vocab.fingerprint(), self.ema, about)

    def update(self) -> float:
        """Clip the gradient, step, move the EMA. Returns the norm of the gradient."""
        share = rate(self.recipe, self.step, self.done)
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip))
        if not math.isfinite(norm):
            raise SystemExit(f"step {self.step}: the gradient is not finite; the last state is in {self.out}")
        for opt in self.opts:
            base = self.recipe.muon_rate if isinstance(opt, torch.optim.Muon) else self.recipe.learning_rate
            for group in opt.param_groups:
                group["lr"] = base * share
            opt.step()
            opt.zero_grad(set_to_none=True)
        decay = min(self.recipe.ema, (self.step + 1) / (self.step + 10))
        current = self.network.state_dict()
        torch._foreach_lerp_([self.ema[name] for name in current], list(current.values()), 1 - decay)
        self.step += 1
        return norm


def train(recipe: Recipe, data: Path, out: Path, device: str) -> dict[str, float]:
    """Run a recipe to its end, going on from the state in ``out`` if there is one; returns the last held-out losses."""
    torch.manual_seed(recipe.seed)
    store = packed.load(data)
    source = ClipSource(store, packed.TRAIN, recipe.corpus_weight, recipe.tracks_share)
    held_out = ClipSource(store, packed.VALID, recipe.corpus_weight, recipe.tracks_share)
    run = Run(recipe, out, device)
    rng, generator = np.random.default_rng(recipe.seed + run.step), torch.Generator(device).manual_seed(recipe.seed + run.step)
    batches = source.batches(rng, recipe.tokens)

    def draw() -> Slots:
        slots = collate(next(batches), rng, augment=True).to(device)
        drop_conditions(slots, generator)
        return slots

    size = sum(p.numel() for p in run.network.parameters()) / 1e6
    print(f"{size:.2f} M parameters, {len(source.rows)} clips, {len(held_out.rows)} held out", flush=True)
    window: list[list[float]] = []
    with (out / "metrics.jsonl").open("a") as log:
        while True:
            finished = run.done >= 1
            if finished or (run.step and run.step % recipe.evaluate_every == 0):
                run.shadow.load_state_dict(run.ema)
                valid = evaluate(run.shadow, held_out, device)
                run.save(valid)
                report(log, run, {"valid": {name: round(value, 4) for name, value in valid.items()}})
                if finished:
                    return valid
            slots = draw()
            with torch.autocast(device, torch.bfloat16):
                losses = note_losses(run.network, noise(slots, generator), generator)
            losses.total.backward()
            counts = float("nan")
            if run.step % recipe.count_every == 0:
                with torch.autocast(device, torch.bfloat16):
                    loss = count_loss(run.network, draw(), generator)
                loss.backward()
                counts = float(loss.detach())
            window.append([*map(float, losses.fields), float(losses.judge), run.update(), counts])
            if run.step % LOG_EVERY == 0:
                report(log, run, dict(zip((*vocab.FIELDS, "judge", "norm", "count"), np.nanmean(window, 0).round(3).tolist(), strict=True)))
                window = []


def report(log: TextIO, run: Run, values: dict[str, Any]) -> None:
    """One line on the screen and in metrics.jsonl."""
    line = json.dumps({"step": run.step, "minutes": round(run.seconds / 60, 2), **values})
    print(line, flush=True)
    log.write(line + "\n")
    log.flush()


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
