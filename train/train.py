"""Train a model: python -m train RECIPE --data clips.npz --out runs/x

One flat loop for every engine, read top to bottom: draw clips -> losses -> step -> EMA -> now and then evaluate and save.
What differs between the engines is a ``Task``. Needs torch, numpy, safetensors and tqdm only. The last state is resumed
when --out already holds one. Every setting has the name that the original gives it, if it has one there; a JSON file of
settings and flags combine, and flags win.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # must precede torch: 5x faster beside other processes

import numpy as np
import torch
from torch import nn

from musediff import checkpoint
from musediff.cli import main as command
from musediff.cli import with_dashes
from musediff.data import store as packed
from musediff.errors import BadRequest
from train.board import Board
from train.choose import check_resumed, choose, unknown
from train.recipes import RECIPES, Recipe
from train.registry import make_task
from train.settings import FIXED, SETTINGS, WORD_KINDS, WORDS, Setting, kinds
from train.tasks import Task


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
        most = self.recipe.clip if self.recipe.clip > 0 else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), most))
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
    """Run a recipe to its end, going on from the state in ``out`` if there is one; returns the last held-out losses.

    Raises:
        BadRequest: the state in ``out`` is of other settings.
        BadData: the data cannot be read.
    """
    check_resumed(recipe, out)
    torch.manual_seed(recipe.seed)
    task = make_task(recipe, packed.load(data), device)
    run = Run(recipe, task, out, device)
    size = sum(p.numel() for p in run.network.parameters()) / 1e6
    print(f"{size:.2f} M parameters, {task.describe()}", flush=True)
    window: dict[str, list[float]] = {}
    valid: dict[str, float] = {}
    with (out / "metrics.jsonl").open("a") as log, closing(Board(out, run.step)) as board:
        while True:
            finished = run.done >= 1
            evaluating = finished or due(run.step, recipe.evaluate_every)
            if evaluating:
                run.shadow.load_state_dict(run.ema)
                valid = task.evaluate(run.shadow)
            if finished or due(run.step, recipe.save_every or recipe.evaluate_every):
                run.save(valid)
            if evaluating:
                report(log, board, run, {"valid": {name: round(value, 4) for name, value in valid.items()}})
            if finished:
                return valid
            for objective in task.objectives(run.step):
                for _ in range(recipe.accumulate):
                    batch = task.batch(run.rng, run.generator)
                    with torch.autocast(device, torch.bfloat16):
                        loss, named = objective(run.network, batch, run.generator)
                    (loss / recipe.accumulate).backward()
                    gather(window, named)
            gather(window, {"norm": run.update()})
            if due(run.step, recipe.log_every):
                report(log, board, run, {name: round(sum(values) / len(values), 3) for name, values in sorted(window.items())})
                window = {}


def due(step: int, every: int) -> bool:
    return step > 0 and step % every == 0


def gather(window: dict[str, list[float]], named: Mapping[str, float]) -> None:
    """More values of each name."""
    for name, value in named.items():
        window.setdefault(name, []).append(value)


def report(log: TextIO, board: Board, run: Run, values: dict[str, Any]) -> None:
    """One line on the screen and in metrics.jsonl, and the same on the board."""
    line = {"step": run.step, "minutes": round(run.seconds / 60, 2), **values}
    text = json.dumps(line)
    print(text, flush=True)
    log.write(text + "\n")
    log.flush()
    board.add(line)


def main(arguments: list[str] | None = None) -> None:
    """Train as the arguments say, or print the settings that they amount to.

    Raises:
        MuseError: what the user can mend.
    """
    if arguments is None:
        sys.exit(command(["train", *sys.argv[1:]]))  # with its exit codes
    args, left = build_parser().parse_known_args(with_dashes(arguments))
    if left:
        raise unknown(left[0], left[0].split("=")[0].strip("-").replace("-", "_"))
    flags = {name: value for name, value in vars(args).items() if name not in ("recipe", "config_json", "print_config")}
    chosen = choose(args.recipe, args.config_json, flags)
    for note in chosen.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.print_config:
        print(json.dumps(chosen.complete(), indent=1, ensure_ascii=False))
        return
    missing = [name for name in ("data", "out") if name not in chosen.run]
    if missing:
        raise BadRequest(f"--{missing[0]} is missing: training needs --data FILE.npz (musediff data build) and --out FOLDER.")
    train(chosen.recipe, Path(chosen.run["data"]), Path(chosen.run["out"]), usable(chosen.run.get("device")))


def usable(device: str | None) -> str:
    """The device that is asked for, else the best one.

    Raises:
        BadRequest: torch cannot use it here.
    """
    there = [*(["cuda"] if torch.cuda.is_available() else []), "cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    if device is not None and device not in there:
        raise BadRequest(f"--device {device[:40]!r} cannot be used here. Choose from {', '.join(there)}.")
    return device or there[0]


def build_parser() -> argparse.ArgumentParser:
    """Values stay text: flags and the JSON file are read by the same code."""
    parser = argparse.ArgumentParser(
        prog="musediff train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--data", "--data-dir", metavar="FILE.npz", help="packed clips, made by: musediff data build")
    parser.add_argument("--out", "--checkpoint-path", metavar="DIR", help="folder of the run; an earlier state there is resumed")
    parser.add_argument("--device", metavar="NAME", help="cuda or cpu (default: cuda if there is one)")
    parser.add_argument("--config-json", type=Path, metavar="FILE", help="settings by name; flags win over it")
    parser.add_argument("--print-config", action="store_true", help="print all settings as JSON for --config-json, and stop")
    known = {name: kinds(type(make())) for name, make in RECIPES.items()}
    groups = {frozenset(known): parser.add_argument_group("settings of every recipe", "left out: as in the recipe (--print-config)")}
    for setting in (*SETTINGS, *WORDS):
        having = frozenset(name for name, fields in known.items() if setting.field in fields)
        if having not in groups:
            groups[having] = parser.add_argument_group(f"settings of {', '.join(sorted(having))}")
        (kind, *_) = (known[name][setting.field] for name in sorted(having))
        add_setting(groups[having], setting, WORD_KINDS.get(setting.name, kind))
    for name in FIXED:
        parser.add_argument("--" + name.replace("_", "-"), nargs="?", const="yes", help=argparse.SUPPRESS)
    return parser


def add_setting(group: "argparse._ArgumentGroup", setting: Setting, kind: type) -> None:
    names: dict[type, str] = {bool: "yes|no", int: "N", float: "X", dict: "JSON", str: "|".join(setting.choices) or "TEXT"}
    shown = names[kind]
    if kind is bool:
        group.add_argument(*setting.flags, dest=setting.name, nargs="?", const="yes", metavar=shown, help=setting.about)
    else:
        group.add_argument(*setting.flags, dest=setting.name, metavar=shown, help=setting.about)
