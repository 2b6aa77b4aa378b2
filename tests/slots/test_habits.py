"""What the critic is told of how tracks go about, beside counting by hand."""

import numpy as np
import torch

from musediff.clip import Clip, Note, Track
from musediff.engines.slots import habits, vocab
from musediff.engines.slots.line import notes_of
from tests.slots.conftest import make_clip
from tests.slots.test_critic import line_of, plain

# Bar 1: C4 with E4 over it, G4 a quarter later, E4 on the third. Bar 2: the same rhythm, C4 again, then two others. Bar 3: nothing.
NOTES = (
    *(Note(onset, pitch, 480, velocity) for onset, pitch, velocity in ((0, 60, 40), (0, 64, 40), (480, 67, 80), (960, 64, 60))),
    *(Note(1920 + onset, pitch, 480, velocity) for onset, pitch, velocity in ((0, 60, 60), (480, 62, 60), (960, 64, 60))),
)
CLIP = Clip(3, (Track(NOTES),))


def test_of_notes() -> None:
    told = habits.of_notes(line_of([CLIP]))[0, 1:]  # behind the start
    assert told.shape == (7, habits.OF_NOTES)
    assert told[:, 0].tolist() == [10, 10, 20, 15, 15, 15, 15], "velocities in classes of four"
    assert told[:, 1].tolist() == [0, 0, 10, 5, 0, 0, 0] and told[:, 2].tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert told[:, 3].tolist() == told[:, 0].tolist() and told[:, 4].tolist() == [0, 0, 10, -5, 0, 0, 0], "all of them are on beats"
    assert told[:, 5].tolist() == [60, 64, 67, 64, 60, 62, 64] and told[:, 6].tolist() == [0, 4, 3, 3, 4, 2, 2]
    assert told[:, 7].tolist() == [0, 1, 1, 0, 0, 1, 1] and told[:, 8].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert told[:, 9].tolist() == [1, 1, 0, 0, 0, 0, 0]
    torch.testing.assert_close(told[:, 10], torch.tensor([0.0, 0, 12, 12, 24, 12, 12]).log1p())
    assert told[:, 12].tolist() == [0, 0, 0, 0, 1, 1, 1] and told[:, 13].tolist() == [0, 0, 0, 0, 1, 0, 1]


def test_of_tracks() -> None:
    line = line_of([CLIP])
    (told,) = habits.of_tracks(line, notes_of(line))
    compass, loudness, uneven, alike, same, rhythms, tunes, turns = told[:8].tolist()
    assert (compass, loudness) == (7, 10)
    assert np.isclose(uneven, np.std([4, 3, 0]))
    assert np.isclose(alike, (1 + 1 - 3 / vocab.MAX_POSITIONS) / 2) and same == 0.5, "three places of the last bar differ"
    assert np.isclose(rhythms, 2 / 3) and tunes == 1
    steps = [3, -3, -4, 2, 2]  # E G E | C D E
    assert np.isclose(turns, 2 / 5)
    assert torch.allclose(told[8:], torch.tensor([sum(kind(step) == k for step in steps) / 5 for k in range(9)]))


def kind(step: int) -> int:
    return sum(step > edge for edge in habits.STEP_EDGES)


def test_notes_of_other_tracks_are_left_out_and_nothing_gives_zeros() -> None:
    both = plain(make_clip(5, bars=3, tracks=2))
    alone = Clip(3, (both.tracks[1],), both.time_signature)
    line, one = line_of([both]), line_of([plain(alone)])
    torch.testing.assert_close(habits.of_tracks(line, notes_of(line) & (line.track_BN == 1)), habits.of_tracks(one, notes_of(one)))
    nothing = habits.of_tracks(line, torch.zeros_like(notes_of(line)))[0]
    assert nothing.isfinite().all() and nothing[:3].tolist() == [0, 0, 0] and not nothing[7:].any()


def test_steps_do_not_lead_from_one_track_into_the_next() -> None:
    up, down = (Track(tuple(Note(480 * i, pitch, 480, 80) for i, pitch in enumerate(of))) for of in ((60, 61, 62), (90, 89, 88)))
    line = line_of([Clip(1, (up, down))])
    (told,) = habits.of_tracks(line, notes_of(line))
    assert told[7] == 0 and told[8:].tolist() == [0, 0, 0, 0.5, 0, 0.5, 0, 0, 0]
