"""Noise schedules against the recording of the original, and what must hold for any of them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from musediff.engines.muse.schedule import SCHEDULES, ScheduleConfig, betas, space_timesteps, visited
from musediff.errors import BadRequest


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "golden" / "schedules.safetensors")


def same(found: Tensor, recorded: Tensor) -> bool:
    return torch.allclose(found, recorded, rtol=1e-12, atol=1e-15)


def test_six_schedules_as_recorded(golden: dict[str, Tensor]) -> None:
    assert len(SCHEDULES) == 6
    for name in SCHEDULES:
        assert same(torch.from_numpy(betas(name, 2000)), golden[f"betas_{name}"]), name
    for steps in (50, 100):
        assert same(torch.from_numpy(betas("sqrt", steps)), golden[f"betas_sqrt_T{steps}"])


def test_tables_as_recorded(golden: dict[str, Tensor]) -> None:
    schedule = ScheduleConfig().build()
    bar, before = schedule.alpha_bar_T, schedule.alpha_bar_previous_T
    variance = schedule.posterior_variance_T
    found = {
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": bar.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - bar).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": torch.cat((variance[1:2], variance[1:])).log(),
        "posterior_mean_coef1": schedule.beta_T * before.sqrt() / (1 - bar),
        "posterior_mean_coef2": (1 - before) * (1 - schedule.beta_T).sqrt() / (1 - bar),
    }
    for name, table in found.items():
        assert same(table, golden[f"sqrt_{name}"]), name


def test_respacing_as_recorded(golden: dict[str, Tensor]) -> None:
    assert space_timesteps(300, "10,15,20") == golden["space_10_15_20_of300"].tolist()
    assert space_timesteps(2000, "ddim50") == golden["space_ddim50_of2000"].tolist()
    spaced = ScheduleConfig(respacing="250").build()
    assert same(spaced.beta_T, golden["spaced250_betas"])
    assert torch.equal(spaced.time_T * 2, golden["spaced250_timestep_map"].double())  # of 2000 steps, told as if of 1000


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [12, 50, 333])
def test_noise_only_grows(name: str, steps: int) -> None:
    for factor in (1.0, 3.0):
        schedule = ScheduleConfig(name, steps, noise_factor=factor).build()
        assert schedule.steps == steps
        assert bool((schedule.alpha_bar_T.diff() < 0).all())
        assert 0 < schedule.alpha_bar_T[-1] < schedule.alpha_bar_T[0] < 1
        assert 0 < schedule.beta_T.min() <= schedule.beta_T.max() < 1
        assert torch.allclose((1 - schedule.beta_T).cumprod(0), schedule.alpha_bar_T)


def test_a_noise_factor_divides_the_ratio_of_amplitudes() -> None:
    plain, noisy = ScheduleConfig().build().alpha_bar_T, ScheduleConfig(noise_factor=3).build().alpha_bar_T
    assert torch.allclose((plain / (1 - plain)).sqrt() / 3, (noisy / (1 - noisy)).sqrt())


def test_before_the_first_step_is_clean() -> None:
    schedule = ScheduleConfig(steps=20).build()
    assert schedule.alpha_bar(torch.tensor([-1, 0, 19])).tolist() == [1.0, schedule.alpha_bar_T[0], schedule.alpha_bar_T[19]]


def test_time_is_told_as_if_of_a_thousand_steps() -> None:
    t_B = torch.tensor([0, 1, 1999])
    assert ScheduleConfig().build().time(t_B).tolist() == [0, 0.5, 999.5]
    assert ScheduleConfig(rescale=False).build().time(t_B).tolist() == [0, 1, 1999]


@given(st.integers(0, 3000), st.integers(1, 400))
def test_visits_descend_from_the_start_to_zero(start: int, steps: int) -> None:
    times = visited(start, steps)
    assert len(times) == min(steps, start + 1)
    assert times[0] == start
    assert times == sorted(set(times), reverse=True)
    assert steps == 1 or times[-1] == 0


@given(st.integers(1, 500), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_respacing_keeps_what_was_asked_or_refuses(steps: int, counts: list[int]) -> None:
    text = ",".join(map(str, counts))
    try:
        kept = space_timesteps(steps, text)
    except BadRequest as error:
        assert "cannot be kept" in str(error)
        assert any(count > steps // len(counts) for count in counts)
        return
    assert len(kept) == len(set(kept)) == sum(counts)
    assert kept == sorted(kept)
    assert 0 <= kept[0] <= kept[-1] < steps


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ScheduleConfig("quadratic"), "quadratic.*sqrt"),
        (ScheduleConfig(steps=0), "at least 1"),
        (ScheduleConfig("pw_lin", 11), "at least 12"),
        (ScheduleConfig(noise_factor=0), "noise_factor"),
        (ScheduleConfig(steps=100, respacing="ddim70"), "no whole distance"),
        (ScheduleConfig(steps=100, respacing="ten"), "ddim50"),
        (ScheduleConfig(steps=100, respacing="60,60"), "part 1 has 50"),
    ],
)
def test_what_cannot_be_built_is_said(config: ScheduleConfig, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        config.build()
