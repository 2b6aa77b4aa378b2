"""--distributed: the same command in several processes, under torchrun, with one line where something is wrong."""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from musediff.data.build import build
from musediff.errors import BadRequest
from tests.processes import free_port
from train import launch

SAMPLE = Path(__file__).parent / "assets" / "sample"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher sets for its processes is gone afterwards."""
    for name in ("OMP_NUM_THREADS", "PYTHONPATH", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def started(words: list[str], monkeypatch: pytest.MonkeyPatch, processes: int = 1) -> argparse.Namespace:
    """What torchrun is asked for."""
    asked: list[argparse.Namespace] = []
    monkeypatch.setattr(torchrun, "run", asked.append)
    options, rest = launch.split(words)
    assert options is not None and launch.start(options, rest, processes) == 0
    return asked[0]


def test_without_it_nothing_is_started() -> None:
    assert launch.split(["slots-tiny", "--lr", "0.1", "--out=x"]) == (None, ["slots-tiny", "--lr", "0.1", "--out=x"])


def test_the_rest_of_the_command_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = started(["--distributed", "slots-tiny", "--nproc-per-node", "2", "--lr", "0.1", "-t", "3", "--out=a b"], monkeypatch)
    assert (asked.module, asked.training_script) == (True, "musediff")
    assert asked.training_script_args == ["train", "slots-tiny", "--lr", "0.1", "--out=a b"]
    assert (asked.nproc_per_node, asked.tee, asked.standalone, asked.nnodes) == ("2", "3", True, "1:1")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"standalone": True}),
        ("--nnodes 1", {"standalone": True}),
        ("--master-port 4711", {"standalone": False, "master_port": 4711}),
        ("--nnodes 2 --master-addr a --master-port 7 --node-rank 1", {"standalone": False, "master_addr": "a", "node_rank": 1}),
        ("--nnodes 1:4 --rdzv-endpoint a:7 --max-restarts 3", {"rdzv_backend": "c10d", "rdzv_endpoint": "a:7", "max_restarts": 3}),
        ("--rdzv-backend etcd --rdzv-endpoint a:7 --rdzv-id j --rdzv-conf x=1", {"rdzv_backend": "etcd", "rdzv_id": "j"}),
        ("--standalone --role r --log-dir d --redirects 0:1 --start-method fork", {"role": "r", "log_dir": "d", "start_method": "fork"}),
        ("--monitor-interval 0.5", {"monitor_interval": 0.5}),
    ],
)
def test_how_processes_meet(words: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = vars(started(["--distributed", *words.split(), "slots-tiny"], monkeypatch))
    assert {name: asked[name] for name in expected} == expected


def test_every_option_is_one_of_torchrun_s() -> None:
    there = {action.dest for action in torchrun.get_args_parser()._actions}
    assert set(launch.NAMES) - {"distributed"} <= there and len(launch.NAMES) == 18


def test_cores_are_shared_out_unless_the_user_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "cores", lambda: 7)
    asked = started(["--distributed", "slots-tiny"], monkeypatch, processes=3)
    assert asked.nproc_per_node == "3" and os.environ["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    launch.start({}, ["slots-tiny"], 3)
    assert os.environ["OMP_NUM_THREADS"] == "5"


@pytest.mark.parametrize(("ended", "code", "said"), [(2, 2, ""), (1, 1, "exit code 1"), (-9, 1, "signal 9")])
def test_how_the_processes_ended_is_the_exit_code(ended: int, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(_: object) -> None:
        raise ChildFailedError("train", {1: ProcessFailure(1, 99, ended, "<N/A>")})

    monkeypatch.setattr(torchrun, "run", fail)
    assert launch.start({"standalone": ""}, ["slots-tiny"], 2) == code
    line = capsys.readouterr().err.splitlines()[1:]
    assert (not line) if not said else (len(line) == 1 and f"process 1 ended with {said}" in line[0])


def test_what_torchrun_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadRequest, match="torchrun: Cuda is not available"):
        launch.start({"nproc_per_node": "gpu"}, ["slots-tiny"], 1)


def musediff(words: list[str], folder: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user gives it, from another folder."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    line = [sys.executable, "-m", "musediff", "train", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def test_two_processes_train_as_one(root: Path, tmp_path: Path) -> None:
    build({"pop909": SAMPLE}, tmp_path / "sample.npz")
    words = "--distributed slots-tiny --nproc_per_node 2 --data sample.npz --out run --steps 3 --log-interval 1 --tokens 200"
    done = musediff(words.split(), tmp_path, root)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3] and "valid" in lines[-1]
    printed = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert [json.loads(line) for line in printed] == lines  # once, by the first
    assert len(torch.load(tmp_path / "run" / "state-000003.pt", weights_only=True)["chance"]) == 2
    assert done.stderr.startswith("torchrun --nproc-per-node=2 --standalone --module musediff train slots-tiny --data sample.npz ")


def test_two_machines_meet_and_train_as_one(root: Path, tmp_path: Path) -> None:
    build({"pop909": SAMPLE}, tmp_path / "sample.npz")
    meeting = f"--nnodes 2 --rdzv-endpoint 127.0.0.1:{free_port()} --rdzv-id test --nproc-per-node 1"
    words = f"--distributed {meeting} slots-tiny --data sample.npz --out run --steps 3 --log-interval 1 --tokens 200".split()
    with ThreadPoolExecutor() as machines:
        done = list(machines.map(lambda _: musediff(words, tmp_path, root), range(2)))
    assert [machine.returncode for machine in done] == [0, 0], done
    assert sum('"step"' in machine.stdout for machine in done) == 1, "one of them writes"
    assert len(torch.load(tmp_path / "run" / "state-000003.pt", weights_only=True)["chance"]) == 2


def test_an_error_is_one_line_and_code_2(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_text("not packed")
    done = musediff("slots-tiny --distributed --nproc_per_node 2 --data bad.npz --out run".split(), tmp_path, root)
    assert done.returncode == 2 and done.stdout == ""
    assert [line.split(":")[:2] for line in done.stderr.splitlines()[1:]] == [["musediff", " bad.npz"]]
