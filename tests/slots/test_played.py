"""Velocities of new notes: of a score those of their class, of a performance all that there are."""

import numpy as np
import pytest

from musediff.engines.slots import layout, vocab
from musediff.engines.slots.codec import decode_notes, encode_track, played
from musediff.pipeline import MusePipeline, Sampling
from tests.slots.conftest import make_clip


@pytest.mark.parametrize(
    ("velocities", "so"),
    [([20] * 40, False), ([20] * 20 + [24] * 20, False), ([20, 20, 20, 18] * 10, True), ([20, 18] * 20, True), ([20, 18, 19, 17], False)],
)
def test_velocities_that_change_from_note_to_note_are_played(velocities: list[int], so: bool) -> None:
    assert played(np.array(velocities)) is so


def decoded(bar: int, position: int, velocity: int, as_played: bool, limits: tuple[int, int] = (1, 127)) -> int:
    (note,) = decode_notes(np.array([bar]), np.array([[position, 60, 3, velocity]]), 1920, 8 * 1920, limits, as_played)
    return note.velocity


def test_a_performance_has_every_velocity_of_a_class_about_as_often_and_one_at_each_onset() -> None:
    places = [(bar, position) for bar in range(8) for position in range(48)]
    for velocity in range(1, vocab.SIZES[vocab.VELOCITY]):
        found = np.array([decoded(*place, velocity, as_played=True) for place in places]) - velocity * vocab.VELOCITY_STEP
        assert set(found.tolist()) == set(range(vocab.VELOCITY_STEP))
        assert np.bincount(found).min() > len(places) / vocab.VELOCITY_STEP * 0.6
        assert (np.diff(found) == 0).mean() < 0.5
        assert {decoded(*place, velocity, as_played=False) for place in places} == {velocity * vocab.VELOCITY_STEP + 2}
    assert decoded(1, 5, 9, as_played=True) == decoded(1, 5, 9, as_played=True)


def test_it_stays_inside_the_class_the_limits_and_the_range_of_midi() -> None:
    for place in range(48):
        for velocity in range(vocab.SIZES[vocab.VELOCITY]):
            loud = decoded(0, place, velocity, as_played=True)
            assert 1 <= loud <= 127 and loud // vocab.VELOCITY_STEP == velocity
            assert 50 <= decoded(0, place, velocity, as_played=True, limits=(50, 53)) <= 53


def test_notes_that_are_kept_have_the_velocity_that_they_had_and_changed_ones_are_like_them() -> None:
    clip = make_clip(4, bars=8, per_bar=8)  # velocities at random
    made = MusePipeline.tiny().modify(clip, 0.5, sampling=Sampling(seed=1, steps=4)).clips[0]
    old, new = set(clip.tracks[0].notes), [note for note in made.tracks[0].notes if note not in set(clip.tracks[0].notes)]
    assert len(old & set(made.tracks[0].notes)) > 10 and len(new) > 10
    assert {note.velocity % vocab.VELOCITY_STEP for note in new} == set(range(vocab.VELOCITY_STEP))
    row = layout.start_row(layout.encode_clip(clip), np.ones((8, 1), bool), np.ones(4, bool))
    tracks = [encode_track(clip.tracks[0], 8, 1920)]
    assert layout.to_clip(row, row.values, np.zeros_like(row.hidden), clip, tracks) == clip
