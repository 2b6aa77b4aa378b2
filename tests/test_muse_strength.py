"""How many tokens survive which noise, against figures measured otherwise, against brute force, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from musediff.engines.muse.process import nearest
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.engines.muse.strength import survival, time_for_strength

SCHEDULE = ScheduleConfig().build()


def table(width: int, std: float = 1.0, size: int = 729) -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(width)
    return torch.randn(size, width, generator=generator) * std, generator


# Share of tokens that survive noise up to a share of the 2000 steps, counted by noising and looking up.
AT = (0.2, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1)
MEASURED = (
    (128, 1.0, (1, 1, 1, 1, 0.95, 0.88, 0.75, 0.54, 0.30, 0.11, 0)),
    (128, 0.3, (0.71, 0.31, 0.17, 0.09, 0.07, 0.04, 0.03, 0.02, 0.01, 0.01, 0)),
    (32, 1.0, (0.99, 0.77, 0.55, 0.40, 0.24, 0.18, 0.12, 0.06, 0.04, 0.01, 0)),
)


@pytest.mark.parametrize(("width", "std", "measured"), MEASURED)
def test_survival_as_measured(width: int, std: float, measured: tuple[float, ...]) -> None:
    table_VD, generator = table(width, std)
    curve = survival(table_VD, SCHEDULE, generator, draws=4)
    found = [curve[round(share * SCHEDULE.steps) - 1] for share in AT]
    np.testing.assert_allclose(found, measured, atol=0.025)


def test_survival_equals_noising_and_looking_up() -> None:
    table_VD, generator = table(24, size=200)
    curve = survival(table_VD, SCHEDULE, generator, draws=40)
    for t in (100, 700, 1300, 1900):
        bar = float(SCHEDULE.alpha_bar_T[t])
        noise = torch.randn(40, 200, 24, generator=generator)
        found = nearest(table_VD + (1 / bar - 1) ** 0.5 * noise, table_VD) == torch.arange(200)
        assert float(found.float().mean()) == pytest.approx(curve[t], abs=0.02)
    assert (np.diff(curve) <= 0).all()
    assert curve[0] > 0.99 and curve[-1] < 0.03


def test_only_tokens_that_occur_count() -> None:
    table_VD, _ = table(16, size=50)
    table_VD[:10] *= 0.01  # ten rows that noise confuses at once
    curves = []
    for lone in (slice(0, 10), slice(10, 50), slice(0, 50)):
        weight_V = torch.zeros(50)
        weight_V[lone] = 1
        curves.append(survival(table_VD, SCHEDULE, torch.Generator().manual_seed(0), weight_V))
    close, apart, all_of_them = curves
    np.testing.assert_allclose(all_of_them, 0.2 * close + 0.8 * apart, atol=1e-9)
    assert close[300] < 0.3 < 0.9 < apart[300]


def test_equal_rows_are_no_rivals() -> None:
    table_VD, generator = table(32, size=60)
    doubled = survival(torch.cat((table_VD, table_VD[:1])), SCHEDULE, generator)
    assert doubled[0] == 1 and doubled[-1] < 0.05


def test_a_strength_is_the_share_of_tokens_that_do_not_survive() -> None:
    table_VD, generator = table(128)
    curve = survival(table_VD, SCHEDULE, generator)
    for strength in (0.05, 0.25, 0.5, 0.75, 0.95):
        t = time_for_strength(strength, curve)
        assert 1 - curve[t] == pytest.approx(strength, abs=0.01)
        assert t > 0.6 * SCHEDULE.steps  # the first 60 % of the steps change nothing with such a table
    assert time_for_strength(0, curve) == -1
    assert time_for_strength(1, curve) == SCHEDULE.steps - 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.floats(0, 1), st.floats(0, 1))
def test_more_strength_never_means_an_earlier_start(values: list[float], one: float, other: float) -> None:
    curve = np.sort(np.array(values))[::-1]
    low, high = sorted((one, other))
    first, second = time_for_strength(low, curve), time_for_strength(high, curve)
    assert -1 <= first <= second < len(curve)
    assert first == -1 or curve[first] >= 1 - low
    assert low == 0 or first + 1 == len(curve) or curve[first + 1] < 1 - low
