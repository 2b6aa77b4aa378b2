"""A run with everything that has to survive it, its steps, and what is written of it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musediff import checkpoint
from musediff.errors import BadRequest
from train import states
from train.chance import Chance
from train.compiled import compile_blocks, compiling
from train.feed import AHEAD, Feed
from train.muon import TogetherMuon
from train.ranks import ALONE, Ranks
from train.recipes import Recipe
from train.shard import as_held, optimiser_as_held, own, share_out, whole
from train.tasks import Found, Objective, Task

LAST, BEST = "weights", "weights-best"  # folders of the weights after the last save, and of those with the best held-out loss
# One batch may be bad, and a few may follow while a large gradient calms down. After so many different batches it is the
# weights or the settings, which no further batch will mend.
MOST_SKIPPED = 10


class Training(nn.Module):
    """A network whose ``forward`` is an objective, as ``Ranks.parallel`` needs it: the losses call several of its methods."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, objective: Objective, batch: Any, generator: torch.Generator) -> Found:
        return objective.losses(self.network, batch, generator)


def optimisers(network: nn.Module, recipe: Recipe, fused: bool = False) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for the rest; ``fused``, for a GPU: many at once in one kernel."""
    matrices = [p for name, p in network.named_parameters() if name.startswith("blocks") and p.ndim == 2 and recipe.muon_rate > 0]
    chosen = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=fused)
    if not matrices:
        return [adam]
    # On a CPU alone is faster (768 x 256: 19 against 22 ms); parts of matrices are put together one by one.
    muon = TogetherMuon if fused and not recipe.shard else torch.optim.Muon
    return [adam, muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay, momentum=0.95)]


def rate(recipe: Recipe, step: int, done: float) -> float:
    """Share of the learning rate: linear warm-up, then cosine to ``last_rate`` as ``done`` goes from 0 to 1."""
    cosine = recipe.last_rate + (1 - recipe.last_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return min(1.0, (step + 1) / recipe.warm_up) * cosine


class Run:
    """Network, averages (EMA), optimisers, the task's memory, chance, step and the time spent. All ranks hold the same but for the
    chance. ``state``: what an earlier part left, see ``states.find``; ``weights``: what to begin with, without a state."""

    def __init__(
        self, recipe: Recipe, task: Task, out: Path, device: str, ranks: Ranks = ALONE, state: Mapping[str, Any] | None = None,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.task, self.out, self.device, self.ranks = recipe, task, out, device, ranks
        torch.manual_seed(recipe.seed)  # the same weights on every rank
        self.network = task.network().to(device).train()
        begun = state["network"] if state else weights
        if begun:
            self.network.load_state_dict(begun)
        self.training = self._spread(Training(self.network))
        self.shadow = task.network().to(device).eval()  # evaluates the averages
        self.opts = optimisers(self.network, recipe, fused=torch.device(device).type == "cuda")
        self.step, self.before, self.start = 0, 0.0, time.monotonic()
        self.skipped = self.skipped_in_a_row = 0
        self.lr = 0.0  # of the last step
        self.saved = self.evaluated = -1  # steps
        self.ema = recipe.ema[0]  # the average that is shipped
        self.valid: dict[str, float] = {}  # its held-out losses, and all averages'
        self.losses: dict[float, float] = {}
        self.best: dict[str, float] = {"step": -1, "loss": math.inf}
        self.emas = {rate: {name: value.detach().clone() for name, value in self.network.state_dict().items()} for rate in recipe.ema}
        if state:
            self._resume(state)
        self.chance = Chance(device, recipe.seed, self.step, ranks.rank)
        if state:
            self._resume_chance(state["chance"])
        self.feed = Feed(task, self.chance.rng, AHEAD if torch.device(device).type == "cuda" else 0)

    def _spread(self, training: nn.Module) -> nn.Module:
        """Over the ranks, its blocks compiled if that is asked for."""
        blocks = getattr(self.network, "blocks", nn.ModuleList())
        if compiling(self.recipe.compile, self.device):
            compile_blocks(blocks)
        if self.recipe.shard and self.ranks.several:
            share_out(training, blocks, self.ranks.size)
            return training
        return self.ranks.parallel(training, self.task.partial)

    def _resume(self, state: Mapping[str, Any]) -> None:
        for rate in [rate for rate in self.emas if rate in state["emas"]]:  # others begin with the weights
            before = state["emas"][rate]
            self.emas[rate] = {name: as_held(before[name].to(self.device), held) for name, held in self.emas[rate].items()}
        self.step, self.before, self.skipped = state["step"], state["seconds"], state["skipped"]
        self.ema = state["ema"] if state["ema"] in self.emas else self.ema
        self.saved, self.evaluated = state["step"], state["evaluated"]
        self.valid, self.losses, self.best = dict(state["valid"]), dict(state["losses"]), dict(state["best"])
        for opt, saved in zip(self.opts, state["optimisers"], strict=True):
            opt.load_state_dict(optimiser_as_held(saved, opt))
        self.task.restore(state["task"])

    def _resume_chance(self, chances: Sequence[dict[str, Any]]) -> None:
        """A run of so many steps ends the same, to the bit, however often it was interrupted (on a CPU). With another number
        of ranks its chance begins anew, from this step."""
        if len(chances) == self.ranks.size and self.chance.fits(chances[0]):
            self.chance.restore(chances[self.ranks.rank])
            self.task.go_to(chances[self.ranks.rank]["place"])

    @property
    def seconds(self) -> float:
        """Spent so far, earlier parts of the run included."""
        return self.before + time.monotonic() - self.start

    def done(self) -> float:
        """Share of the run, by steps or by the first rank's clock, whichever is nearer to its end."""
        seconds = self.ranks.from_first(lambda: self.seconds)
        return max(self.step / self.recipe.steps, seconds / 60 / self.recipe.minutes)

    def line(self) -> dict[str, Any]:
        """What a line of the log begins with; the steps that were skipped only if there are any."""
        skipped = {"skipped": self.skipped} if self.skipped else {}
        return {"step": self.step, "minutes": round(self.seconds / 60, 2), **skipped}

    def schedule(self, done: float) -> dict[str, float]:
        """The learning rate of the last step (Muon's follows the same curve), and how long the run will take still."""
        left = {"eta_minutes": round(self.seconds / 60 * (1 - done) / done, 2)} if done else {}
        return {"lr": float(f"{self.lr:.4g}"), **left}

    def evaluate(self) -> bool:
        """Every average on held-out clips, by the first rank, which writes the best of them as it would be shipped. Says whether it
        is the best so far.

        Raises:
            BadRequest: the folder cannot be written.
        """
        averages = whole(self.emas)
        found = self.ranks.from_first(lambda: {rate: self._losses(average) for rate, average in averages.items()})
        self.losses = {rate: valid["loss"] for rate, valid in found.items()}
        self.ema = min(found, key=lambda rate: self.losses[rate] if math.isfinite(self.losses[rate]) else math.inf)
        self.valid, self.evaluated = found[self.ema], self.step
        better = self.valid["loss"] < self.best["loss"]
        if better:
            self.best = {"step": self.step, "loss": self.valid["loss"], "ema": self.ema}
        self.ranks.from_first(lambda: self._ship(averages[self.ema], (LAST, BEST) if better else (LAST,)))
        return better

    def _losses(self, average: dict[str, torch.Tensor]) -> dict[str, float]:
        self.shadow.load_state_dict(average)
        return self.task.evaluate(self.shadow)

    def told(self) -> dict[str, Any]:
        """The line of an evaluation: the losses of the best average and, if there are several, what each has."""
        several = {"ema": {f"{rate:.10g}": round(loss, 4) for rate, loss in self.losses.items()}} if len(self.emas) > 1 else {}
        return self.line() | {"valid": {name: round(value, 4) for name, value in self.valid.items()}} | several

    def save(self) -> None:
        """Everything to go on from; and the weights, if an evaluation has not just done so.

        Raises:
            BadRequest: the folder cannot be written; what was saved before is whole.
        """
        chances = self.ranks.gather({**self.chance.state(), **self.feed.state()})
        held = {"network": self.network.state_dict(), "emas": self.emas, "optimisers": [opt.state_dict() for opt in self.opts]}
        held = whole(held)
        self.ranks.from_first(lambda: self._write({**held, "chance": chances}))
        self.saved = self.step

    def _write(self, held: dict[str, Any]) -> None:
        state = {
            **held,
            "format": states.FORMAT,
            "engine": self.task.engine,
            "recipe": asdict(self.recipe),
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "evaluated": self.evaluated,
            "ema": self.ema,
            "valid": self.valid,
            "losses": self.losses,
            "best": self.best,
            "task": self.task.state(),
        }
        if self.evaluated < self.step:
            self._ship(held["emas"][self.ema], (LAST,))
        with states.writing(self.out):
            states.write(state, self.out, self.recipe.keep)  # last: what is not in it is done again

    def _ship(self, weights: Mapping[str, torch.Tensor], folders: tuple[str, ...]) -> None:
        recipe = asdict(self.recipe)
        about = {"recipe": recipe, "step": self.step, "minutes": round(self.seconds / 60, 1), "ema": self.ema, "valid": self.valid}
        about |= {"evaluated": self.evaluated, **self.task.about}
        with states.writing(self.out):
            for folder in folders:
                checkpoint.save(self.out / folder, self.task.engine, recipe["network"], self.task.fingerprint, weights, about)

    def update(self, done: float, finite: bool) -> float | None:
        """Clip the gradient, step, move the EMA. Returns the norm of the gradient.

        A step whose losses or gradient are not ``finite`` on some rank is skipped and counted by all, who hold the same sum of
        gradients: None.

        Raises:
            BadRequest: it was one of ``MOST_SKIPPED`` in a row.
        """
        most = self.recipe.clip if self.recipe.clip > 0 else math.inf
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.network.parameters(), most)))
        usable = finite and math.isfinite(norm)
        if usable:
            self._move(rate(self.recipe, self.step, done))
        for opt in self.opts:
            opt.zero_grad(set_to_none=True)
        self.step += 1
        self.skipped += not usable
        self.skipped_in_a_row = 0 if usable else self.skipped_in_a_row + 1
        if self.skipped_in_a_row == MOST_SKIPPED:
            what = f"In {MOST_SKIPPED} steps in a row, the last being {self.step}, the losses or the gradient were not finite numbers."
            self.ranks.stop(BadRequest(f"{what} The last states are in {self.out}: go on from it with a lower --lr and --muon-rate."))
        return norm if usable else None

    def _move(self, share: float) -> None:
        self.lr = self.recipe.learning_rate * share
        for opt in self.opts:
            base = self.recipe.muon_rate if isinstance(opt, torch.optim.Muon) else self.recipe.learning_rate
            for group in opt.param_groups:
                group["lr"] = base * share
            opt.step()
        current = self.network.state_dict()
        for ema, average in self.emas.items():
            decay = min(ema, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_([own(average[name]) for name in current], [own(value) for value in current.values()], 1 - decay)
