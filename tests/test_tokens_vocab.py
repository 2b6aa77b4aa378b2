"""The table of tokens against the ids that the original is known to use."""

import numpy as np
import pytest

from musediff.chords import ANY_CHORD, NO_CHORD, chord_id
from musediff.tokens import vocab
from musediff.tokens.vocab import Kind


def test_the_groups_begin_where_the_originals_do() -> None:
    expected = {
        "PAD": 0, "EOS": 1, "BAR": 2, "PITCH": 3, "VELOCITY": 131, "CHORD": 195, "DURATION": 304, "POSITION": 432, "BPM": 560, "KEY": 601,
        "TIME_SIGNATURE": 626, "PITCH_RANGE": 630, "MEASURES": 638, "INSTRUMENT": 641, "GENRE": 650, "LIMIT": 653, "ROLE": 719,
        "RHYTHM": 726, "OWN_TIME_SIGNATURE": 729, "OWN_GENRE": 730, "OWN_MEASURES": 735,
        "OWN_INSTRUMENT": 736,
    }  # fmt: skip
    assert expected == vocab.FIRST
    assert all(getattr(vocab, name) == first for name, first in expected.items())
    assert (vocab.SIZE_ORIGINAL, vocab.SIZE) == (729, 737)


def test_every_id_has_one_kind() -> None:
    starts = [0, 1, 2, 3, 131, 195, 304, 432, 560]
    assert [int(place) for place in np.flatnonzero(np.diff(vocab.KIND, prepend=-1))] == starts
    assert vocab.KIND[starts].tolist() == list(Kind)
    assert vocab.KIND.shape == (vocab.SIZE,) and vocab.KIND.dtype == np.int8


def test_velocities_are_two_and_the_odd_numbers() -> None:
    assert vocab.VELOCITY_BINS.tolist() == [2, *range(3, 128, 2)]
    for velocity in range(1, 128):
        back = vocab.velocity_of(vocab.velocity_token(velocity))
        assert back == (2 if velocity < 3 else velocity - (velocity % 2 == 0))


@pytest.mark.parametrize(
    ("name", "token"), [("C", 222), ("Am", 199), ("F", 267), ("G7", 286), ("A#maj7", 211), ("Gm7b5", 291), ("Asus4", 203), ("N.C.", 303)]
)
def test_chords_have_the_recorded_tokens(name: str, token: int) -> None:
    assert vocab.chord_token(chord_id(name)) == token
    assert vocab.chord_of(token) == chord_id(name)


def test_every_chord_survives_and_an_unknown_one_is_none() -> None:
    tokens = [vocab.chord_token(chord) for chord in range(NO_CHORD + 1)]
    assert sorted(tokens) == list(range(195, 304))
    assert [vocab.chord_of(token) for token in tokens] == list(range(NO_CHORD + 1))
    assert vocab.chord_token(ANY_CHORD) == vocab.chord_token(NO_CHORD)


def test_what_may_follow_what() -> None:
    pairs = {(Kind(a).name, Kind(b).name) for a, b in zip(*np.nonzero(vocab.FOLLOWS), strict=True)}
    ends = {(kind, next_kind) for kind in ("BAR", "DURATION") for next_kind in ("BAR", "POSITION", "EOS")}
    note = {("POSITION", "VELOCITY"), ("VELOCITY", "PITCH"), ("PITCH", "DURATION")}
    assert pairs == ends | note | {("EOS", "PAD"), ("PAD", "PAD")}


def test_the_tables_cannot_be_changed() -> None:
    for table in (vocab.KIND, vocab.VELOCITY_BINS, vocab.FOLLOWS):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = table[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("VELOCITY_BINS", np.arange(64)), ("COMMU_MEASURES", (4, 8, 12)), ("GENRES", ("newage", "cinematic", "jazz")), ("BPM_STEP", 4)],
)
def test_the_fingerprint_follows_the_meaning(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    before = vocab.fingerprint()
    assert len(before) == 16 and before == vocab.fingerprint()
    monkeypatch.setattr(vocab, name, value)
    assert vocab.fingerprint() != before
