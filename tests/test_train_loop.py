"""The training loop on a task of one number: what a step averages, when it logs and saves, and what the board is told."""

import json
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.counting_task import RECIPE, Counting, run
from train.run import Run


def test_passes_of_a_step_are_averaged_not_summed(tmp_path: Path, monkeypatch) -> None:
    lines = run(replace(RECIPE, accumulate=3), tmp_path, monkeypatch)
    steps = [line for line in lines if "norm" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert [line["x"] for line in steps] == [line["norm"] for line in steps] == [2.0, 5.0, 8.0, 11.0]


def test_log_evaluation_and_save_have_their_own_intervals(tmp_path: Path, monkeypatch) -> None:
    """What is better than all before is saved too: here nothing after the first evaluation."""
    saved: list[int] = []
    monkeypatch.setattr(Run, "save", lambda run: saved.append(run.step))
    monkeypatch.setattr(Counting, "evaluate", lambda *_: {"loss": 1.0})
    lines = run(replace(RECIPE, steps=13, log_every=5, evaluate_every=4, save_every=3), tmp_path, monkeypatch)
    assert [line["step"] for line in lines if "norm" in line] == [5, 10]
    assert [line["step"] for line in lines if "valid" in line] == [4, 8, 12, 13]
    assert saved == [3, 4, 6, 9, 12, 13]


@pytest.mark.parametrize(("clip", "arrives"), [(0.5, 0.5), (0.0, 7.0), (-1.0, 7.0)])
def test_the_gradient_is_cut_to_its_norm_or_left(clip: float, arrives: float, tmp_path: Path) -> None:
    run = Run(replace(RECIPE, clip=clip), Counting(count(1)), tmp_path, "cpu")
    run.network.w.grad = torch.full((1,), 7.0)
    seen: list[float] = []
    (adam,) = run.opts
    adam.register_step_pre_hook(lambda *_: seen.append(float(run.network.w.grad)))
    assert run.update(0.0, finite=True) == 7.0
    assert seen == [pytest.approx(arrives, rel=1e-4)]


def test_a_run_that_goes_on_does_so_with_the_settings_that_it_is_given(tmp_path: Path, monkeypatch) -> None:
    """What the optimiser has gathered comes from the state, how much it decays from the recipe."""
    run(RECIPE, tmp_path, monkeypatch)
    run(replace(RECIPE, steps=6, weight_decay=0.5), tmp_path, monkeypatch)
    (adam,) = torch.load(tmp_path / "state-000006.pt", weights_only=True)["optimisers"]
    assert adam["param_groups"][0]["weight_decay"] == 0.5 and int(adam["state"][0]["step"]) == 6


class Writer:
    """In place of TensorBoard's."""

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.told = Path(folder).parent / "told.jsonl"
        self._tell([Path(folder).name, purge_step])

    def _tell(self, what: object) -> None:
        with self.told.open("a") as file:
            file.write(json.dumps(what) + "\n")

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self._tell([name, value, step])

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self._tell("closed")


def scalars(lines: list[dict[str, Any]]) -> list[list[Any]]:
    """What the board should be told of lines of metrics.jsonl, one scalar after another."""
    found = []
    for line in lines:
        found.append(["minutes", line["minutes"], line["step"]])
        found += [[f"{group}/{name}", value, line["step"]] for group in ("valid", "ema") for name, value in line.get(group, {}).items()]
        found += [[f"train/{name}", line[name], line["step"]] for name in line.keys() - {"step", "minutes", "valid", "ema"}]
    return sorted(found)


def test_the_board_is_told_the_lines_of_the_log(tmp_path: Path, monkeypatch) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.__dict__["SummaryWriter"] = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run(replace(RECIPE, evaluate_every=3), tmp_path, monkeypatch)
    lines = run(replace(RECIPE, evaluate_every=3, steps=6), tmp_path, monkeypatch)
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [entry for entry in told if entry == "closed" or len(entry) == 2] == [
        ["tensorboard", None],
        "closed",
        ["tensorboard", 5],
        "closed",
    ]
    assert sorted(entry for entry in told if len(entry) == 3) == scalars(lines)
    assert len(scalars(lines)) > 20


def test_without_the_package_one_sentence_says_so(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run(RECIPE, tmp_path, monkeypatch)
    assert capsys.readouterr().out.count("pip install tensorboard") == 1
    assert not (tmp_path / "tensorboard").exists() and (tmp_path / "metrics.jsonl").exists()


def test_tensorboard_reads_what_was_written(tmp_path: Path, monkeypatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="TensorBoard is not installed")
    lines = run(replace(RECIPE, evaluate_every=3), tmp_path, monkeypatch)
    lines = run(replace(RECIPE, evaluate_every=3, steps=6), tmp_path, monkeypatch)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    read = {(name, event.step, event.value) for name in events.Tags()["scalars"] for event in events.Scalars(name)}
    assert {(name, step) for name, step, _ in read} == {(name, step) for name, _, step in scalars(lines)}
    values = {(name, step): value for name, step, value in read}
    assert all(values[name, step] == pytest.approx(value, rel=1e-6) for name, value, step in scalars(lines))
