"""New tracks are written in order where the weights can read so; everything else, and what is asked for, is revealed in any order."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.clip import Meta
from musediff.data import store as packed
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import place_at
from musediff.engines.slots.engine import SlotsEngine
from musediff.engines.slots.line import past_of, starts
from musediff.engines.slots.losses import JUDGE_WEIGHT
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.errors import BadRequest
from musediff.pipeline import MusePipeline, Sampling
from musediff.priors import Priors
from tests.ar.conftest import cut, line_of
from tests.slots.conftest import make_clip
from tests.test_engines import assert_legal
from train.recipes import SlotsRecipe, slots_tiny
from train.slots_task import LINE, SlotsTask


def blind() -> MusePipeline:
    """Weights that read no lines, as they were before there were any."""
    torch.manual_seed(0)
    return MusePipeline(SlotsEngine(SlotsNetwork(replace(NetworkConfig.tiny(), distances=0))), "slots", Priors())


def turns(made: MusePipeline, sampler: str | None) -> int:
    job = made.start_generate(Meta(num_measures=8), Sampling(seed=1, steps=5, sampler=sampler))
    found = sum(1 for _ in job)
    assert_legal(job.result().clips[0])
    return found


def test_new_tracks_take_a_turn_for_every_bar_and_in_any_order_the_steps_that_are_asked_for() -> None:
    made = MusePipeline.tiny()
    assert (turns(made, None), turns(made, "in-order"), turns(made, "any-order"), turns(blind(), None)) == (8, 8, 5, 5)


def test_bars_of_a_clip_are_filled_with_what_comes_after_in_sight() -> None:
    clip = make_clip(2, tracks=1, bars=4)
    job = MusePipeline.tiny().start_modify(clip, 1.0, bars=frozenset({1}), sampling=Sampling(seed=1, steps=3))
    assert sum(1 for _ in job) == 3
    bar = clip.bar_ticks
    outside = [[n for n in c.tracks[0].notes if n.onset_ticks // bar != 1] for c in (clip, job.result().clips[0])]
    assert outside[0] == outside[1]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (lambda made, clip, s: made.start_modify(clip, 0.5, sampling=s), "changes none. Leave it out or choose 'any-order'"),
        (lambda made, clip, s: made.start_repair(clip, sampling=s), "changes none"),
        (lambda made, clip, s: blind().start_generate(Meta(), s), "these weights do not read in order"),
        (lambda made, clip, s: made.start_generate(Meta(), replace(s, sampler="dpm")), "Choose from in-order, any-order"),
    ],
)
def test_what_cannot_be_done_in_order_is_refused_in_words(start, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        start(MusePipeline.tiny(), make_clip(1, tracks=1), Sampling(sampler="in-order"))


def test_the_order_is_told_in_the_settings_of_the_clip() -> None:
    made = MusePipeline.tiny()
    one, other = (made.generate(Meta(num_measures=2), Sampling(seed=4, steps=4, sampler=name)) for name in (None, "any-order"))
    assert one.clips != other.clips and "any-order" in other.settings and "any-order" not in one.settings


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), tracks=st.integers(1, 3), bars=st.integers(1, 5))
def test_what_is_told_of_the_notes_before_is_what_is_there_without_those_behind(seed: int, tracks: int, bars: int) -> None:
    """Of every note of a line, waits, intervals and echoes as if the line ended with it."""
    line = line_of(seed, tracks=tracks, variants=1, bars=bars)
    position = line.values_BNF[..., 0]
    whole = past_of(line, position)
    for token in range(int((~line.pad_BN).sum())):
        until = cut(line, 0, token + 1)
        alone = place_at(replace(until, pad_BN=until.pad_BN | starts(until)), position[:, token : token + 1])
        for name in ("chord_X", "wait_XW", "echo_XE", "pitch_XP"):
            assert torch.equal(getattr(whole, name)[:, token], getattr(alone, name)[:, 0]), (token, name)


def test_every_step_trains_lines_and_the_rest_as_often_as_is_asked(data: Path) -> None:
    recipe = replace(slots_tiny(), notes_every=2, count_every=3)
    named = [drawn(recipe, data, step) for step in range(7)]
    assert [LINE + "advance" in names for names in named] == [True] * 7
    assert [step for step, names in enumerate(named) if "judge" in names] == [0, 2, 4, 6]
    assert [step for step, names in enumerate(named) if "count" in names] == [0, 3, 6]
    without = replace(recipe, network=replace(recipe.network, distances=0))  # then hidden notes are all there is
    assert ["judge" in drawn(without, data, step) for step in range(3)] == [True] * 3
    assert not any(name.startswith(LINE) for step in range(3) for name in drawn(without, data, step))


def drawn(recipe: SlotsRecipe, data: Path, step: int) -> set[str]:
    """Names of the losses of a step."""
    task, generator, rng = SlotsTask(recipe, packed.load(data), "cpu"), torch.Generator().manual_seed(step), np.random.default_rng(step)
    torch.manual_seed(0)
    net = task.network()
    found: set[str] = set()
    for objective in task.objectives(step):
        batch = objective.draw(task.batch(rng), rng, generator)
        losses = objective.losses(net, batch.batch, generator)
        assert losses.sums.shape == batch.tokens.shape and losses.sums.isfinite().all()
        found |= set(losses.named)
    return found


def test_on_held_out_clips_lines_are_told_in_nats_a_note(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh weights know nothing: every field costs the logarithm of its classes, and all of it is part of the loss."""
    monkeypatch.setattr("train.slot_clips.HELD_OUT_CLIPS", 4)
    task = SlotsTask(slots_tiny(), packed.load(data), "cpu")
    torch.manual_seed(0)
    net = task.network().eval()
    assert net.neighbours is not None
    for weight in [w for h in (*net.heads, net.advance_head, net.neighbours.asked) for w in h.parameters()]:
        torch.nn.init.zeros_(weight)
    told = task.evaluate(net)
    for field, size in zip(vocab.FIELDS, vocab.SIZES, strict=True):
        assert told[LINE + field] == pytest.approx(math.log(size), abs=0.02)
    notes = sum(told[name] for name in (*vocab.FIELDS, "count")) + JUDGE_WEIGHT * told["judge"]
    assert told["loss"] == pytest.approx(notes + sum(value for name, value in told.items() if name.startswith(LINE)), rel=1e-4)
