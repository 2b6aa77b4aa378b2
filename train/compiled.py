"""Blocks of a network -> compiled ones, once for batches of any size and length."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

BUCKET = 16  # tokens: lengths are padded to multiples of it, as matrix products on a GPU like them
CHOICES = ("auto", "yes", "no")


def compiling(choice: str, device: str) -> bool:
    """Whether to, on this device: ``auto`` is for CUDA alone."""
    return choice == "yes" or (choice == "auto" and torch.device(device).type == "cuda")


def padded(length: int, most: int | None = None) -> int:
    """The length of its bucket."""
    found = -(-length // BUCKET) * BUCKET
    return found if most is None else max(length, min(found, most))


def compile_blocks(blocks: Iterable[nn.Module], backend: str | Callable[..., Any] = "inductor") -> None:
    """In place; of a block that names ``COMPILED`` these methods, else all of it. The numbers of clips and tokens may be any; one clip
    alone is compiled anew."""
    for block in blocks:
        for part in getattr(block, "COMPILED", ("forward",)):
            block.__dict__[part] = torch.compile(getattr(block, part), dynamic=True, backend=backend)
