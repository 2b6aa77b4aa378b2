"""Two processes train as one: each sees clips of its own, all hold the same weights, and a run goes on from where it stopped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musediff.engines.clip_rows import Batches
from musediff.engines.slots.dataset import ClipRef
from tests.chaos import same
from tests.interrupted import Interrupted, interrupt
from tests.joined_processes import together
from train.chance import Chance
from train.ranks import Ranks
from train.recipes import MuseRecipe, Recipe, ar_tiny, muse_tiny, slots_tiny
from train.run import Run
from train.train import train

FOREVER = 1e12  # minutes: the learning rate follows the steps alone
ENGINES: dict[str, Recipe] = {"slots": slots_tiny(), "muse": muse_tiny(), "ar": ar_tiny()}
HALF, WHOLE, LATER = 12, 24, 30  # steps


def recipe_of(engine: str, steps: int) -> Recipe:
    fewer: dict[str, Any] = {"evaluate_every": HALF, "log_every": 6, "minutes": FOREVER, "tokens": 300, "warm_up": 5, "samples": 0}
    # With dropout, so that its chance has to survive too; few steps of noise, so that the history fills.
    network = replace(ENGINES[engine].network, dropout=0.1)
    return replace(ENGINES[engine], network=network, steps=steps, **fewer)


def train_both(ranks: Ranks, data: Path, out: Path) -> None:
    """Each engine once as a whole and once interrupted; what each rank saw and holds goes into files beside the runs."""
    patch = pytest.MonkeyPatch()
    few_held_out(patch)
    for engine in ENGINES:
        seen: list[bytes] = []
        watch(patch, seen, out / f"{engine}-held-{ranks.rank}.pt")
        train(recipe_of(engine, WHOLE), data, out / f"{engine}-whole", "cpu", ranks)
        (out / f"{engine}-seen-{ranks.rank}.txt").write_text("\n".join(clip.hex() for clip in seen))
        with pytest.MonkeyPatch.context() as stop, pytest.raises(Interrupted):
            interrupt(stop)
            train(recipe_of(engine, WHOLE), data, out / f"{engine}-parts", "cpu", ranks)
        train(recipe_of(engine, WHOLE), data, out / f"{engine}-parts", "cpu", ranks)
    patch.undo()


def few_held_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("train.slot_clips.HELD_OUT_CLIPS", 4)
    patch.setattr("train.slot_clips.HELD_OUT_BATCHES", 2)
    patch.setattr("train.muse_task.HELD_OUT_CLIPS", 16)


def watch(patch: pytest.MonkeyPatch, seen: list[bytes], held: Path) -> None:
    """Note the clips that are drawn, and the weights at every save."""
    next_batch, save = Batches.next, Run.save

    def told(batches: Batches, rng: np.random.Generator) -> list[Any]:
        clips = next_batch(batches, rng)
        seen.extend(repr(clip.rows).encode() if isinstance(clip, ClipRef) else clip.clean.tobytes() for clip in clips)
        return clips

    def kept(run: Run) -> None:
        save(run)
        torch.save({"network": run.network.state_dict(), "emas": run.emas, "task": run.task.state()}, held)

    patch.setattr(Batches, "next", told)
    patch.setattr(Run, "save", kept)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    together(train_both, data, out)
    return out


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_ranks_hold_the_same_and_saw_different_clips(trained: Path, engine: str) -> None:
    held = [load(trained / f"{engine}-held-{rank}.pt") for rank in range(2)]
    assert same(held[0], held[1]) and len(held[0]["network"]) > 20
    seen = [(trained / f"{engine}-seen-{rank}.txt").read_text().splitlines() for rank in range(2)]
    assert min(map(len, seen)) > WHOLE and seen[0][:20] != seen[1][:20]
    assert len(set(seen[0]) ^ set(seen[1])) > len(set(seen[0]) & set(seen[1])) / 2  # 338 clips only: some are drawn by both
    chances = load(trained / f"{engine}-whole" / f"state-{WHOLE:06}.pt")["chance"]
    assert len(chances) == 2
    for name in ("rng", "generator", "dropout", "place"):
        assert not same(chances[0][name], chances[1][name]), name


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_first_writes_and_the_loss_falls(trained: Path, engine: str) -> None:
    lines = [json.loads(line) for line in (trained / f"{engine}-whole" / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "norm" in line]
    assert [line["step"] for line in logged] == [6, 12, 18, 24]
    assert [line["step"] for line in lines if "valid" in line] == [HALF, WHOLE]
    name = {"slots": "position", "muse": "loss", "ar": "position"}[engine]
    assert logged[-1][name] < logged[0][name] - 0.1
    assert all("skipped" not in line for line in lines)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupted_run_of_two_ends_the_same_to_the_bit(trained: Path, engine: str) -> None:
    ends = [load(trained / f"{engine}-{how}" / f"state-{WHOLE:06}.pt") for how in ("whole", "parts")]
    assert ends[0]["step"] == ends[1]["step"] == WHOLE
    for name in ("network", "emas", "optimisers", "task", "chance", "best", "valid"):
        assert same(ends[0][name], ends[1][name]), name
    steps = [json.loads(line)["step"] for line in (trained / f"{engine}-parts" / "metrics.jsonl").read_text().splitlines()]
    assert HALF in steps and steps[-1] == WHOLE


@pytest.mark.parametrize("engine", ENGINES)
def test_one_process_goes_on_where_two_stopped(
    trained: Path, data: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same schedule and history; its chance is drawn anew, and the same every time."""
    few_held_out(monkeypatch)
    path, ends = trained / f"{engine}-parts" / f"state-{WHOLE:06}.pt", []
    before = load(path)
    for out in (tmp_path / "one", tmp_path / "other"):
        train(recipe_of(engine, LATER), data, out, "cpu", resume=str(path))
        ends.append(load(out / f"state-{LATER:06}.pt"))
    assert same(*({name: end[name] for name in ("network", "emas", "optimisers", "task", "chance")} for end in ends))
    after = ends[0]
    assert after["step"] == LATER and len(after["chance"]) == 1 and after["seconds"] > before["seconds"]
    assert {int(entry["step"]) for entry in after["optimisers"][0]["state"].values()} >= {LATER}
    assert after["optimisers"][0]["param_groups"][0]["lr"] < before["optimisers"][0]["param_groups"][0]["lr"] * 2
    assert not same(before["network"], after["network"])
    if isinstance(recipe_of(engine, LATER), MuseRecipe):
        counts = [int(state["task"]["steps"]["count"].sum()) for state in (before, after)]
        assert 0 < counts[0] < counts[1]


def test_each_rank_and_each_start_draws_from_streams_of_its_own() -> None:
    first = {(seed, step, rank): Chance("cpu", seed, step, rank) for seed in (0, 1, 2) for step in (0, 1, 2) for rank in (0, 1, 2)}
    assert len({chance.rng.integers(2**62) for chance in first.values()}) == 27
    assert len({chance.generator.initial_seed() for chance in first.values()}) == 27
    again = Chance("cpu", 1, 2, 0)
    assert again.generator.initial_seed() == first[1, 2, 0].generator.initial_seed()
