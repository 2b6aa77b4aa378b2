"""What the training loop asks of an engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

NOTHING = np.empty((0, 2))
NO_CLIPS = torch.zeros(0)


class Drawn(NamedTuple):
    """A batch with its noise. The batch goes only to the task that made it.

    The tokens are known before the losses, so that every process can divide by those of all: the loss of a step is a mean
    over all tokens of all processes and passes, wherever they lie.
    """

    batch: Any
    tokens: Tensor  # (P,) that each part of the loss is a mean over
    lengths_B: Tensor = NO_CLIPS  # tokens that the network sees of each clip, without padding


class Found(NamedTuple):
    """Losses of one batch."""

    sums: Tensor  # (P,) over the tokens of the batch; each divided by its tokens, their sum is what is trained
    named: dict[str, float]  # means for the log
    told: np.ndarray = NOTHING  # rows for ``Task.learn``


@dataclass(frozen=True, slots=True)
class Objective:
    """One thing that a step trains, in one or several passes."""

    draw: Callable[[Any, np.random.Generator, torch.Generator], Drawn]  # what ``Task.batch`` gave, on the device and with noise
    losses: Callable[[Any, Any, torch.Generator], Found]  # (network, batch, generator)


class Task(Protocol):
    """One engine's side of a run: its network, its clips, its losses. Whatever is drawn comes from the generators that are given."""

    engine: str  # its name in the checkpoint
    fingerprint: str  # of its vocabulary
    partial: bool  # whether a step may leave parts of the network out
    about: Mapping[str, Any]  # what loading needs beside the network's settings

    def describe(self) -> str:
        """The data, in words."""
        ...

    def network(self) -> nn.Module:
        """With random weights. Its ``config`` is stored beside them."""
        ...

    def batch(self, rng: np.random.Generator) -> Any:
        """Clips of like length, augmented, about as many tokens as the recipe says. A thread may call it, see ``feed``."""
        ...

    def objectives(self, step: int) -> Sequence[Objective]:
        """What a step trains, each with batches of its own; one after another, so that one graph is held at a time."""
        ...

    def learn(self, told: np.ndarray) -> None:
        """What the losses of a step told, of all processes in the order of their ranks."""
        ...

    def evaluate(self, network: Any) -> dict[str, float]:
        """Losses on the same held-out clips with the same noise, every time. "loss" among them is what is compared."""
        ...

    def state(self) -> dict[str, Any]:
        """What was learned on the way beside the weights; the same in all processes."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        ...

    def place(self) -> dict[str, Any]:
        """Where in the data this process is."""
        ...

    def go_to(self, place: Mapping[str, Any]) -> None:
        """The inverse of ``place``."""
        ...
