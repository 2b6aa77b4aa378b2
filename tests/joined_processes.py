"""A function run by several processes that train together, as torchrun would start them."""

import os
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp

from tests.processes import free_port
from train.ranks import joined


def together(function: Callable[..., None], *args: object, size: int = 2) -> None:
    """``function(ranks, *args)`` in ``size`` new processes; raises if one fails. It must lie in a module, for it is sent by name."""
    mp.start_processes(_begin, (size, free_port(), function, args), nprocs=size, start_method="spawn")


def _begin(rank: int, size: int, port: int, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    said = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ.update({name: str(value) for name, value in said.items()})
    with joined() as ranks:
        function(ranks, *args)
