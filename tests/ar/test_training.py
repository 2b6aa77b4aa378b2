"""What is trained: the likelihood of a clip, whatever the padding; and trained weights in the tables beside others."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musediff.cli import main
from musediff.data import store as packed
from musediff.engines.slots import vocab
from musediff.engines.slots.dataset import ClipSource
from musediff.engines.slots.line import in_line, past_of
from musediff.engines.slots.line_losses import PARTS, line_losses
from musediff.engines.slots.reading import InLine
from musediff.pipeline import MusePipeline
from tests.ar.conftest import cut, line_of, network, two_way_network
from tests.slots.conftest import make_clip
from train.ar_task import ArTask
from train.compare import mend, systems
from train.compiled import BUCKET, compile_blocks
from train.line import ALIGNED, lengthened, lengths
from train.recipes import ar_base, ar_small, ar_tiny, slots_small
from train.train import train


@pytest.mark.parametrize("net", [network(), two_way_network()], ids=["ar", "slots"])
def test_the_loss_is_the_likelihood_of_the_notes_one_by_one(net: InLine) -> None:
    line = line_of(1, tracks=2, variants=1)
    read, expected = net.read_line(line), torch.zeros(len(PARTS))
    tokens = int((~line.pad_BN).sum())
    for place in range(tokens):
        here = read.line_BMD[0, place : place + 1]
        values = line.values_BNF[0, place + 1 : place + 2] if place + 1 < tokens else None
        note = values is not None and int(values[0, 0]) < vocab.SIZES[0]
        bar = int(line.bar_BN[0, place + 1]) if note else 0
        advance = bar - int(line.bar_BN[0, place]) if note else 64
        expected[0] -= net.advance_logits(here).log_softmax(-1)[0, advance]
        if not note:
            continue
        known = cut(line, 0, place + 2)  # and nothing of the note itself
        known.values_BNF[0, -1] = torch.tensor(vocab.SIZES)
        around = past_of(known, values[:, :1]).row(0)
        assert around.chord_X.item() == line.chords_BRC[0, bar, values[0, 0] // 6]
        ahead = net.ahead(here, read.bar_BRD[0, bar : bar + 1], torch.tensor([advance]), around)
        for field in range(4):
            logits = net.field_logits(field, ahead, values, around)
            expected[field + 1] -= logits.log_softmax(-1)[0, values[0, field]]
    assert torch.allclose(line_losses(net, line), expected, rtol=1e-4)


@pytest.mark.parametrize("net", [network(), two_way_network()], ids=["ar", "slots"])
def test_what_is_after_a_field_is_not_seen_by_its_head(net: InLine) -> None:
    line = line_of(2, variants=1)
    values = line.values_BNF.clone()
    last = int((~line.pad_BN).sum()) - 1  # of it only its own losses can tell
    values[0, last, vocab.DURATION] = (values[0, last, vocab.DURATION] + 1) % vocab.SIZES[vocab.DURATION]
    values[0, last, vocab.VELOCITY] = (values[0, last, vocab.VELOCITY] + 1) % vocab.SIZES[vocab.VELOCITY]
    before, after = line_losses(net, line), line_losses(net, line.but(values))
    assert torch.equal(before[1:3], after[1:3]) and not torch.equal(before[3:], after[3:])


def test_padding_changes_nothing_that_is_real(data: Path) -> None:
    rng, net = np.random.default_rng(0), network()
    source = ClipSource(packed.load(data), packed.TRAIN, tracks_share=0.6)
    slots = source.batch(source.draw(rng, 12), rng, augment=True)
    longer = lengthened(slots)
    line, other = in_line(slots), in_line(longer)
    conditions = len(vocab.SHARED) + other.pad_BK.shape[1] + other.pad_BR.shape[1]
    assert other.pad_BN.shape[1] % BUCKET == 0 and conditions % ALIGNED == 0
    assert torch.equal(lengths(line), lengths(other))
    assert torch.allclose(line_losses(net, line), line_losses(net, other), rtol=1e-4)
    alone = sum(line_losses(net, in_line(_row(slots, b))) for b in range(12))
    assert torch.allclose(line_losses(net, line), alone, rtol=1e-4)


def _row(slots, b: int):
    return replace(slots, **{name: getattr(slots, name)[b : b + 1] for name in type(slots).__dataclass_fields__})


def test_the_baseline_is_as_large_as_what_it_stands_beside() -> None:
    sizes = [sum(p.numel() for p in ArTask.network(_of(recipe)).parameters()) for recipe in (ar_small(), ar_base())]
    assert 5.4e6 < sizes[0] < 5.6e6 and 13e6 < sizes[1] < 15e6
    shared = ("tokens", "accumulate", "learning_rate", "muon_rate", "corpus_weight", "tracks_share", "minutes", "ema")
    assert all(getattr(ar_small(), name) == getattr(slots_small(), name) for name in shared)


def _of(recipe) -> ArTask:
    task = ArTask.__new__(ArTask)
    task.recipe = recipe
    return task


def test_trained_weights_stand_in_the_tables(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """Columns that are about changing a clip stay blank, with a note."""
    monkeypatch.setattr("train.slot_clips.HELD_OUT_CLIPS", 4)
    recipe = replace(ar_tiny(), steps=2, evaluate_every=2, tokens=300, samples=1)
    end = train(recipe, data, tmp_path / "run", "cpu")
    assert end["loss"] == pytest.approx(sum(end[name] for name in PARTS))
    assert list((tmp_path / "run" / "samples").rglob("*.mid"))
    capsys.readouterr()
    weights = str(tmp_path / "run" / "weights")
    words = ["--roles", "bass", "--clips", "2", "--repairs", "1", "--strengths", "1", "--json"]
    assert main(["evaluate", "--data", str(data), "--weights", weights, *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "steps" not in report["models"][weights]
    found = report["roles"]["bass"]
    figures = found["groups"]["all"][weights]
    assert {"valid", "cp", "cv", "chord_tones", "oa"} <= set(figures) and figures["valid"] == [1.0]
    assert not {"found_f1", "refilled_f1", "strength"} & set(figures)
    assert [note.removeprefix(f"{weights}: ").split(":")[0] for note in found["notes"]] == ["refill", "repair", "strength"]


def test_a_comparison_leaves_it_out_where_clips_are_mended(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = systems({name: MusePipeline.tiny(name) for name in ("slots", "ar")})
    assert list(chosen) == ["slots", "ar"]
    assert set(mend(chosen, [make_clip(1, bars=2)], "rn", "bass")) == {"left", "slots"}
    assert "bass: ar is left out after rn: The ar engine composes" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at its own
def test_its_blocks_are_compiled_once_for_all_lengths_and_compute_the_same(data: Path) -> None:
    made, rng, net = [], np.random.default_rng(1), network()
    source = ClipSource(packed.load(data), packed.TRAIN)
    batches = [in_line(lengthened(source.batch(source.draw(rng, size), rng, augment=False))) for size in (3, 5, 3, 2)]
    before = [line_losses(net, line) for line in batches]

    def count(graph: Any, _: Any) -> Any:
        made.append(graph)
        return graph.forward

    compile_blocks(net.blocks, count)
    after = [line_losses(net, line) for line in batches]
    assert all(torch.allclose(one, other, rtol=1e-4) for one, other in zip(before, after, strict=True))
    assert len(made) == len(net.blocks[0].COMPILED) < len({line.pad_BN.shape[1] for line in batches})
