"""States on the disk: the last ones and the best stay, a damaged one is passed over, and a full disk costs nothing that was saved."""

import json
import os
import resource
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from musediff.checkpoint import read_config, save
from musediff.errors import BadCheckpoint, BadRequest, MuseError
from tests.counting_task import RECIPE, Counting, run
from train import states
from train.run import BEST, LAST
from train.states import find

STEADY = replace(RECIPE, evaluate_every=1, steps=4)


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("state*"))


def state(out: Path, step: int) -> dict[str, Any]:
    return torch.load(out / f"state-{step:06}.pt", weights_only=True)


def scripted(monkeypatch: pytest.MonkeyPatch, losses: dict[int, float], rates: tuple[float, ...] = (0.97,)) -> None:
    """The held-out losses of the evaluations, in their order; of the later averages less by a tenth each."""
    calls = [(step, place) for step in sorted(losses) for place in range(len(rates))]
    told = iter(losses[step] - 0.1 * place for step, place in calls)
    monkeypatch.setattr(Counting, "evaluate", lambda *_: {"loss": next(told)})


def test_the_last_states_and_the_best_stay_with_the_weights_of_both(tmp_path: Path, monkeypatch) -> None:
    scripted(monkeypatch, {1: 5.0, 2: 3.0, 3: 4.0, 4: float("nan"), 5: 3.0, 6: 3.5})
    run(replace(STEADY, steps=6), tmp_path, monkeypatch)
    assert names(tmp_path) == ["state-000002.pt", "state-000005.pt", "state-000006.pt"]
    about = {folder: read_config(tmp_path / folder)["about"] for folder in (LAST, BEST)}
    assert [(about[folder]["step"], about[folder]["valid"]["loss"]) for folder in about] == [(6, 3.5), (2, 3.0)]
    scripted(monkeypatch, {7: 2.0, 8: 9.0})
    run(replace(STEADY, steps=8, keep=1), tmp_path, monkeypatch)  # what was best is remembered
    assert names(tmp_path) == ["state-000007.pt", "state-000008.pt"]
    assert read_config(tmp_path / BEST)["about"]["step"] == 7


def test_the_best_of_several_averages_is_shipped(tmp_path: Path, monkeypatch) -> None:
    rates = (0.2, 0.0, 0.9)
    scripted(monkeypatch, {4: 1.0}, rates)
    lines = run(replace(STEADY, ema=rates, evaluate_every=100, learning_rate=0.1), tmp_path, monkeypatch)
    assert lines[-1]["valid"] == {"loss": 0.8} and lines[-1]["ema"] == {"0.2": 1.0, "0": 0.9, "0.9": 0.8}
    config = read_config(tmp_path / LAST)
    assert config["about"]["ema"] == 0.9 and config["about"]["recipe"]["ema"] == [0.2, 0.0, 0.9]
    saved = state(tmp_path, 4)
    values = {rate: float(average["w"]) for rate, average in saved["emas"].items()}
    assert values[0.0] == float(saved["network"]["w"]) and values[0.9] > values[0.2] > values[0.0]
    scripted(monkeypatch, {5: 1.0}, (0.2, 0.99))
    run(replace(STEADY, ema=(0.2, 0.99), steps=5, evaluate_every=100), tmp_path, monkeypatch)  # a new one begins with the weights
    assert state(tmp_path, 5)["emas"].keys() == {0.2, 0.99} and state(tmp_path, 5)["ema"] == 0.99


def flipped(data: bytes) -> bytes:
    """One bit of a weight: torch would not notice."""
    place = data.index(torch.ones(1).numpy().tobytes())
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "one bit": flipped,
    "no archive": lambda data: b"PK, and no more",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_state_is_passed_over(how: str, tmp_path: Path, monkeypatch, capsys) -> None:
    frozen = replace(STEADY, keep=9, learning_rate=1e-9, weight_decay=0.0)  # w stays 1
    run(replace(frozen, steps=3), tmp_path, monkeypatch)
    path = tmp_path / "state-000003.pt"
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    lines = run(replace(frozen, steps=5), tmp_path, monkeypatch)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"note: {path} is damaged (") and note.endswith("). Going on from state-000002.pt.")
    assert [line["step"] for line in lines if "norm" in line] == [1, 2, 3, 4, 5] and states.read(path)["step"] == 3
    (tmp_path / "state-000009.pt").write_bytes(b"")  # behind what was gone on with: it goes once the next one is whole
    run(replace(frozen, steps=6, keep=1), tmp_path, monkeypatch)
    assert names(tmp_path)[-1] == "state-000006.pt"


def test_if_all_are_damaged_the_run_is_refused_and_they_stay(tmp_path: Path, monkeypatch) -> None:
    for step in (1, 2):
        (tmp_path / f"state-00000{step}.pt").write_bytes(b"PK, and no more")
    with pytest.raises(BadCheckpoint, match=r"state-000002.pt is damaged \(.*\)\. Take it away"):
        run(STEADY, tmp_path, monkeypatch)
    assert {path.read_bytes() for path in tmp_path.glob("state*")} == {b"PK, and no more"} and len(names(tmp_path)) == 2


@pytest.mark.parametrize("name", ["state.pt", "state-000002.pt"])
def test_a_state_of_another_version_is_refused_and_stays(name: str, tmp_path: Path, monkeypatch) -> None:
    run(replace(STEADY, steps=1), tmp_path, monkeypatch)
    torch.save({"network": {}, "format": 2}, tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("state*")}
    with pytest.raises(BadCheckpoint, match=rf"{name}: written by another version"):
        run(STEADY, tmp_path, monkeypatch)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("state*")} == before


def test_what_a_run_goes_on_from(tmp_path: Path, monkeypatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert find(one, "auto") == find(one, "no") == {}
    run(replace(STEADY, steps=3, keep=9), one, monkeypatch)
    assert find(one, "auto")["step"] == find(one, "no", again=True)["step"] == 3
    for resume, words in (
        ("no", f"{one} holds a run of 3 steps"),
        (str(tmp_path / "none"), "there is no state"),
        (str(one / "state-000002.pt"), f"{one} has gone on from there to step 3"),
    ):
        with pytest.raises(BadRequest, match=words):
            find(one, resume)
    assert [find(other, str(path))["step"] for path in (one, one / "state-000002.pt")] == [3, 2]
    lines = run(replace(STEADY, steps=5), other, monkeypatch, resume=str(one / "state-000002.pt"))
    assert [line["step"] for line in lines if "norm" in line] == [3, 4, 5]
    assert names(other)[0] in ("state-000003.pt", "state-000004.pt") and (other / BEST).exists()
    assert find(other, str(one))["step"] == find(other, str(other / "state-000005.pt"))["step"] == 5  # the same command again
    (one / "state-000003.pt").write_bytes(b"")
    with pytest.raises(BadCheckpoint, match="damaged"):
        find(tmp_path / "third", str(one / "state-000003.pt"))


def test_a_run_begins_with_given_weights(tmp_path: Path, monkeypatch) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    run(replace(STEADY, steps=3, ema=(0.0,)), one, monkeypatch)
    learned = float(state(one, 3)["network"]["w"])
    assert learned != 1
    still = replace(STEADY, learning_rate=1e-9, weight_decay=0.0)
    run(replace(still, steps=1), other, monkeypatch, init=one / LAST)
    assert float(state(other, 1)["network"]["w"]) == pytest.approx(learned, rel=2**-8)  # weights are shipped in bfloat16
    lines = run(replace(still, steps=2), other, monkeypatch, init=tmp_path / "gone")
    assert [line["step"] for line in lines if "norm" in line] == [1, 2], "what is there already goes on"
    save(tmp_path / "muse", "muse", {}, "", {"w": torch.ones(1)}, {})
    save(tmp_path / "wide", "counting", {}, "", {"w": torch.ones(2)}, {})
    for folder, words in (
        ("muse", "of the engine muse, not of counting"),
        ("wide", r"tensor w has shape \(2,\)"),
        ("none", "no config.json"),
    ):
        with pytest.raises(BadCheckpoint, match=words):
            run(still, tmp_path / "third", monkeypatch, init=tmp_path / folder)


def test_what_was_told_of_later_steps_is_taken_back(tmp_path: Path, monkeypatch) -> None:
    lines = run(replace(STEADY, steps=3), tmp_path, monkeypatch)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lost": 1}\nno line\n{"step": 3, "cut of')
    again = run(STEADY, tmp_path, monkeypatch)
    assert again[: len(lines)] == lines and [line["step"] for line in again[len(lines) :]] == [4, 4]
    assert run(STEADY, tmp_path, monkeypatch) == again  # a run that is over tells nothing again


@contextmanager
def room(bytes_: int) -> Generator[None, None, None]:
    """No file can grow beyond this, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("bytes_", "what"), [(0, "metrics"), (50, "weights"), (500, "config"), (5000, "state")])
def test_a_full_disk_ends_the_run_with_one_line_and_all_that_was_saved(bytes_: int, what: str, tmp_path: Path, monkeypatch, capsys) -> None:
    # capsys: what is printed goes into no file
    lines = run(replace(STEADY, steps=2), tmp_path, monkeypatch)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("state*")}
    if what != "metrics":
        monkeypatch.setattr("train.log.Log.add", lambda *_: None)
    with room(bytes_), pytest.raises(BadRequest, match=rf"^{tmp_path} cannot be written \(.*[Ff]ile too large.*\). What was saved"):
        run(STEADY, tmp_path, monkeypatch)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("state*")} == before  # nor is a half one left
    assert find(tmp_path, "auto")["step"] == 2 and not list(tmp_path.rglob("*.part"))
    assert read_config(tmp_path / LAST)["about"]["step"] == (3 if what == "state" else 2)
    monkeypatch.undo()
    again = run(STEADY, tmp_path, monkeypatch)  # with room it goes on
    assert again[: len(lines)] == lines and names(tmp_path)[-1] == "state-000004.pt"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match=r"cannot be written \(Not a directory\)"):
        run(STEADY, tmp_path / "file" / "run", monkeypatch)
    out = tmp_path / "run"
    run(replace(STEADY, steps=2), out, monkeypatch)
    (out / "state-000003.pt.part").mkdir()
    with pytest.raises(BadRequest, match=r"cannot be written \(Is a directory\)"):
        run(STEADY, out, monkeypatch)
    assert find(out, "auto")["step"] == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_is_read_only(tmp_path: Path, monkeypatch) -> None:
    run(replace(STEADY, steps=2), tmp_path, monkeypatch)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(MuseError, match=r"cannot be written \(Permission denied\)"):
            run(STEADY, tmp_path, monkeypatch)
        assert find(tmp_path, "auto")["step"] == 2
    finally:
        tmp_path.chmod(0o700)


def test_half_a_file_of_a_killed_run_goes(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "state-000001.pt.part").write_bytes(b"half")
    run(replace(STEADY, steps=2), tmp_path, monkeypatch)
    assert names(tmp_path) == ["state-000001.pt", "state-000002.pt"]
    assert all(json.loads(line)["step"] <= 2 for line in (tmp_path / "metrics.jsonl").read_text().splitlines())
