"""Blocks of a network -> compiled ones, once for each length that batches are padded to."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

BUCKET = 64  # tokens: lengths are padded to multiples of it
MOST_LENGTHS = 64  # beyond so many, what is new runs as it is
CHOICES = ("auto", "yes", "no")


def compiling(choice: str, device: str) -> bool:
    """Whether to, on this device: ``auto`` is for CUDA alone."""
    return choice == "yes" or (choice == "auto" and torch.device(device).type == "cuda")


def padded(length: int, most: int | None = None) -> int:
    """The length of its bucket."""
    found = -(-length // BUCKET) * BUCKET
    return found if most is None else max(length, min(found, most))


def compile_blocks(blocks: Iterable[nn.Module], backend: str | Callable[..., Any] = "inductor") -> None:
    """In place. The number of clips (the first dimension of all arguments) may be any, the other dimensions decide what is compiled."""
    torch._dynamo.config.recompile_limit = MOST_LENGTHS  # ty: ignore[invalid-assignment]
    for block in blocks:
        block.__dict__["forward"] = _any_number(torch.compile(block.forward, dynamic=False, backend=backend))


def _any_number(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(*arguments: Tensor | bool | None) -> Tensor:
        for tensor in arguments:
            if isinstance(tensor, Tensor) and tensor.shape[0] > 1:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return forward(*arguments)

    return call
