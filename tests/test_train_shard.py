"""Weights that each rank holds a part of (FSDP2), and blocks that are compiled: the run is the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musediff.data import store as packed
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.slots.dataset import ClipSource
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from tests.interrupted import Interrupted, interrupt
from tests.joined_processes import together
from train.compiled import BUCKET, compile_blocks, compiling, padded
from train.muse_task import MuseTask
from train.muse_task import lengthened as longer_tokens
from train.ranks import Ranks
from train.recipes import Recipe, ar_tiny, muse_tiny, slots_tiny
from train.run import Run, optimisers
from train.shard import whole
from train.slots_task import lengthened as longer_slots
from train.slots_task import lengths
from train.train import train

ENGINES: dict[str, Recipe] = {"slots": slots_tiny(), "muse": muse_tiny(), "ar": ar_tiny()}
HALF, WHOLE = 4, 8


def recipe_of(engine: str, shard: bool, **other: Any) -> Recipe:
    fewer: dict[str, Any] = {"evaluate_every": HALF, "minutes": 1e12, "tokens": 300, "warm_up": 2, "samples": 0, "keep": 9}
    return replace(ENGINES[engine], steps=WHOLE, shard=shard, **fewer, **other)


def work(ranks: Ranks, data: Path, out: Path) -> None:
    """Each engine with whole weights and with parts, and with parts interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        few_held_out(patch)
        for engine in ENGINES:
            for shard in (False, True):
                gradients(ranks, engine, shard, data, out)
                train(recipe_of(engine, shard, accumulate=2), data, out / f"{engine}-{shard}", "cpu", ranks)
            with pytest.MonkeyPatch.context() as stop, pytest.raises(Interrupted):
                interrupt(stop)
                train(recipe_of(engine, True, accumulate=2), data, out / f"{engine}-parts", "cpu", ranks)
            train(recipe_of(engine, True, accumulate=2), data, out / f"{engine}-parts", "cpu", ranks)


def gradients(ranks: Ranks, engine: str, shard: bool, data: Path, out: Path) -> None:
    """Those of four steps from the same weights, into a file."""
    kept: list[dict[str, torch.Tensor]] = []

    def keep(run: Run, _: float) -> None:
        found = {name: whole(p.grad) for name, p in run.network.named_parameters() if p.grad is not None}
        kept.append({name: grad.clone() for name, grad in found.items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_move", keep)
        recipe = replace(recipe_of(engine, shard, accumulate=2), steps=4, evaluate_every=99, clip=0.0)
        train(recipe, data, out / f"{engine}-{shard}-gradients", "cpu", ranks)
    torch.save(kept, out / f"{engine}-{shard}-{ranks.rank}.pt")


def few_held_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("train.slot_clips.HELD_OUT_CLIPS", 4)
    patch.setattr("train.slot_clips.HELD_OUT_BATCHES", 1)
    patch.setattr("train.muse_task.HELD_OUT_CLIPS", 8)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    together(work, data, out)
    return out


def end(out: Path, step: int = WHOLE) -> dict[str, Any]:
    return torch.load(out / f"state-{step:06}.pt", weights_only=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_parts_are_those_of_whole_weights(trained: Path, engine: str) -> None:
    """Of several passes and, in slots, of two losses of which the second leaves parts of the network out."""
    told = [torch.load(trained / f"{engine}-{name}.pt", weights_only=True) for name in ("False-0", "True-0", "True-1")]
    assert [len(steps) for steps in told] == [4, 4, 4]
    for one, first, second in zip(*told, strict=True):
        used = {name for name in one if one[name].any()}
        assert used <= first.keys() == second.keys() and len(used) > 20
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert all(torch.allclose(first[name], one[name], rtol=1e-3, atol=1e-5 * float(one[name].abs().max())) for name in used)


@pytest.mark.parametrize("engine", ENGINES)
def test_parts_of_the_weights_move_as_whole_ones(trained: Path, engine: str) -> None:
    """The optimisers make much of the last bits of a gradient, so not to the bit. What is written are whole tensors."""
    (before, after), (_, parts) = ([end(trained / f"{engine}-{shard}", step) for step in (HALF, WHOLE)] for shard in (False, True))
    halfway = end(trained / f"{engine}-True", HALF)["network"]
    moves = {name: value - before["network"][name] for name, value in after["network"].items()}
    moved = {name: move for name, move in moves.items() if move.norm() > 1e-3}
    off = [float((parts["network"][name] - halfway[name] - move).norm() / move.norm()) for name, move in moved.items()]
    assert len(off) > 20 and np.mean(off) < 0.1
    assert parts["valid"]["loss"] == pytest.approx(after["valid"]["loss"], rel=0.002)
    assert shapes(after) == shapes(parts) and len(str(shapes(after))) > 1000


def shapes(tree: Any) -> Any:
    """Shapes of all tensors of a state, chances left out."""
    if isinstance(tree, dict):
        return {name: shapes(value) for name, value in tree.items() if name not in ("chance", "recipe")}
    if isinstance(tree, list):
        return [shapes(value) for value in tree]
    return tuple(tree.shape) if isinstance(tree, torch.Tensor) else None


@pytest.mark.parametrize("engine", ENGINES)
def test_an_interrupted_run_of_parts_ends_the_same_and_one_process_goes_on_with_it(
    trained: Path, data: Path, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = end(trained / f"{engine}-True"), end(trained / f"{engine}-parts")
    assert all(torch.equal(one["network"][key], other["network"][key]) for key in one["network"])
    assert one["best"] == other["best"]
    few_held_out(monkeypatch)
    recipe = replace(recipe_of(engine, False), steps=WHOLE + 1)
    train(recipe, data, tmp_path, "cpu", resume=str(trained / f"{engine}-parts"))
    assert end(tmp_path, WHOLE + 1)["step"] == WHOLE + 1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at its own
def test_blocks_are_compiled_once_for_all_lengths_and_compute_the_same() -> None:
    made: list[Any] = []

    def count(graph: Any, _: Any) -> Any:
        made.append(graph)
        return graph.forward

    torch.manual_seed(0)
    muse = MuseNetwork(MuseConfig(64, 256, 32, 16, width=64, layers=3, heads=2, feed_forward=128, dropout=0, layer_dropout=0)).train()
    names = list(muse.state_dict())
    inputs = [(batch, padded(length)) for batch, length in ((3, 60), (5, 64), (2, 100), (9, 128), (7, 30), (4, 130))]
    told = [(torch.randn(batch, length, 32), torch.ones(batch), torch.zeros(batch, length, dtype=torch.bool)) for batch, length in inputs]
    before = [muse(*batch) for batch in told]
    compile_blocks(muse.blocks, count)
    after = [muse(*batch) for batch in told]
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(before, after, strict=True))
    assert len(made) <= 2 < len({length for _, length in inputs}) and list(muse.state_dict()) == names
    after[0].sum().backward()
    assert all(p.grad is not None for p in muse.blocks.parameters())


def test_lengths_fall_into_few_buckets() -> None:
    assert [padded(length) for length in (1, BUCKET, BUCKET + 1)] == [BUCKET, BUCKET, 2 * BUCKET]
    assert padded(99, 100) == 100 and padded(100, 100) == 100 and padded(BUCKET - 1, 100) == BUCKET
    assert [compiling(choice, "cpu") for choice in ("auto", "yes", "no")] == [False, True, False]
    assert [compiling(choice, "cuda:1") for choice in ("auto", "yes", "no")] == [True, True, False]


def test_more_padding_changes_nothing_that_is_real(data: Path) -> None:
    store, rng = packed.load(data), np.random.default_rng(0)
    source = ClipSource(store, packed.TRAIN)
    slots = source.batch(source.draw(rng, 12), rng, augment=True)
    longer = longer_slots(slots)
    network = SlotsNetwork(NetworkConfig.tiny()).eval()
    with torch.no_grad():
        one, other = network(slots), network(longer)
    notes = slots.pad_BN.shape[1]
    assert longer.pad_BN.shape[1] > notes and torch.equal(lengths(slots), lengths(longer))
    assert sum((one.slot_BND.shape[1], 6, *slots.counts_BRK[0].shape, slots.counts_BRK[0].numel())) % BUCKET
    assert torch.allclose(one.slot_BND[~slots.pad_BN], other.slot_BND[:, :notes][~slots.pad_BN], atol=1e-5)
    task = MuseTask(replace(muse_tiny(), compile="yes"), store, "cpu")
    batch = task.batch(rng)
    assert batch.ids_BL.shape[1] % BUCKET == 0 and batch.layout_BLC is not None
    again = longer_tokens(batch, batch.ids_BL.shape[1] + 5)
    muse = task.network().eval()
    outputs = []
    with torch.no_grad():
        for each in (batch, again):
            time_B = torch.ones(len(each.ids_BL))
            outputs.append(muse(muse.embed(each.clean_BL), time_B, each.pad_BL, None, each.layout_BLC)[:, : batch.ids_BL.shape[1]])
    assert torch.allclose(outputs[0][~batch.pad_BL], outputs[1][~batch.pad_BL], atol=1e-5)


def test_one_kernel_moves_the_weights_of_a_gpu() -> None:
    network = SlotsNetwork(NetworkConfig.tiny())
    assert [optimisers(network, slots_tiny(), fused)[0].defaults["fused"] for fused in (False, True)] == [False, True]
