"""The command line in several real processes, as a cluster's start script or torchrun begins them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 240  # seconds, of a very busy machine


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(words: Sequence[object], size: int = 2) -> list[subprocess.Popen[str]]:
    """One process for each rank. They can meet at a port of this machine."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [_popen(["-m", "musediff", *words], {"RANK": str(rank), "WORLD_SIZE": str(size), **meeting}) for rank in range(size)]


def torchrun(words: Sequence[object]) -> subprocess.Popen[str]:
    """torchrun with two processes; its output is that of both."""
    return _popen(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "musediff", *words], {})


def ended(process: subprocess.Popen[str]) -> str:
    """Standard output of a process that has to end well."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def _popen(words: Sequence[object], more: dict[str, str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"} | more
    return subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(out: Path, there: int, processes: list[subprocess.Popen[str]]) -> None:
    """Until so many clips lie there and the processes still run."""
    end = time.monotonic() + PATIENCE
    while len(list(out.rglob("*.mid"))) < there:
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes if process.poll()]
        assert time.monotonic() < end, sorted(out.rglob("*"))
        time.sleep(0.05)


def killed_at(words: Sequence[object], out: Path, held: Sequence[str], there: int) -> None:
    """Start two processes that get stuck writing the ``held`` files, and kill them once ``there`` others lie in ``out``.

    A pipe that nobody reads stands where the file would first be written, so nothing has to be timed. What a killed process
    leaves of such a file is half of it.
    """
    for name in held:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(out / f"{name}.part")
    processes = start(words)
    try:
        wait_for(out, there, processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for name in held:
        (out / f"{name}.part").unlink()
        (out / f"{name}.part").write_bytes(b"MThd half of a fi")


def files_in(folder: Path, suffix: str = "") -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob(f"*{suffix}") if path.is_file()}


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is written anew."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*.mid")}
    return {name: (about.st_ino, about.st_mtime_ns) for name, about in found.items()}
