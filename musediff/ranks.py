"""Environment -> which of several equal processes this one is, as torchrun says it, or a cluster's start script."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from musediff.errors import BadRequest

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Ranks:
    """``rank`` counts from 0, over all machines, ``local`` on this one."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that speaks for all."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.size > 1

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every so manieth item: all processes together have each once."""
        return items[self.rank :: self.size]


def from_environment(environ: Mapping[str, str] = os.environ) -> Ranks:
    """RANK, WORLD_SIZE and LOCAL_RANK (0 where it is not said); without the first two, the only process.

    Raises:
        BadRequest: one of them is missing, or they cannot be true.
    """
    said = {name: environ[name] for name in ("RANK", "WORLD_SIZE") if name in environ}
    if not said:
        return Ranks()
    told = " ".join(f"{name}={value[:20]}" for name, value in said.items())
    if len(said) == 1:
        raise BadRequest(f"{told}: RANK and WORLD_SIZE go together. Set both, as torchrun does, or none for one process.")
    if not all(value.isascii() and value.isdecimal() for value in said.values()) or not int(said["RANK"]) < int(said["WORLD_SIZE"]):
        raise BadRequest(f"{told}: WORLD_SIZE is the number of processes, RANK one of 0, 1 … below it.")
    local = environ.get("LOCAL_RANK", "0")
    if not (local.isascii() and local.isdecimal()):
        raise BadRequest(f"LOCAL_RANK={local[:20]}: it is the number of this process on its machine, from 0.")
    return Ranks(int(said["RANK"]), int(said["WORLD_SIZE"]), int(local))
