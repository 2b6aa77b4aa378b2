"""Noising and single steps back, against the recording of the original and against each other."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from musediff.engines.muse.process import ddim_step, nearest, p_mean_variance, posterior, predict_noise, q_sample, rounding
from musediff.engines.muse.schedule import ScheduleConfig
from tests.muse_golden import original_network

SCHEDULE = ScheduleConfig().build()


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "golden" / "diffusion.safetensors")


@pytest.fixture(scope="module")
def table_VD(shared: Path) -> Tensor:
    return original_network(shared).table_VD.detach()


def close(found: Tensor, recorded: Tensor) -> bool:
    return torch.allclose(found.expand_as(recorded), recorded, rtol=1e-5, atol=1e-5)


def test_noising_as_recorded(golden: dict[str, Tensor]) -> None:
    x0, t, noise = golden["q_x_start"], golden["q_t"], golden["q_noise"]
    assert close(q_sample(x0, t, SCHEDULE, noise), golden["q_x_t_nomask"])
    given = golden["input_mask"] == 0
    x = q_sample(x0, t, SCHEDULE, noise, ~given)
    assert close(x, golden["q_x_t_masked"])
    assert bool(given.any()) and torch.equal(x[given], x0[given])


@pytest.mark.parametrize(("name", "rounds", "clamps"), [("raw", False, False), ("clip", False, True), ("round_clip", True, True)])
def test_ancestral_moments_as_recorded(golden: dict[str, Tensor], table_VD: Tensor, name: str, rounds: bool, clamps: bool) -> None:
    raw = golden["pmv_raw_pred_xstart"]
    found = p_mean_variance(golden["pmv_x"], raw, golden["pmv_t"], SCHEDULE, rounding(table_VD) if rounds else None, clamps)
    assert close(found.x0_BLD, golden[f"pmv_{name}_pred_xstart"])
    assert close(found.mean_BLD, golden[f"pmv_{name}_mean"])
    assert close(found.variance_B, golden[f"pmv_{name}_variance"])
    assert close(found.log_variance_B, golden[f"pmv_{name}_log_variance"])


def test_rounding_as_recorded(golden: dict[str, Tensor], table_VD: Tensor) -> None:
    raw = golden["pmv_raw_pred_xstart"]
    assert torch.equal(nearest(raw, table_VD), golden["round_token_ids"])
    best = (raw.flatten(0, 1) @ table_VD.T).topk(6, dim=-1).indices.T
    assert torch.equal(best, golden["knn_cos_top6"])


@pytest.mark.parametrize("eta", [0, 1])
def test_one_ddim_step_as_recorded(golden: dict[str, Tensor], eta: int) -> None:
    t, x0 = golden["pmv_t"], golden["ddim_eta0_pred_xstart"]
    assert close(x0, golden["pmv_round_clip_pred_xstart"])
    noise = golden["ddim_eta1_noise"] if eta else None
    found = ddim_step(golden["pmv_x"], x0, t, t - 1, SCHEDULE, eta, noise)
    found = torch.where(golden["input_mask"][..., None] == 1, found, golden["q_x_start"])
    assert close(found, golden[f"ddim_eta{eta}_sample"])


def test_one_ancestral_step_as_recorded(golden: dict[str, Tensor], table_VD: Tensor) -> None:
    moments = p_mean_variance(golden["pmv_x"], golden["pmv_raw_pred_xstart"], golden["pmv_t"], SCHEDULE, rounding(table_VD), True)
    found = moments.mean_BLD + (moments.log_variance_B / 2).exp() * golden["p_sample_noise"]
    assert close(torch.where(golden["input_mask"][..., None] == 1, found, golden["q_x_start"]), golden["p_sample_sample"])


def batch(steps: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(steps)
    draw = lambda: torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(), draw(), draw()


def test_the_noise_is_found_again() -> None:
    x0, noise, _ = batch()
    t = torch.tensor([0, 700, 1999])
    assert torch.allclose(predict_noise(q_sample(x0, t, SCHEDULE, noise), x0, t, SCHEDULE), noise)


def test_a_noisy_ddim_step_is_a_draw_from_the_posterior() -> None:
    x0, noise, fresh = batch()
    t, s = torch.tensor([40, 700, 1999]), torch.tensor([0, 300, 1998])
    x = q_sample(x0, t, SCHEDULE, noise)
    mean, variance = posterior(x, x0, t, s, SCHEDULE)
    assert torch.allclose(ddim_step(x, x0, t, s, SCHEDULE, 1.0, fresh), mean + variance.sqrt() * fresh)


def test_a_step_without_noise_keeps_the_noise_and_lowers_its_level() -> None:
    x0, noise, _ = batch()
    t, s = torch.tensor([40, 700, 1999]), torch.tensor([-1, 300, 0])
    found = ddim_step(q_sample(x0, t, SCHEDULE, noise), x0, t, s, SCHEDULE)
    assert torch.allclose(found, q_sample(x0, s, SCHEDULE, noise))
    assert torch.allclose(found[0], x0[0])


def test_the_nearest_row_by_distance_not_by_product() -> None:
    table = torch.tensor([[1.0, 0.0], [10.0, 0.0], [0.0, -1.0]])
    assert nearest(torch.tensor([[[2.0, 0.1], [8.0, 1.0], [0.0, -9.0]]]), table).tolist() == [[0, 1, 2]]
    assert math.isclose(float(rounding(table)(torch.tensor([[[7.0, 0.0]]]))[0, 0, 0]), 10)
