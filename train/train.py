"""Train a model: python -m train RECIPE --data clips.npz --out runs/x

One flat loop for every engine, read top to bottom: draw clips -> losses -> step -> EMA -> now and then evaluate and save.
What differs between the engines is a ``Task``. Needs torch, numpy, safetensors and tqdm only. The last state is resumed
when --out already holds one.
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
from torch import nn

from musediff import checkpoint
from musediff.data import store as packed
from train.recipes import RECIPES, Recipe
from train.registry import make_task
from train.tasks import Task

LOG_EVERY = 50


def optimisers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
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


class Run:
    """A run with everything that has to survive it: network, EMA, optimisers, the task's memory, chance, step and the time spent."""

    def __init__(self, recipe: Recipe, task: Task, out: Path, device: str) -> None:
        self.recipe, self.task, self.out, self.device = recipe, task, out, device
        self.network = task.network().to(device).train()
        self.shadow = task.network().to(device).eval()  # evaluates the EMA
        self.ema = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.opts = optimisers(self.network, recipe)
        self.step, self.before, self.start = 0, 0.0, time.monotonic()
        out.mkdir(parents=True, exist_ok=True)
        state = torch.load(out / "state.pt", map_location=device, weights_only=True) if (out / "state.pt").exists() else {}
        if state:
            self._resume(state)
        self.rng = np.random.default_rng(recipe.seed + self.step)
        self.generator = torch.Generator(device).manual_seed(recipe.seed + self.step)
        if "chance" in state:  # older runs draw anew from here
            self._resume_chance(state)

    def _resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema, self.step, self.before = state["ema"], state["step"], state["seconds"]
        for opt, saved in zip(self.opts, state["optimisers"], strict=True):
            opt.load_state_dict(saved)

    def _resume_chance(self, state: dict[str, Any]) -> None:
        """A run of so many steps ends the same, to the bit, however often it was interrupted (on a CPU)."""
        self.task.restore(state["task"])
        self.rng.bit_generator.state = state["chance"]["rng"]
        self.generator.set_state(state["chance"]["generator"].cpu())
        torch.set_rng_state(state["chance"]["dropout"].cpu())

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
        chance = {"rng": self.rng.bit_generator.state, "generator": self.generator.get_state(), "dropout": torch.get_rng_state()}
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimisers": optimisers,
            "step": self.step,
            "seconds": self.seconds,
            "task": self.task.state(),
            "chance": chance,
        }
        torch.save(state, self.out / "state.pt.part")
        (self.out / "state.pt.part").replace(self.out / "state.pt")
        about = {"recipe": asdict(self.recipe), "step": self.step, "minutes": round(self.seconds / 60, 1), "valid": valid}
        network = about["recipe"]["network"]
        checkpoint.save(self.out / "weights", self.task.engine, network, self.task.fingerprint, self.ema, {**about, **self.task.about})

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
    task = make_task(recipe, packed.load(data), device)
    run = Run(recipe, task, out, device)
    size = sum(p.numel() for p in run.network.parameters()) / 1e6
    print(f"{size:.2f} M parameters, {task.describe()}", flush=True)
    window: dict[str, list[float]] = {}
    with (out / "metrics.jsonl").open("a") as log:
        while True:
            finished = run.done >= 1
            if finished or (run.step and run.step % recipe.evaluate_every == 0):
                run.shadow.load_state_dict(run.ema)
                valid = task.evaluate(run.shadow)
                run.save(valid)
                report(log, run, {"valid": {name: round(value, 4) for name, value in valid.items()}})
                if finished:
                    return valid
            parts: dict[str, float] = {}
            for objective in task.objectives(run.step):
                batch = task.batch(run.rng, run.generator)
                with torch.autocast(device, torch.bfloat16):
                    loss, named = objective(run.network, batch, run.generator)
                loss.backward()
                parts |= named
            parts["norm"] = run.update()
            for name, value in parts.items():
                window.setdefault(name, []).append(value)
            if run.step % LOG_EVERY == 0:
                report(log, run, {name: round(sum(values) / len(values), 3) for name, values in sorted(window.items())})
                window = {}


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
