"""What a line of the log tells of the hardware's time: batches that are ready, operations by formula, shares of time and peak."""

import threading
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from musediff.data import store as packed
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from tests.counting_task import RECIPE, Counting, run
from train import pace
from train.feed import AHEAD, Feed
from train.pace import Pace, measured_peak, operations
from train.ranks import ALONE
from train.recipes import muse_tiny, slots_tiny
from train.registry import make_task
from train.tasks import Task


@pytest.fixture(scope="module")
def store(data: Path) -> packed.Store:
    return packed.load(data)


def seen(batch: Any) -> bytes:
    """What tells batches of both engines apart."""
    tensor = batch.values_BNF if hasattr(batch, "values_BNF") else batch.clean_BL
    return tensor.numpy().tobytes()


def take(task: Task, rng: np.random.Generator, ahead: int, number: int) -> tuple[list[bytes], Any]:
    feed = Feed(task, rng, ahead)
    try:
        return [seen(feed.next()) for _ in range(number)], feed.state()
    finally:
        feed.close()


@pytest.mark.parametrize("recipe", [slots_tiny(), muse_tiny()], ids=["slots", "muse"])
def test_a_thread_cuts_the_same_batches_and_its_place_is_that_of_the_taken_ones(recipe: Any, store: packed.Store) -> None:
    task = make_task(recipe, store, "cpu")
    whole, _ = take(task, np.random.default_rng(1), 0, 12)
    assert len(set(whole)) == 12
    for ahead in (0, AHEAD):
        task = make_task(recipe, store, "cpu")
        first, where = take(task, np.random.default_rng(1), ahead, 7)
        task, rng = make_task(recipe, store, "cpu"), np.random.default_rng(9)
        rng.bit_generator.state = where["rng"]
        task.go_to(where["place"])
        rest, _ = take(task, rng, ahead, 5)
        assert first + rest == whole, ahead


def test_what_goes_wrong_in_the_thread_is_raised_where_a_batch_is_taken(monkeypatch) -> None:
    task = Counting(count(1))
    feed = Feed(task, np.random.default_rng(0), 2)
    assert feed.next() == 1 and feed.waited > 0
    feed.close()
    monkeypatch.setattr(Counting, "batch", lambda self, _: {1: 1, 2: 2}[next(self.batches)])
    feed = Feed(Counting(count(1)), np.random.default_rng(0), 2)
    assert [feed.next(), feed.next()] == [1, 2]
    with pytest.raises(KeyError, match="3"):
        feed.next()
    feed.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "feed"]


def test_the_formula_of_the_operations_is_what_torch_counts() -> None:
    network = MuseNetwork(MuseConfig(64, 48, 32, 16, width=64, layers=3, heads=2, feed_forward=256, dropout=0, layer_dropout=0))
    batch, length = 3, 40
    x_BLD, pad_BL = torch.randn(batch, length, 32, requires_grad=True), torch.zeros(batch, length, dtype=torch.bool)
    with FlopCounterMode(display=False) as counted:
        network(x_BLD, torch.ones(batch), pad_BL).sum().backward()
    per_token, per_pair = operations(network)
    assert per_pair == 12 * 3 * 64 and per_token > 6 * 3 * (4 + 8) * 64 * 64
    assert counted.get_total_flops() == pytest.approx(per_token * batch * length + per_pair * batch * length**2, rel=0.04)


def test_shares_of_the_time_and_of_the_peak(monkeypatch) -> None:
    monkeypatch.setattr(pace, "measured_peak", lambda _: 1e6)
    clock = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])
    network = torch.nn.Linear(10, 10)
    told = Pace(network, "cpu", ALONE)
    for length, waited in ((100, 1.5), (50, 2.0)):
        told.begin()
        told.count(torch.tensor([length, length]))
        clock[0] += 2.0
        told.end()
        clock[0] += 7.0  # of evaluating: no step
        assert told.line(waited) == {"tokens_per_s": length, "waiting": {100: 0.75, 50: 0.25}[length], "of_peak": 600 * length / 1e6}


def test_the_peak_is_measured(monkeypatch) -> None:
    monkeypatch.setattr(pace, "PEAK_SECONDS", 0.02)
    assert 1e7 < measured_peak(torch.device("cpu")) < 1e14


def test_every_line_tells_them(tmp_path: Path, monkeypatch) -> None:
    lines = [line for line in run(RECIPE, tmp_path, monkeypatch) if "norm" in line]
    assert len(lines) == 4
    for line in lines:
        assert line["tokens_per_s"] > 0 and 0 <= line["waiting"] <= 1 and line["eta_minutes"] >= 0 and "of_peak" in line
    assert [line["lr"] for line in lines][:2] == [pytest.approx(RECIPE.learning_rate * (i + 1) / 20, rel=0.2) for i in range(2)]
