"""Several processes that come to figures together: modify --split and evaluate, the same figures as one process."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from musediff import checkpoint
from musediff.cli import main
from musediff.engines.slots import vocab
from musediff.engines.slots.engine import SlotsEngine
from musediff.gather import joined
from musediff.ranks import Ranks
from tests import processes
from tests.command import run

CLIPS = 7


def split(data: Path, out: Path, *more: str) -> list[str]:
    settings = f"--num-samples {CLIPS} --model tiny --steps 2 --seed 4 --corr-p 1 --corr-available rn,mn --strength 0.5"
    return ["modify", "--split", "test", "--data", str(data), "--out", str(out), *settings.split(), *more]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of the split."""
    out = tmp_path_factory.mktemp("whole")
    assert main(split(data, out)) == 0
    files = processes.files_in(out)
    assert len(files) == 3 * CLIPS + 1
    return files


def test_two_processes_change_a_split_as_one_does(data, whole, tmp_path):
    told = [processes.ended(process) for process in processes.start(split(data, tmp_path, "--json"))]
    report = json.loads(told[0])
    assert told[1] == "" and report["clips"] == CLIPS and processes.files_in(tmp_path) == whole
    saved = json.loads(whole["metrics.json"])
    assert report["summary"] == saved["summary"] and [row["name"] for row in saved["clips"]] == [f"{i}.mid" for i in range(1, 8)]


def test_a_split_that_was_killed_is_resumed(data, whole, tmp_path, capsys):
    """The first process is held at its second clip; the second one makes its three, and waits."""
    processes.killed_at(split(data, tmp_path), tmp_path, ["result/3.mid"], 3 * 4 + 2)
    before = processes.stamps(tmp_path)
    assert len(before) == 14 and not (tmp_path / "result" / "3.mid").exists() and not (tmp_path / "metrics.json").exists()
    assert run(split(data, tmp_path), capsys)[0] == 2, "not without --resume"
    others = {"sampling": ["--temperature", "0.5"], ".mid is there": ["--corr-kwargs", '{"mn": {"p": 1}}']}
    for part, other in others.items():
        code, _, err = run(split(data, tmp_path, "--resume", *other), capsys)
        assert code == 2 and part in err
    assert {name: stamp for name, stamp in processes.stamps(tmp_path).items() if name in before} == before
    code, text, err = run(split(data, tmp_path, "--resume", "--json"), capsys)
    assert code == 0, err
    assert processes.files_in(tmp_path) == whole and json.loads(text)["summary"] == json.loads(whole["metrics.json"])["summary"]
    assert {name: stamp for name, stamp in processes.stamps(tmp_path).items() if name in before} == before
    code, _, err = run(split(data, tmp_path, "--resume", "--steps", "3"), capsys)
    assert code == 2 and "metrics.json" in err and processes.files_in(tmp_path) == whole
    (tmp_path / "metrics.json").write_text("mine")
    code, _, err = run(split(data, tmp_path, "--resume"), capsys)
    assert code == 2 and "metrics.json" in err and (tmp_path / "metrics.json").read_text() == "mine"


def test_a_process_that_dies_is_told_and_what_is_done_stays(data, tmp_path):
    (tmp_path / "result").mkdir()
    os.mkfifo(tmp_path / "result" / "2.mid.part")
    first, second = processes.start(split(data, tmp_path))
    processes.wait_for(tmp_path, 4 * 3 + 2, [first, second])
    second.kill()
    second.communicate()
    _, err = first.communicate(timeout=processes.PATIENCE)
    assert first.returncode == 2 and "ended early" in err.splitlines()[-1] and "Traceback" not in err
    assert [row["name"] for row in json.loads((tmp_path / "metrics.json").read_text())["clips"]] == ["1.mid", "3.mid", "5.mid", "7.mid"]


def test_weights_are_measured_by_two_processes_as_by_one(data, tmp_path, capsys):
    network = SlotsEngine.tiny().network
    checkpoint.save(tmp_path / "w", "slots", asdict(network.config), vocab.fingerprint(), network.state_dict(), {})
    few = "--clips 3 --repairs 2 --strengths 1 --seeds 2 --roles bass,pad --steps 1"
    words = f"evaluate --data {data} --weights {tmp_path / 'w'} {few}".split()
    printed = processes.ended(processes.torchrun([*words, "--out", tmp_path / "two.json"]))
    code, alone, err = run([*words, "--out", str(tmp_path / "one.json")], capsys)
    assert code == 0, err
    one = (tmp_path / "one.json").read_bytes()
    assert (tmp_path / "two.json").read_bytes() == one and printed == alone
    roles = json.loads(one)["roles"]
    assert [roles[role]["clips"] for role in ("bass", "pad")] == [3, 3]
    (model,) = (name for name in roles["pad"]["groups"]["all"] if name != "real clips")
    found = roles["pad"]["groups"]["all"][model]
    assert all(len(found[name]) == 2 for name in ("oa", "c2st", "repaired_msim", "refilled_f1", "strength", "copied_13"))


def test_sets_are_the_first_process_s_work(data, tmp_path, monkeypatch, capsys):
    """The other may begin when the first one is done already: what it has written is in nobody's way."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        said.append(run(["evaluate", str(data), "--clips", "4", "--json", "--out", str(tmp_path / "out.json")], capsys))
    assert [code for code, _, _ in said] == [0, 0] and said[1][1:] == ("", "") and "one process" in said[0][2]
    assert json.loads(said[0][1])["sets"][str(data)]["clips"] == 4


def test_processes_that_cannot_meet_are_told_before_any_work(data, tmp_path, monkeypatch, capsys):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, out, err = run(split(data, tmp_path), capsys)
    assert code == 2 and out == "" and "MASTER_ADDR" in err and "torchrun" in err and not processes.files_in(tmp_path)
    with joined(Ranks()) as gather:
        assert gather("alone") == ["alone"]
