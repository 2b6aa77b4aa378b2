"""SIGTERM, as clusters send it, ends a run behind its step with everything saved."""

import json
import os
import signal
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.counting_task import RECIPE, Counting, run
from tests.joined_processes import together
from train.notice import STOPPED, noticing
from train.ranks import ALONE, Ranks
from train.states import in_folder
from train.train import train


class Told(Counting):
    """Its third batch comes with a signal."""

    def batch(self, rng: np.random.Generator) -> int:
        number = super().batch(rng)
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # the launcher passes on what the cluster has sent to all
        return number


def begin(ranks: Ranks, out: Path, told: int) -> None:
    """A run that ends because the rank ``told`` is told to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.train.make_task", lambda *_: (Told if ranks.rank == told else Counting)(count(1)))
        patch.setattr("train.train.packed.load", lambda _: None)
        patch.setattr("train.pace.PEAK_SECONDS", 1e-9)
        with pytest.raises(SystemExit) as end:
            train(RECIPE, Path("none"), out, "cpu", ranks)
    assert end.value.code == STOPPED == 143


def test_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    begin(ALONE, tmp_path, told=0)
    assert signal.getsignal(signal.SIGTERM) is before
    assert max(in_folder(tmp_path)) == 3 and "Saved after step 3" in capsys.readouterr().out
    assert [line["step"] for line in run(RECIPE, tmp_path, monkeypatch)] == [1, 2, 3, 4, 4]


def test_all_end_where_one_is_told(tmp_path: Path) -> None:
    together(begin, tmp_path, 1)
    assert max(in_folder(tmp_path)) == 3
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_before_and_after_a_signal_ends_as_ever() -> None:
    def other(*_: object) -> None:
        """Somebody else's."""

    before = signal.signal(signal.SIGTERM, other)
    try:
        with noticing() as notice:
            assert not notice.given
        assert signal.getsignal(signal.SIGTERM) is other
    finally:
        signal.signal(signal.SIGTERM, before)
