"""The original's settings of damage reach the clips that training shows."""

from pathlib import Path

import numpy as np
import pytest

from musediff.data import store as packed
from musediff.engines.muse.dataset import Spoiling
from musediff.errors import BadRequest
from musediff.tokens import vocab
from train.choose import choose
from train.muse_task import MuseTask
from train.recipes import MuseRecipe


@pytest.fixture(scope="module")
def store(data: Path) -> packed.Store:
    return packed.load(data)


def shown(store: packed.Store, **flags: str) -> tuple[int, int, int]:
    """Of 40 damaged clips: those that differ, hidden tokens, and others that changed."""
    recipe = choose("muse-tiny", None, {"damaged": "1"} | flags).recipe
    assert isinstance(recipe, MuseRecipe)
    clips = MuseTask(recipe, store, "cpu").source.draw(np.random.default_rng(0), 40)
    assert all(clip.damaged for clip in clips)
    hidden = sum(int(((clip.shown == vocab.PAD) & (clip.clean != vocab.PAD)).sum()) for clip in clips)
    other = sum(int(((clip.shown != vocab.PAD) & (clip.shown != clip.clean)).sum()) for clip in clips)
    return sum(not np.array_equal(clip.shown, clip.clean) for clip in clips), hidden, other


def test_each_setting_reaches_the_clips(store: packed.Store) -> None:
    assert shown(store, corr_p="0") == shown(store, corr_max="0") == shown(store, corr_available="") == (0, 0, 0)
    differing, hidden, other = shown(store, corr_available="mt", corr_p="1")
    assert differing > 20 and hidden > 0 and other == 0
    _, all_hidden, _ = shown(store, corr_available="mt,mn", corr_p="1", corr_kwargs='{"p": 1}')
    assert all_hidden > 1.5 * hidden
    differing, hidden, other = shown(store, corr_available="rn", corr_p="1", corr_kwargs='{"rn": {"p": 1}}')
    assert differing > 10 and hidden == 0 and other > 0
    differing, hidden, other = shown(store, corr_available="rr", corr_p="1")
    assert 0 < differing < 40 and hidden == 0  # only where nothing between the bars is given


def test_the_settings_are_read_and_kept(store: packed.Store) -> None:
    flags = {"corr_available": "mt, rr", "corr_max": "2", "corr_p": "0.75", "corr_kwargs": '{"p": 0.4, "rr": {"count": 1}}'}
    recipe = choose("muse-tiny", None, flags).recipe
    assert isinstance(recipe, MuseRecipe) and recipe.spoiling.names == ("mt", "rr")
    four = {"mt": {"p": 0.4}, "mn": {"p": 0.4}, "rn": {"p": 0.4}, "rr": {"count": 1}}
    assert recipe.spoiling == Spoiling("mt, rr", 2, 0.75, four)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"corr_available": "mt,xx"}, "Corruption 'xx' is not known"),
        ({"corr_max": "-1"}, "--corr-max is '-1': give a whole number from 0"),
        ({"corr_p": "1.5"}, "--corr-p is '1.5': give a number from 0 to 1."),
        ({"corr_kwargs": "{'p':0.4}"}, "no JSON"),
        ({"corr_kwargs": '{"mt": {"p": 2}}'}, "mt: p is 2"),
        ({"corr_kwargs": '{"q": 1}'}, "'q' is no corruption"),
    ],
)
def test_what_is_wrong_is_said(flags: dict[str, str], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        choose("muse-tiny", None, flags)
    assert message in str(caught.value)
