"""Kill a training run at random moments, go on until it ends, compare: python -m tests.chaos --times 20

What dies, by SIGKILL, is one worker (the launcher starts all of them again) or the whole job (the same command is given again).
The end has to be that of a run that was never disturbed, to the bit, and the log has to tell the same. At last a job of two
processes is killed and goes on with one: by the same schedule.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from musediff.data.build import build

ROOT = Path(__file__).parents[1]
STEPS, PATIENCE = 24, 300  # seconds without an end, on a very busy machine
TIMED = ("minutes", "tokens_per_s", "waiting", "of_peak", "eta_minutes")
SETTINGS = f"--steps {STEPS} --minutes 1e9 --tokens 200 --eval-interval 12 --save-interval 3 --log-interval 1 --samples 0 --max-restarts 99"


@dataclass
class Job:
    """A run of some processes in a folder of its own."""

    data: Path
    out: Path
    processes: int = 2
    begun: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def start(self) -> "subprocess.Popen[bytes]":
        words = ["train", "slots-tiny", "--distributed", "--nproc-per-node", str(self.processes), *SETTINGS.split()]
        line = [sys.executable, "-m", "musediff", *words, "--data", str(self.data), "--out", str(self.out)]
        with self.said.open("ab") as said:
            process = subprocess.Popen(line, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=said, stderr=said)
        self.begun.append(process)
        return process

    @property
    def said(self) -> Path:
        return self.out.with_suffix(".txt")

    def finish(self, process: "subprocess.Popen[bytes]") -> None:
        code = process.wait(PATIENCE)
        assert code == 0, f"exit code {code}: {self.said.read_text()[-4000:]}"

    def lines(self) -> list[dict[str, Any]]:
        """What the log tells, without what a clock decides; a line that is being written is left out."""
        path = self.out / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        told = [json.loads(line) for line in lines if line.endswith("}\n")]
        return [{name: value for name, value in line.items() if name not in TIMED} for line in told]

    def end(self) -> dict[str, Any]:
        state = torch.load(self.out / f"state-{STEPS:06}.pt", weights_only=True)
        return {name: value for name, value in state.items() if name != "seconds"}


def family(pid: int) -> list[int]:
    """A process, then its children and theirs; none that has ended."""
    told = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,state="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    alive = {int(row[0]): int(row[1]) for row in rows if not row[2].startswith("Z")}
    found = [pid] if pid in alive else []
    for parent in found:
        found += [child for child, of in alive.items() if of == parent]
    return found


@contextmanager
def tidy(job: Job) -> Generator[Job, None, None]:
    """Nothing of it goes on afterwards."""
    try:
        yield job
    finally:
        for process in job.begun:
            if process.poll() is None:
                kill(family(process.pid))
                process.wait()


def kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def moment(job: Job, process: "subprocess.Popen[bytes]", rng: random.Random) -> bool:
    """Wait for a random one: while the processes start, or between two lines of the log. False: the run ended before."""
    start, before = time.monotonic(), len(job.lines())
    starting = rng.random() < 0.25
    line, later = before + rng.randint(0, 9), rng.uniform(0, 8 if starting else 0.3)
    while process.poll() is None:
        assert time.monotonic() < start + PATIENCE, job.said.read_text()[-4000:]
        if starting or len(job.lines()) > line:
            with suppress(subprocess.TimeoutExpired):
                process.wait(later)
            return process.poll() is None
        time.sleep(0.02)
    return False


def disturb(job: Job, kinds: list[str], rng: random.Random) -> list[str]:
    """Run to the end with these kills, the first one first; returns those for which there was no time."""
    process, left = job.start(), list(kinds)
    while left and moment(job, process, rng):
        pids = family(process.pid)
        if left[0] == "worker" and len(pids) > 1:
            kill([rng.choice(pids[1:])])
            print(f"killed a worker after {len(job.lines())} lines", flush=True)
            left.pop(0)
        elif left[0] == "job":
            kill(pids)
            process.wait()
            print(f"killed the job after {len(job.lines())} lines", flush=True)
            left.pop(0)
            process = job.start()
    job.finish(process)
    return left


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, tensors and numbers alike."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def compare(job: Job, whole: Job) -> None:
    """The whole run and the disturbed one have one end and one log."""
    ends = job.end(), whole.end()
    different = [name for name in ends[0].keys() | ends[1].keys() if not same(ends[0].get(name), ends[1].get(name))]
    assert not different, f"{job.out}: another {', '.join(different)}"
    assert job.lines() == whole.lines() and len(job.lines()) == STEPS + STEPS // 12


def fewer(job: Job, whole: Job, rng: random.Random) -> None:
    """Kill a job of two processes on the way, and go on with one."""
    process = job.start()
    while not job.lines():
        assert process.poll() is None, job.said.read_text()[-4000:]
        time.sleep(0.02)
    moment(job, process, rng)
    kill(family(process.pid))
    process.wait()
    with tidy(Job(job.data, job.out, 1)) as alone:
        alone.finish(alone.start())
    assert [(line["step"], line.get("lr")) for line in job.lines()] == [(line["step"], line.get("lr")) for line in whole.lines()]


def chaos(folder: Path, times: int, seed: int) -> None:
    """All of it, with ``times`` kills.

    Raises:
        AssertionError: a run did not end well, or did not end the same.
    """
    rng = random.Random(seed)
    build({"pop909": ROOT / "tests" / "assets" / "sample"}, folder / "sample.npz")
    with tidy(Job(folder / "sample.npz", folder / "whole")) as whole:
        whole.finish(whole.start())
    left, runs = ["worker" if i % 2 else "job" for i in range(times)], 0
    while left:
        runs += 1
        with tidy(Job(whole.data, folder / f"run-{runs}")) as job:
            left = disturb(job, left, rng)
        compare(job, whole)
        print(f"run {runs} ended the same to the bit, {times - len(left)} of {times} kills", flush=True)
    with tidy(Job(whole.data, folder / "fewer")) as job:
        fewer(job, whole, rng)
    print("a job of two processes went on with one, by the same schedule", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="kills (default 20)")
    parser.add_argument("--seed", type=int, help="of the moments; left out: a new one")
    args = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        chaos(Path(folder), args.times, seed)


if __name__ == "__main__":
    main()
