"""Metadata and the labels that follow from notes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musediff.clip import KEYS, PITCH_RANGES, Meta, mean_pitch_range, rhythm_of, triplet_share
from musediff.errors import BadRequest


def test_triplets() -> None:
    assert triplet_share([0, 160, 320, 480, 640, 800]) == pytest.approx(4 / 6)
    assert triplet_share([0, 60, 120, 180, 240, 300, 360, 420, 480]) == 0
    assert rhythm_of([0, 158, 325], "4/4") == "triplet"
    assert rhythm_of([0, 160, 320], "6/8") == "standard"
    assert rhythm_of([0, 120, 240, 480, 600, 160], "3/4") == "standard"
    assert rhythm_of([], "4/4") == "standard"


@given(st.floats(0, 127))
def test_every_mean_pitch_has_a_range(mean: float) -> None:
    first, last = PITCH_RANGES[mean_pitch_range(mean)]
    assert first <= mean < last + 1


def test_there_are_34_key_names() -> None:
    assert len(set(KEYS)) == 34


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"bpm": 5}, "bpm"), ({"bpm": 90.5}, "whole number"), ({"num_measures": 65}, "64"), ({"inst": "kazoo"}, "kazoo"),
        ({"min_velocity": 90, "max_velocity": 60}, "swap"), ({"chord_progression": ()}, "chord"), ({"chord_progression": (500,)}, "chord"),
        ({"chord_progression": "Am | F"}, "progression.parse"),
    ],
)  # fmt: skip
def test_impossible_metadata_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        Meta(**values)  # type: ignore[arg-type]


def test_what_is_said_wins_and_never_contradicts_what_was_there() -> None:
    row = Meta(min_velocity=60, max_velocity=100, bpm=80)
    assert row.but(Meta(min_velocity=110)) == Meta(min_velocity=110, bpm=80)
    assert row.but(Meta(max_velocity=40, bpm=90)) == Meta(max_velocity=40, bpm=90)
    assert row.but(Meta(min_velocity=70)) == Meta(min_velocity=70, max_velocity=100, bpm=80)
