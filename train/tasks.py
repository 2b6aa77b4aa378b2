"""What the training loop asks of an engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

# (network, batch, generator) -> what is trained, and numbers for the log. The batch goes only to the task that made it.
Objective = Callable[[Any, Any, torch.Generator], tuple[Tensor, dict[str, float]]]


class Task(Protocol):
    """One engine's side of a run: its network, its clips, its losses. Whatever is drawn comes from the two generators."""

    engine: str  # its name in the checkpoint
    fingerprint: str  # of its vocabulary
    about: Mapping[str, Any]  # what loading needs beside the network's settings

    def describe(self) -> str:
        """The data, in words."""
        ...

    def network(self) -> nn.Module:
        """With random weights. Its ``config`` is stored beside them."""
        ...

    def batch(self, rng: np.random.Generator, generator: torch.Generator) -> Any:
        """Clips of like length, augmented, of about as many tokens as the recipe says."""
        ...

    def objectives(self, step: int) -> Sequence[Objective]:
        """What a step trains, each with a batch of its own; one after another, so that one graph is held at a time."""
        ...

    def evaluate(self, network: Any) -> dict[str, float]:
        """Losses on the same held-out clips with the same noise, every time."""
        ...

    def state(self) -> dict[str, Any]:
        """What going on needs: the place in the data, what was learned on the way beside the weights."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``."""
        ...
