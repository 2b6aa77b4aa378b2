"""Which steps training sees: weights that keep the loss unbiased, and steps with large losses more often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musediff.engines.muse.timesteps import HISTORY, LossAware, draw, make_sampler
from musediff.errors import BadRequest

STEPS = 20


def warmed(losses: np.ndarray) -> LossAware:
    sampler = LossAware(STEPS)
    for _ in range(HISTORY):
        sampler.update(np.arange(STEPS), losses)
    return sampler


@given(st.lists(st.floats(0, 50), min_size=2, max_size=30).filter(lambda w: sum(w) > 1e-3))
def test_weighted_draws_are_unbiased(weights: list[float]) -> None:
    weight_T = np.array(weights)
    t_B, factor_B = draw(weight_T, 64, np.random.default_rng(0))
    assert (weight_T[t_B] > 0).all()
    expected = weight_T.sum() / (len(weights) * weight_T[t_B])
    np.testing.assert_allclose(factor_B, expected, rtol=1e-5)
    # The mean of any quantity under the draw, times the weights, is its plain mean: sum_t p_t * 1 / (T p_t) * f_t.
    assert t_B.dtype == np.int64 and factor_B.dtype == np.float32


def test_a_draw_is_numpys_choice() -> None:
    """The original calls numpy's legacy generator: the same seed gives the same steps."""
    weight_T = np.arange(1.0, 21.0)
    t_B, _ = draw(weight_T, 16, np.random.RandomState(7))
    assert t_B.tolist() == np.random.RandomState(7).choice(STEPS, size=(16,), p=weight_T / weight_T.sum()).tolist()


def test_until_every_step_has_a_history_all_are_alike() -> None:
    sampler = LossAware(STEPS)
    for count in range(HISTORY):
        assert (sampler.weight_T == 1).all(), count
        sampler.update(np.arange(STEPS), np.linspace(1, 3, STEPS))
    assert not (sampler.weight_T == 1).all()
    one_missing = warmed(np.ones(STEPS))
    one_missing.count_T[4] = HISTORY - 1
    assert (one_missing.weight_T == 1).all()


def test_weights_follow_the_root_mean_square_of_the_last_ten() -> None:
    losses = np.linspace(0.5, 3, STEPS)
    sampler = warmed(np.full(STEPS, 99.0))
    rng = np.random.default_rng(0)
    recent = rng.random((HISTORY, STEPS)) * losses
    for row in recent:  # the first ten are forgotten
        sampler.update(np.arange(STEPS), row)
    weight = np.sqrt((recent**2).mean(0))
    np.testing.assert_allclose(sampler.weight_T, weight / weight.sum() * 0.999 + 0.001 / STEPS)
    sampler.update(np.array([3, 3]), np.array([7.0, 8.0]))
    np.testing.assert_allclose(sampler.history_TH[3], [*recent[2:, 3], 7, 8])


def test_large_losses_are_drawn_more_often_and_weigh_less() -> None:
    losses = np.where(np.arange(STEPS) == 5, 19.0, 1.0)
    t_B, weight_B = warmed(losses).sample(20_000, np.random.default_rng(1))
    assert (t_B == 5).mean() == pytest.approx(0.5, abs=0.02)
    assert weight_B[t_B == 5][0] == pytest.approx(0.1, rel=0.01)
    assert weight_B.mean() == pytest.approx(1, abs=0.03)
    assert (losses[t_B] * weight_B).mean() == pytest.approx(losses.mean(), rel=0.02)


def test_a_bad_batch_does_no_harm() -> None:
    sampler = warmed(np.ones(STEPS))
    sampler.update(np.array([1, 2, 3]), np.array([np.nan, np.inf, 0.0]))
    assert np.isfinite(sampler.weight_T).all()
    assert np.isfinite(warmed(np.zeros(STEPS)).sample(8, np.random.default_rng(0))[1]).all()


def test_a_resumed_training_goes_on_alike() -> None:
    before, after = warmed(np.linspace(1, 2, STEPS)), LossAware(STEPS)
    after.restore(before.state())
    for sampler in (before, after):
        sampler.update(np.array([2, 2, 9]), np.array([5.0, 6.0, 7.0]))
    np.testing.assert_array_equal(before.weight_T, after.weight_T)


def test_uniform_and_fixstep() -> None:
    t_B, weight_B = make_sampler("uniform", STEPS).sample(5000, np.random.default_rng(0))
    assert set(t_B.tolist()) == set(range(STEPS))
    np.testing.assert_allclose(weight_B, 1, rtol=1e-6)
    t_B, weight_B = make_sampler("fixstep", STEPS).sample(30_000, np.random.default_rng(0))
    assert (t_B < STEPS // 2).mean() == pytest.approx(2 / 3, abs=0.02)
    np.testing.assert_allclose(weight_B, np.where(t_B < STEPS // 2, 0.75, 1.5), rtol=1e-6)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(BadRequest, match="lossaware"):
        make_sampler("second-moment", STEPS)
