"""The best legal note part: against every legal one there is, with fixed tokens, and with wild scores."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.tokens.commu import legal
from musediff.tokens.grammar import FREE, constrain, note_part_length
from musediff.tokens.vocab import BAR, EOS, KIND, NOTE, PAD, POSITION, SIZE, SIZE_ORIGINAL, Kind


def log_softmax(x: np.ndarray) -> np.ndarray:
    top = x.max(-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


def every_path(bars: int, notes: int) -> Iterator[list[Kind]]:
    """Kinds of every legal note part without EOS."""
    for places in combinations(range(1, bars + notes), notes):
        yield [kind for i in range(bars + notes) for kind in (NOTE if i in places else (Kind.BAR,))]


@pytest.mark.parametrize(("bars", "notes", "seed"), [(1, 0, 0), (1, 3, 1), (2, 2, 2), (4, 3, 3), (3, 5, 4), (8, 2, 5)])
def test_no_legal_note_part_is_likelier(bars: int, notes: int, seed: int) -> None:
    length = note_part_length(bars, notes)
    score = log_softmax(np.random.default_rng(seed).normal(0, 3, (length, SIZE)))
    kinds = np.stack([np.logaddexp.reduce(score[:, kind == KIND], 1) for kind in Kind])
    tokens = constrain(score, np.full(length, FREE), bars, length)
    assert legal(tokens, bars)
    places = np.arange(length - 1)
    found = kinds[KIND[tokens[:-1]], places].sum()
    assert found == pytest.approx(max(kinds[path, places].sum() for path in every_path(bars, notes)))
    for place, token in enumerate(tokens[:-1]):
        assert score[place, token] == score[place, KIND[token] == KIND].max()


@settings(max_examples=60, deadline=None)
@given(
    bars=st.integers(1, 9),
    notes=st.integers(0, 40),
    pad=st.integers(0, 7),
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([SIZE, SIZE_ORIGINAL]),
)
def test_any_scores_give_a_legal_note_part(bars: int, notes: int, pad: int, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    length = note_part_length(bars, notes)
    score = rng.normal(0, rng.choice([0.1, 5, 1e4]), (length + pad, size))
    score[rng.random(score.shape) < 0.3] = -np.inf
    score[:, [POSITION, BAR]] = np.maximum(score[:, [POSITION, BAR]], -50.0)
    tokens = constrain(score, np.full(length + pad, FREE), bars, length)
    assert legal(tokens, bars)
    assert tokens[length - 1] == EOS
    assert (tokens[length:] == PAD).all()
    assert (KIND[tokens] == Kind.PITCH).sum() == notes


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(1, 6), notes=st.integers(0, 20), share=st.floats(0, 1))
def test_fixed_tokens_stay(seed: int, bars: int, notes: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    length = note_part_length(bars, notes)
    truth = constrain(rng.normal(size=(length, SIZE)), np.full(length, FREE), bars, length)
    fixed = np.where(rng.random(length) < share, truth, FREE)
    tokens = constrain(rng.normal(0, 10, (length, SIZE)), fixed, bars, length)
    assert legal(tokens, bars)
    assert (tokens[fixed != FREE] == truth[fixed != FREE]).all()


def test_a_certain_network_is_left_alone() -> None:
    rng = np.random.default_rng(7)
    length = note_part_length(4, 30)
    truth = constrain(rng.normal(size=(length, SIZE)), np.full(length, FREE), 4, length)
    score = np.full((length, SIZE), -20.0)
    score[np.arange(length), truth] = 0.0
    assert (constrain(score, np.full(length, FREE), 4, length) == truth).all()


def test_fixed_tokens_without_a_legal_note_part_are_our_mistake() -> None:
    length = note_part_length(2, 1)
    fixed = np.full(length, FREE)
    fixed[0] = POSITION
    with pytest.raises(AssertionError, match="no legal note part"):
        constrain(np.zeros((length, SIZE)), fixed, 2, length)
