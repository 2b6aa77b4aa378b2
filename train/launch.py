"""``musediff train --distributed …`` -> the same command in several processes, under torch's launcher (torchrun).

The options of the launcher are torchrun's own, by the names that the original gave them too; they are taken out of the
command, checked and handed on.
"""

import argparse
import logging
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError

from musediff.errors import BadRequest

ROOT = Path(__file__).parents[1]
USER_ERROR = 2


@dataclass(frozen=True, slots=True)
class Option:
    """One option of torchrun. ``form``: what its value has to look like."""

    name: str
    shown: str
    about: str
    form: str = ".+"
    short: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


STREAMS = r"[0-3]|\d+:[0-3](,\d+:[0-3])*"
OPTIONS = (
    Option("nproc_per_node", "N", "processes on this machine (default: one a GPU; without a GPU one)", r"[1-9]\d*|gpu|cpu|auto"),
    Option("nnodes", "N|MIN:MAX", "machines (default 1)", r"[1-9]\d*(:[1-9]\d*)?"),
    Option("node_rank", "N", "number of this machine, from 0", r"\d+"),
    Option("master_addr", "HOST", "the machine with number 0"),
    Option("master_port", "PORT", "a free port there (one machine: found)", r"\d{1,5}"),
    Option("rdzv_backend", "NAME", "how machines find each other (default: c10d with --rdzv-endpoint, else static)"),
    Option("rdzv_endpoint", "HOST:PORT", "where they do"),
    Option("rdzv_id", "TEXT", "name of the job, the same on all machines"),
    Option("rdzv_conf", "KEY=VALUE,…", "more of it", r"[^=,]+=[^=,]*(,[^=,]+=[^=,]*)*"),
    Option("max_restarts", "N", "start all processes again so often if one fails (default 0)", r"\d+"),
    Option("monitor_interval", "SECONDS", "between looks at the processes", r"\d*\.?\d+"),
    Option("start_method", "spawn|fork|forkserver", "how processes are made", "spawn|fork|forkserver"),
    Option("role", "TEXT", "name of the processes in torchrun's messages"),
    Option("log_dir", "DIR", "where --redirects and --tee write"),
    Option("redirects", "WHICH", "output into files instead: 1 out, 2 errors, 3 both, or 0:1,1:2 by process", STREAMS, "-r"),
    Option("tee", "WHICH", "output into files too", STREAMS, "-t"),
)  # fmt: skip
SWITCHES = {"distributed": "train in several processes", "standalone": "one machine alone, on a free port"}
NAMES = (*SWITCHES, *(option.name for option in OPTIONS))


def parser() -> argparse.ArgumentParser:
    """Of the launcher's options alone; values stay text."""
    made = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    group = made.add_argument_group("several processes", "handed on to torchrun; docs/cli.md shows how")
    for name, about in SWITCHES.items():
        group.add_argument("--" + name, action="store_true", help=about)
    for option in OPTIONS:
        names = [option.flag, *([option.short] if option.short else [])]
        group.add_argument(*names, dest=option.name, metavar=option.shown, help=option.about)
    return made


def split(words: list[str]) -> tuple[Mapping[str, str] | None, list[str]]:
    """The launcher's options by name and the rest of the command; None without --distributed.

    Raises:
        BadRequest: a value has another form, options contradict each other or go with --distributed.
    """
    args, rest = parser().parse_known_args(words)
    said = {name: value for name, value in vars(args).items() if value not in (None, False)}
    if "distributed" not in said:
        if said:
            raise BadRequest(f"{_flag(next(iter(said)))} goes with --distributed.")
        return None, rest
    for option in OPTIONS:
        if option.name in said and not re.fullmatch(option.form, said[option.name], re.ASCII):
            raise BadRequest(f"{option.flag} is {said[option.name][:60]!r}: give {option.shown}.")
    low, _, high = said.get("nnodes", "1").partition(":")
    if high and int(high) < int(low):
        raise BadRequest(f"--nnodes is {said['nnodes']!r}: the smaller number comes first.")
    if max(int(low), int(high or 0)) > 1 and not {"master_addr", "rdzv_endpoint"} & said.keys():
        where = "--rdzv-endpoint HOST:PORT, or --master-addr HOST --master-port PORT --node-rank N"
        raise BadRequest(f"Several machines have to be told where they meet: {where}.")
    return {name: value for name, value in said.items() if name not in SWITCHES} | _switches(said), rest


def _switches(said: Mapping[str, object]) -> dict[str, str]:
    """--standalone where nothing else says how processes meet: then a free port is found."""
    meeting = {"nnodes", "master_addr", "master_port", "rdzv_backend", "rdzv_endpoint"} & said.keys()
    if "standalone" in said or (meeting <= {"nnodes"} and said.get("nnodes", "1") in ("1", "1:1")):
        return {"standalone": ""}
    return {"rdzv_backend": "c10d"} if "rdzv_endpoint" in said and "rdzv_backend" not in said else {}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def start(options: Mapping[str, str], words: list[str], processes: int) -> int:
    """Train in processes of their own, ``processes`` if the options do not say how many; returns the exit code.

    Raises:
        BadRequest: the launcher cannot start, or meets no other machine.
    """
    options = {"nproc_per_node": str(processes), **options}
    flags = [f"{_flag(name)}={value}" if value else _flag(name) for name, value in options.items()]
    line = [*flags, "--module", "musediff", "train", *words]
    print("torchrun " + shlex.join(line), file=sys.stderr, flush=True)
    try:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // run.determine_local_world_size(options["nproc_per_node"]))))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")  # else processes that start again find the old addresses
        _quiet()
        run.run(run.parse_args(line))
    except ChildFailedError as failed:
        return _exit_code(failed)
    except SignalException as stopped:
        return 128 + stopped.sigval  # the first process has said so
    except (RendezvousError, DistError, ValueError) as error:
        raise BadRequest(f"torchrun: {str(error).splitlines()[0]}") from error
    return 0


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quiet() -> None:
    """What became of the processes is said once, here."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(os.environ.get("LOGLEVEL", "CRITICAL"))


def _exit_code(failed: ChildFailedError) -> int:
    """2 where a process has told what the user can mend; else one line says which process ended, and how, after its traceback."""
    rank, failure = failed.get_first_failure()
    if failure.exitcode == USER_ERROR:
        return USER_ERROR
    how = f"signal {-failure.exitcode}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"
    print(f"musediff: process {rank} ended with {how}, and the others with it", file=sys.stderr)
    return 1
