"""Which of the processes of a run this is, and what all of them say.

Numbers travel over gloo even where the gradients travel over NCCL, so that no GPU waits for them. A run of one process
has no process group: the answers are its own.
"""

import gc
import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import timedelta
from traceback import clear_frames
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from musediff import ranks as places
from musediff.errors import BadRequest, MuseError
from musediff.gather import meet
from train.shard import gathering

T = TypeVar("T")

# The longest wait is that for the first process, which evaluates and saves alone. A process that has ended is noticed at once.
WAIT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Ranks(places.Ranks):
    """With what they do together: ``sum``, ``gather``, ``from_first`` and ``together`` are called by all ranks, in one order."""

    def sum(self, mine: Tensor) -> Tensor:
        """Over all ranks, as float64 on the CPU."""
        total = mine.detach().to("cpu", torch.float64, copy=True)
        if self.several:
            dist.all_reduce(total)
        return total

    def gather(self, mine: T) -> list[T]:
        """What each rank says, in the order of the ranks."""
        found = [mine] * self.size
        if self.several:
            dist.all_gather_object(found, mine)
        return found

    def from_first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on the first rank, the only one that calls it.

        Raises:
            MuseError: as ``make`` does; see ``stop``.
        """
        sent: list[Any] = [attempt(make) if self.first else None]
        if self.several:
            dist.broadcast_object_list(sent)
        if isinstance(sent[0], MuseError):
            self.stop(sent[0])
        return sent[0]

    def together(self, make: Callable[[], T]) -> T:
        """What ``make`` returns, if it fails on no rank.

        Raises:
            MuseError: that of the lowest rank which has one; see ``stop``.
        """
        made = attempt(make)
        errors = [found for found in self.gather(made if isinstance(made, MuseError) else None) if found is not None]
        if errors or isinstance(made, MuseError):
            self.stop(errors[0])
        return made

    def stop(self, error: MuseError) -> NoReturn:
        """End all ranks for a reason that all of them know. Only the first tells it; exit code 2, as everywhere."""
        raise error if self.first else SystemExit(2)

    def device(self, kind: str) -> str:
        """Of this process: ``cuda`` becomes the GPU of its number.

        Raises:
            BadRequest: there are fewer GPUs than processes, or this kind is for one process.
        """
        if not self.several:
            return kind
        if kind == "cuda":
            if self.local >= torch.cuda.device_count():
                count = torch.cuda.device_count()
                raise BadRequest(f"{count} GPUs are visible, and process {self.local + 1} of this machine needs one. Start {count} there.")
            torch.cuda.set_device(self.local)
            return f"cuda:{self.local}"
        if kind != "cpu":
            raise BadRequest(f"--device {kind} is for one process. Several train on cuda or cpu.")
        return kind

    def parallel(self, module: nn.Module, partial: bool) -> nn.Module:
        """A module whose ``backward`` averages the gradients of all ranks. ``partial``: some of its parameters may be unused."""
        return DistributedDataParallel(module, find_unused_parameters=partial) if self.several else module

    def averaging(self, module: nn.Module, now: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a ``parallel`` or shared module: unless ``now``, gradients gather on each rank."""
        if not now and isinstance(module, FSDPModule):
            return gathering(module)
        return nullcontext() if now or not isinstance(module, DistributedDataParallel) else module.no_sync()


ALONE = Ranks()


def attempt(make: Callable[[], T]) -> T | MuseError:
    try:
        return make()
    except MuseError as error:
        return error


def from_environment(environ: Mapping[str, str] = os.environ) -> Ranks:
    """See ``musediff.ranks``."""
    return Ranks(**asdict(places.from_environment(environ)))


@contextmanager
def joined() -> Generator[Ranks, None, None]:
    """Join the other processes, and leave them at the end and after an error that ``stop`` has told all. After any other exception
    the launcher ends them: nobody is waited for.

    Raises:
        BadRequest: see ``musediff.gather.meet``.
    """
    ranks = from_environment()
    if not ranks.several:
        yield ranks
        return
    meet(ranks, "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", WAIT)
    try:
        yield ranks
    except KeyboardInterrupt:
        if ranks.first:
            raise
        sys.exit(130)
    except (MuseError, SystemExit) as error:
        clear_frames(error.__traceback__)  # the run, which holds on to the group
        leave()
        raise
    leave()


def leave() -> None:
    """End the group for good. A thread of gloo that is still at work while Python ends aborts the process (1 of 60 ended by signal 6,
    not with code 2), and such threads live as long as any module that averages over the group: what is only in cycles has to go first."""
    gc.collect()
    dist.destroy_process_group()
