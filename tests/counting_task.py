"""A training task of one number, for what the loop does around it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from train.recipes import SlotsRecipe, slots_tiny
from train.tasks import Drawn, Found, Objective
from train.train import train

FOREVER = 1e12


class OneNumber(nn.Module):
    """w; the loss w x has the gradient x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))


@dataclass
class Counting:
    """A ``Task`` whose batches are 1, 2, 3, …"""

    batches: Iterator[int]
    engine: str = "counting"
    partial: bool = False
    fingerprint: str = ""

    @property
    def about(self) -> Mapping[str, Any]:
        return {}

    def describe(self) -> str:
        return "numbers"

    def network(self) -> OneNumber:
        return OneNumber()

    def batch(self, rng: np.random.Generator) -> int:
        return next(self.batches)

    def objectives(self, step: int) -> tuple[Objective, ...]:
        return (Objective(self._draw, lambda network, x, _: Found(network.w * x, {"x": float(x)})),)

    def _draw(self, x: int, *_: object) -> Drawn:
        return Drawn(x, torch.ones(1), torch.tensor([x]))

    def learn(self, told: np.ndarray) -> None:
        assert told.shape == (0, 2)

    def evaluate(self, network: OneNumber) -> dict[str, float]:
        return {"loss": abs(float(network.w.detach()) - 0.99)}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        assert not state

    def place(self) -> dict[str, Any]:
        return {}

    def go_to(self, place: Mapping[str, Any]) -> None:
        assert not place


RECIPE = replace(slots_tiny(), minutes=FOREVER, steps=4, log_every=1, evaluate_every=100, samples=0)


def run(
    recipe: SlotsRecipe, out: Path, monkeypatch: pytest.MonkeyPatch, resume: str = "auto", init: Path | None = None
) -> list[dict[str, Any]]:
    """Train it; returns all lines of the log."""
    monkeypatch.setattr("train.train.make_task", lambda *_: Counting(count(1)))
    monkeypatch.setattr("train.train.packed.load", lambda _: None)
    monkeypatch.setattr("train.pace.PEAK_SECONDS", 1e-9)
    train(recipe, Path("none"), out, "cpu", resume=resume, init=init)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
