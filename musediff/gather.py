"""Several processes meet in torch's process group; what each has found -> one list on the first (over gloo, so on any processor)."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from musediff.errors import BadRequest, MuseError
from musediff.ranks import Ranks

Gather = Callable[[Any], list[Any]]
MEETING = timedelta(minutes=30)  # between the first process that is started and the last
PATIENCE = timedelta(days=7)  # between the first process that is done with its share and the last


def meet(ranks: Ranks, backend: str = "gloo", wait: timedelta = MEETING) -> None:
    """Join the process group of all. ``wait``: the longest that processes wait for each other, here and later.

    Raises:
        BadRequest: it is not said where the processes meet, or they do not.
    """
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise BadRequest(f"{missing[0]} is not set: all processes meet at the first one. Start them with torchrun.")
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=wait))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            # After a restart torchrun's store still has the addresses of the processes before (pytorch/pytorch#135712). Its
            # count of restarts keeps them apart, but only where one launcher counts: see TORCH_DISABLE_SHARE_RDZV_TCP_STORE.
            store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size, timeout=wait)
    except (dist.DistError, ValueError) as error:
        where, why = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}", str(error).splitlines()[0]
        raise BadRequest(f"Process {ranks.rank} of {ranks.size} cannot join the others at {where} ({why}).") from error


@contextmanager
def joined(ranks: Ranks) -> Generator[Gather, None, None]:
    """Wait until all processes are there; gives a call that all have to make: a list of their values on the first, an empty one elsewhere.

    Raises:
        BadRequest: see ``meet``.
        MuseError: from the call, if one of them is gone.
    """
    if not ranks.several:
        yield lambda value: [value]
        return
    meet(ranks)
    try:
        group = dist.new_group(backend="gloo", timeout=PATIENCE)

        def gather(value: Any) -> list[Any]:
            values = [None] * ranks.size if ranks.first else None
            try:
                dist.gather_object(value, values, group=group)
            except RuntimeError as error:  # that of gloo has no name of its own
                raise MuseError(f"Another of the {ranks.size} processes ended early: see what it said. What is done stays.") from error
            return values or []

        yield gather
    finally:
        dist.destroy_process_group()
