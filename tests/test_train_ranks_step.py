"""One step of two processes: the gradient of all tokens together, what is not finite is skipped by all, an error ends all."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from musediff.data import store as packed
from musediff.engines.clip_rows import Batches
from musediff.errors import BadData, BadRequest
from tests.joined_processes import together
from train.ranks import ALONE, Ranks, from_environment
from train.recipes import ar_tiny, muse_tiny, slots_tiny
from train.registry import make_task
from train.run import MOST_SKIPPED, Run
from train.tasks import Drawn, Found, Objective
from train.train import train

FOREVER = 1e12
NAN, INF = float("nan"), float("inf")


class TwoNumbers(nn.Module):
    """The loss of a token x is v x or w x: the mean of the tokens is the gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.w = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))


class Means:
    """A ``Task``: one objective trains w by some tokens, in every second step another trains v. Batches are of unlike size."""

    engine, fingerprint, partial = "means", "", True

    def __init__(self, passes: list[list[float]], spoilt: Mapping[int, float] = {}) -> None:
        self.passes, self.spoilt, self.taken, self.step = passes, spoilt, count(), 0
        self.about: Mapping[str, Any] = {}

    def describe(self) -> str:
        return "numbers"

    def network(self) -> TwoNumbers:
        return TwoNumbers()

    def batch(self, rng: np.random.Generator) -> list[float]:
        return self.passes[next(self.taken) % len(self.passes)]

    def objectives(self, step: int) -> tuple[Objective, ...]:
        self.step = step
        both = (Objective(self._draw, self._losses("w", 1.0)), Objective(self._draw, self._losses("v", 10.0)))
        return both[::-1] if step % 2 else both[:1]  # v first: it is used in none but passes that do not average

    def _draw(self, x: list[float], *_: object) -> Drawn:
        return Drawn(torch.tensor(x), torch.tensor([len(x)]))

    def _losses(self, name: str, factor: float) -> Any:
        spoil = self.spoilt.get(self.step, 1.0)
        return lambda network, x, _: Found((getattr(network, name) * x * factor * spoil).sum()[None], {"x": float(x.mean())})

    def learn(self, told: np.ndarray) -> None:
        assert told.shape == (0, 2)

    def evaluate(self, network: TwoNumbers) -> dict[str, float]:
        return {"loss": float(network.w.detach())}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        assert not state

    place, go_to = state, restore


class Replay:
    """A real task whose passes of a step are numbered over all ranks: two ranks of one pass see what one rank of two does."""

    def __init__(self, task: Any, ranks: Ranks) -> None:
        self.task, self.ranks = task, ranks

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, rng: np.random.Generator) -> None:
        """Each pass draws its own."""

    def objectives(self, step: int) -> tuple[Objective, ...]:
        return tuple(self._numbered(objective, step, which) for which, objective in enumerate(self.task.objectives(step)))

    def _numbered(self, objective: Objective, step: int, which: int) -> Objective:
        numbers = count(self.ranks.rank, self.ranks.size)

        def draw(*_: object) -> Drawn:
            number = next(numbers)
            self.task.batches = Batches(self.task.source.draw, 200 + 150 * number, pool=40)
            generator, rng = torch.Generator().manual_seed(100 * step + 10 * which + number), np.random.default_rng((step, which, number))
            drawn = objective.draw(self.task.batch(rng), rng, generator)
            return Drawn((drawn.batch, generator), drawn.tokens)

        return Objective(draw, lambda network, batch, _: objective.losses(network, *batch))


RECIPE = replace(slots_tiny(), minutes=FOREVER, steps=6, log_every=1, evaluate_every=100, samples=0, clip=0.0)
PASSES = [[1.0, 2.0, 3.0], [4.0], [5.0, 6.0], [7.0, 8.0, 9.0, 10.0]]
TINY = {"slots": slots_tiny, "muse": muse_tiny, "ar": ar_tiny}


def run_means(ranks: Ranks, passes: list[list[float]], out: Path, spoilt: Mapping[int, float] = {}, **settings: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.train.make_task", lambda *_: Means(passes, spoilt))
        patch.setattr("train.train.packed.load", lambda _: None)
        train(replace(RECIPE, **settings), Path("none"), out, "cpu", ranks)


def gradients(ranks: Ranks, engine: str, data: Path, out: Path, passes: int) -> None:
    """Those of three steps from the same weights, into a file."""
    recipe = replace(TINY[engine](), minutes=FOREVER, steps=3, evaluate_every=100, accumulate=passes)
    kept: list[dict[str, torch.Tensor]] = []

    def keep(run: Run, _: float) -> None:
        kept.append({name: p.grad.clone() for name, p in run.network.named_parameters() if p.grad is not None})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.train.make_task", lambda *_: Replay(make_task(recipe, packed.load(data), "cpu"), ranks))
        patch.setattr(Run, "_move", keep)
        patch.setattr(Run, "evaluate", lambda _: False)
        patch.setattr(Run, "told", lambda _: {})
        patch.setattr(Run, "save", lambda _: None)
        train(recipe, data, out / f"{engine}-{ranks.size}", "cpu", ranks)
    torch.save(kept, out / f"{engine}-{ranks.size}-{ranks.rank}.pt")


def work(ranks: Ranks, data: Path, out: Path) -> None:
    """What the tests below look at, by two ranks."""
    run_means(ranks, PASSES[ranks.rank :: 2], out / "means", accumulate=2)
    for engine in TINY:
        gradients(ranks, engine, data, out, passes=1)
    spoilt: dict[int, float] = {3: INF} if ranks.rank else {4: NAN}
    run_means(ranks, PASSES[ranks.rank :: 2], out / "spoilt", spoilt)
    clocks(ranks, out)
    agreed(ranks, out)
    with pytest.raises(SystemExit if ranks.rank else BadRequest) as left:  # both of them, at one time
        bad = dict.fromkeys(range(4, 100), NAN) if ranks.rank else {}
        run_means(ranks, PASSES[ranks.rank :: 2], out / "stopped", bad, steps=100, save_every=3)
    (out / f"stopped-{ranks.rank}.txt").write_text(str(left.value))


def clocks(ranks: Ranks, out: Path) -> None:
    """Two clocks that go unlike; how far each rank thinks that the run is, into a file."""
    told: list[float] = []
    done = Run.done

    def listen(run: Run) -> float:
        told.append(done(run))
        return told[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "seconds", property(lambda run: 60.0 * run.step * (1 + 99 * ranks.rank)))
        patch.setattr(Run, "done", listen)
        run_means(ranks, PASSES, out / "clocks", minutes=4.0, steps=1000)
    (out / f"clock-{ranks.rank}.txt").write_text(json.dumps(told))


def agreed(ranks: Ranks, out: Path) -> None:
    """What only one rank meets ends all of them, and the first says it."""
    for make, words in ((ranks.together, "of rank 1"), (ranks.from_first, "of rank 0")):
        with pytest.raises(SystemExit if ranks.rank else BadData) as left:
            make(partial(fail, ranks, words))
        (out / f"{words}-{ranks.rank}.txt").write_text(str(left.value))
    assert ranks.gather(("a", "b")[ranks.rank]) == ["a", "b"] and ranks.from_first(lambda: ranks.rank) == 0
    assert ranks.sum(torch.tensor([1 + ranks.rank])).tolist() == [3.0]


def fail(ranks: Ranks, words: str) -> None:
    if words == f"of rank {ranks.rank}":
        raise BadData(words)


@pytest.fixture(scope="module")
def worked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    together(work, data, out)
    return out


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "valid" not in line]


def test_the_gradient_is_that_of_all_tokens_of_all_passes_and_ranks(worked: Path, tmp_path: Path) -> None:
    """The mean of 1 to 10, not of the means of passes or ranks; the same as of one process that makes all the passes."""
    norms = [line["norm"] for line in lines_of(worked / "means")]
    assert norms == pytest.approx([5.5, 5.5 * 101**0.5] * 3, abs=6e-4)
    run_means(ALONE, PASSES, tmp_path, accumulate=4)
    assert [line["norm"] for line in lines_of(tmp_path)] == norms
    ends = [torch.load(out / "state-000006.pt", weights_only=True)["network"] for out in (worked / "means", tmp_path)]
    assert all(torch.allclose(ends[0][name], ends[1][name], atol=1e-6) and float(ends[0][name]) < 1 for name in ("v", "w"))


@pytest.mark.parametrize("engine", TINY)
def test_a_step_of_two_ranks_is_that_of_one_on_both_batches(worked: Path, data: Path, tmp_path: Path, engine: str) -> None:
    gradients(ALONE, engine, data, tmp_path, passes=2)
    (one,) = [torch.load(tmp_path / f"{engine}-1-0.pt", weights_only=True)]
    two = [torch.load(worked / f"{engine}-2-{rank}.pt", weights_only=True) for rank in range(2)]
    assert len(one) == len(two[0]) == len(two[1]) == 3
    for alone, first, second in zip(one, *two, strict=True):
        assert alone.keys() == first.keys() == second.keys() and len(alone) > 20
        assert all(torch.equal(first[name], second[name]) for name in alone)
        assert all(torch.allclose(first[name], alone[name], rtol=1e-3, atol=1e-5 * float(alone[name].abs().max())) for name in alone)
        assert any(alone[name].any() for name in alone)
    if engine == "slots":  # the numbers of notes are trained in the first of three steps: elsewhere their head has no gradient
        assert len(one[0]) > len(one[1]) == len(one[2])


def test_what_is_not_finite_on_one_rank_is_skipped_by_both_and_counted(worked: Path) -> None:
    lines = lines_of(worked / "spoilt")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line.get("skipped") for line in lines] == [None, None, None, 1, 2, 2]
    assert ["norm" in line for line in lines] == [True, True, True, False, False, True]
    state = torch.load(worked / "spoilt" / "state-000006.pt", weights_only=True)
    assert state["step"] == 6 and state["skipped"] == 2 and all(value.isfinite() for value in state["network"].values())
    assert {int(entry["step"]) for entry in state["optimisers"][0]["state"].values()} == {4, 2}  # of w and of v


def test_too_many_skipped_in_a_row_stop_the_run_and_the_last_state_is_whole(worked: Path) -> None:
    said = [(worked / f"stopped-{rank}.txt").read_text() for rank in range(2)]
    assert f"In {MOST_SKIPPED} steps in a row, the last being {4 + MOST_SKIPPED}," in said[0] and "--lr" in said[0]
    assert said[1] == "2"
    assert sorted(path.name for path in (worked / "stopped").glob("state*")) == ["state-000009.pt", "state-000012.pt"]
    state = torch.load(worked / "stopped" / "state-000012.pt", weights_only=True)
    assert state["step"] == 12 and state["skipped"] == 8
    assert all(value.isfinite() for value in state["network"].values())


def test_the_clock_of_the_first_counts(worked: Path) -> None:
    told = [json.loads((worked / f"clock-{rank}.txt").read_text()) for rank in range(2)]
    assert told[0] == told[1] == [0, 0.25, 0.5, 0.75, 1]


def test_an_error_of_one_rank_ends_all_and_is_told_by_the_first(worked: Path) -> None:
    for words in ("of rank 0", "of rank 1"):
        assert [(worked / f"{words}-{rank}.txt").read_text() for rank in range(2)] == [words, "2"]


def test_one_process_skips_and_stops_alike(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=f"In {MOST_SKIPPED} steps in a row"):
        run_means(ALONE, PASSES, tmp_path, dict.fromkeys(range(2, 100), NAN), steps=100)
    assert lines_of(tmp_path)[-1]["skipped"] == MOST_SKIPPED - 1


def test_who_this_is_stands_in_the_environment() -> None:
    assert from_environment({}) == Ranks()
    with pytest.raises(BadRequest, match="go together"):
        from_environment({"WORLD_SIZE": "4"})
    assert from_environment({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}) == Ranks(5, 8, 1)
    assert Ranks(0, 8).first and not Ranks(4, 8).first


def test_each_process_has_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    assert [Ranks(5, 8, local).device("cuda") for local in (0, 1)] == ["cuda:0", "cuda:1"]
    assert ALONE.device("cuda") == "cuda" and Ranks(5, 8, 1).device("cpu") == "cpu"
    with pytest.raises(BadRequest, match="2 GPUs are visible, and process 3"):
        Ranks(2, 4, 2).device("cuda")
    with pytest.raises(BadRequest, match="--device mps is for one process"):
        Ranks(0, 2).device("mps")
