"""The trainer on the sample data: the loss falls, a run can be resumed, what it writes runs in the product."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musediff.checkpoint import save
from musediff.clip import PITCH_RANGES, Meta
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.clip_rows import Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.dataset import ClipSource
from musediff.engines.slots.line_losses import PARTS
from musediff.errors import BadCheckpoint
from musediff.pipeline import MusePipeline, Sampling
from train.recipes import ar_tiny, muse_tiny, slots_tiny
from train.registry import make_task
from train.run import Run
from train.train import train, weights_for

TINY = {"slots": slots_tiny(), "muse": muse_tiny(), "ar": ar_tiny()}
FOREVER = 1e12  # minutes: the learning rate follows the steps alone


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.slot_clips.HELD_OUT_CLIPS", 16)
    monkeypatch.setattr("train.muse_task.HELD_OUT_CLIPS", 64)


@pytest.mark.parametrize(("engine", "parts", "fall"), [("slots", vocab.FIELDS, 0.5), ("muse", ("loss",), 0.5), ("ar", PARTS, 1.0)])
def test_a_short_run_learns_resumes_and_makes_clips(data: Path, tmp_path: Path, engine: str, parts: tuple[str, ...], fall: float) -> None:
    recipe = replace(TINY[engine], steps=60, evaluate_every=100, minutes=5, tokens=600, samples=0)
    train(replace(recipe, steps=20), data, tmp_path, "cpu")
    end = train(recipe, data, tmp_path, "cpu")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    valid = [line["valid"] for line in lines if "valid" in line]
    assert [line["step"] for line in lines if "valid" in line] == [20, 60]
    assert sum(end[name] for name in parts) < sum(valid[0][name] for name in parts) - fall
    pipeline = MusePipeline.load(tmp_path / "weights")
    assert pipeline.engine.name == engine
    made = pipeline.generate(Meta(num_measures=4), Sampling(seed=1, steps=2)).clips[0]
    assert made.num_measures == 4 and made.tracks[0].notes
    assert all(note.onset_ticks + note.duration_ticks <= made.end_ticks for note in made.tracks[0].notes)


def test_a_run_does_not_begin_with_weights_of_other_heads(data: Path, tmp_path: Path) -> None:
    task = make_task(slots_tiny(), packed.load(data), "cpu")
    network = task.network()
    save(tmp_path, "slots", {**asdict(network.config), "heads": 4, "dropout": 0.5}, task.fingerprint, network.state_dict(), {})
    with pytest.raises(BadCheckpoint, match="heads 4, this one has 2"):
        weights_for(slots_tiny(), task, tmp_path)
    save(tmp_path, "slots", {**asdict(network.config), "dropout": 0.5}, task.fingerprint, network.state_dict(), {})
    assert weights_for(slots_tiny(), task, tmp_path).keys() == network.state_dict().keys()


class Interrupted(Exception):
    """In place of whatever ends a run."""


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    save = Run.save

    def once(run: Run) -> None:
        save(run)
        if run.step == at:
            raise Interrupted

    monkeypatch.setattr(Run, "save", once)


@pytest.mark.parametrize("engine", TINY)
def test_an_interrupted_run_ends_the_same_to_the_bit(data: Path, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(TINY[engine], steps=12, evaluate_every=5, minutes=FOREVER, tokens=400, samples=0)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe, data, whole, "cpu")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt(patch, 5)
        train(recipe, data, parts, "cpu")
    train(recipe, data, parts, "cpu")
    ends = [torch.load(folder / "state-000012.pt", weights_only=True) for folder in (whole, parts)]
    for one, other in ((end["network"], *end["emas"].values()) for end in ends):
        assert all(torch.equal(one[key], ends[0]["network"][key]) for key in one)
        assert all(torch.equal(other[key], ends[0]["emas"][0.97][key]) for key in other)
    assert ends[0]["best"] == ends[1]["best"] and ends[0]["best"]["step"] in (5, 10, 12)
    learned = [end["task"].get("steps", {}) for end in ends]  # muse: the losses of the steps so far
    assert all(torch.equal(learned[0][key], learned[1][key]) and learned[0][key].any() for key in learned[0])
    assert bool(learned[0]) == (engine == "muse")


def test_batches_carry_the_labels_of_their_notes(data: Path) -> None:
    source = ClipSource(packed.load(data), packed.TRAIN, tracks_share=0.5)
    rng = np.random.default_rng(0)
    slots = source.batch(source.draw(rng, 40), rng, augment=True)
    several = 0
    for b in range(40):
        for k in np.flatnonzero(~slots.pad_BK[b].numpy()):
            here = (slots.track_BN[b] == k) & ~slots.pad_BN[b]
            pitch = slots.values_BNF[b, here, vocab.PITCH].double()
            first, last = list(PITCH_RANGES.values())[int(slots.parts_BKF[b, k, 2]) - 1]
            assert first <= float(pitch.mean()) < last + 1
            velocity = slots.values_BNF[b, here, vocab.VELOCITY]
            assert (int(velocity.min()) + 1, int(velocity.max()) + 1) == tuple(slots.parts_BKF[b, k, 3:].tolist())
            counts = np.bincount(slots.bar_BN[b, here].numpy(), minlength=slots.counts_BRK.shape[1])
            assert (counts == slots.counts_BRK[b, :, k].numpy()).all()
            several += k > 0
    assert several > 3


def test_transposition_moves_pitch_key_and_chords_together(data: Path) -> None:
    source = ClipSource(packed.load(data), packed.TRAIN, tracks_share=0.0)
    raw = source.draw(np.random.default_rng(1), 30)
    plain, moved = (source.batch(raw, np.random.default_rng(2), augment) for augment in (False, True))
    shift = (moved.values_BNF[:, 0, vocab.PITCH] - plain.values_BNF[:, 0, vocab.PITCH]).numpy()
    assert len(set(shift.tolist())) > 5
    for b in range(30):
        real = plain.chords_BRC[b] < 108
        assert (((moved.chords_BRC[b] // 9 - plain.chords_BRC[b] // 9 - shift[b]) % 12)[real] == 0).all()
        if plain.shared_BF[b, 1] > 0:
            assert (int(moved.shared_BF[b, 1] - plain.shared_BF[b, 1]) - shift[b]) % 12 == 0


def test_stored_clips_and_training_batches_agree(data: Path) -> None:
    store = packed.load(data)
    source = ClipSource(store, packed.TRAIN, tracks_share=0.0)
    for row in source.rows[::60]:
        clip = clip_at(store, [int(row)])
        slots = source.batch([source.cut([int(row)])], np.random.default_rng(0), augment=False)
        notes, bar = slots.values_BNF[0], slots.bar_BN[0]
        onsets = sorted(n.onset_ticks // vocab.POSITION_TICKS for n in clip.tracks[0].notes)
        assert onsets == (bar * (clip.bar_ticks // vocab.POSITION_TICKS) + notes[:, vocab.POSITION]).tolist()
        assert sorted(n.pitch for n in clip.tracks[0].notes) == sorted(notes[:, vocab.PITCH].tolist())


def test_batches_are_of_like_length_and_bounded(data: Path) -> None:
    batches = Batches(ClipSource(packed.load(data), packed.TRAIN).draw, tokens=2000, pool=200)
    rng = np.random.default_rng(0)
    for _ in range(12):
        lengths = [clip.length for clip in batches.next(rng)]
        assert len(lengths) == 1 or max(lengths) * len(lengths) <= 2000
        assert np.mean(lengths) > 0.5 * max(lengths)
