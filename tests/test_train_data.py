"""What a run draws its clips from: data that cannot be trained on are refused, and batches may grow on the way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musediff.data import store as packed
from musediff.engines.clip_rows import Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.dataset import ClipSource
from musediff.engines.slots.tables import CLIP, NOTE, Tables
from musediff.errors import BadData
from train.recipes import RECIPES, muse_tiny
from train.registry import make_task


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.endswith("-tiny")])
def test_data_without_clips_of_one_kind_are_refused_before_the_first_step(data: Path, recipe: str) -> None:
    """Without held-out songs the first evaluation would be the end of the run."""
    store = packed.load(data)
    for split, kind in ((packed.TRAIN, "held-out"), (packed.VALID, "training")):
        one_kind = replace(store, song_split=np.full_like(store.song_split, split))
        with pytest.raises(BadData, match=f"no {kind} clip"):
            make_task(RECIPES[recipe](), one_kind, "cpu")


def test_data_of_too_long_clips_are_refused(data: Path) -> None:
    recipe = replace(muse_tiny(), network=replace(muse_tiny().network, seq_len=12))
    with pytest.raises(BadData, match="at most 12 tokens"):
        make_task(recipe, packed.load(data), "cpu")


def test_a_pool_that_is_cut_into_fewer_batches_is_gone_on_with(data: Path) -> None:
    """A run may go on with larger batches than it began with."""
    source, rng = ClipSource(packed.load(data), packed.TRAIN), np.random.default_rng(0)
    before = Batches(source.draw, tokens=400, pool=60)
    before.next(rng)
    for _ in before.cuts[1:]:
        before.next(rng)
    after = Batches(source.draw, tokens=4000, pool=60)
    after.restore(before.state())
    assert len(after.cuts) < len(before.cuts) and after.next(rng)


def test_the_notes_of_a_bar_beyond_what_a_network_counts_are_left_out(data: Path) -> None:
    """The lowest of those that begin together stay, and other tracks keep all."""
    store = packed.load(data)
    track = int(np.argmax(np.diff(store.note_offset)))
    its = slice(int(store.note_offset[track]), int(store.note_offset[track + 1]))
    onset = store.note_onset_ticks.copy()
    onset[its] = onset[its][0]
    before, crowded = Tables.of(store, "cpu"), Tables.of(replace(store, note_onset_ticks=onset), "cpu")
    first, number = crowded.clip_C13[:, CLIP.index("first_note")], crowded.clip_C13[:, CLIP.index("notes")]
    row = int(np.flatnonzero((store.clip_track == track) & (number.numpy() > 0))[0])
    assert int(number[row]) == vocab.COUNTS - 1 < its.stop - its.start
    kept = crowded.note_N5[int(first[row]) : int(first[row] + number[row]), NOTE.index("pitch")]
    assert kept.tolist() == np.sort(store.note_pitch[its])[: vocab.COUNTS - 1].tolist()
    others = torch.from_numpy(store.clip_track != track)
    assert torch.equal(number[others], before.clip_C13[others, CLIP.index("notes")])
