"""What a run draws its clips from: data that cannot be trained on are refused, and batches may grow on the way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musediff.data import store as packed
from musediff.engines.clip_rows import Batches
from musediff.engines.slots.dataset import ClipSource
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
