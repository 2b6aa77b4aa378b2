"""The original's loops as recorded, and what they lose under a perfect denoiser."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from musediff.engines.muse.chain import Chain, each
from musediff.engines.muse.compat import ancestral_loop, noised_to, strided, strided_loop
from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.process import q_sample, rounding
from musediff.engines.muse.schedule import Schedule, ScheduleConfig
from tests.muse_golden import original_network
from tests.muse_oracle import Oracle, Task, last

FULL = ScheduleConfig().build()


@pytest.mark.parametrize(("step", "recovered"), [(500, 1.0), (200, 0.377), (100, 0.043)])
def test_the_stride_of_the_original_loses_what_a_perfect_denoiser_knows(step: int, recovered: float) -> None:
    """With as many steps as it has by default (100), 4.3 % of the tokens are left; the samplers above recover all in 20."""
    shares = []
    for seed in range(200 // step + 1):
        task = Task(seed)
        oracle = Oracle(task.x0_BLD, task.noised_BL)
        x = last(strided_loop(task.chain(oracle, FULL, strided(2000, step)), task.start(1999, FULL), clamp=False))
        shares.append(task.recovered(x))
        _, signal, _ = oracle.shown[step // 2]
        assert signal < 0.9 * float(FULL.alpha_bar_T[oracle.shown[step // 2][0]].sqrt())  # the network is told too late a time
    assert sum(shares) / len(shares) == pytest.approx(recovered, abs=0.03 if recovered > 0.1 else 0.01)


def test_visits_of_the_original_as_recorded(shared: Path) -> None:
    golden = load_file(shared / "golden" / "schedules.safetensors")
    checked = 0
    for name, indices in golden.items():
        if name.startswith("orig_indices"):
            step = int(name.split("step")[1].split("_")[0])
            strength = float(name.split("strength")[1]) if "strength" in name else None
            assert strided(2000, step, strength) == indices.tolist(), name
            checked += 1
    assert checked == 8


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "golden" / "diffusion.safetensors")


@pytest.fixture(scope="module")
def network(shared: Path) -> MuseNetwork:
    return original_network(shared)


def chain_of(network: MuseNetwork, schedule: Schedule, times: list[int], anchor: Tensor, noised: Tensor) -> Chain:
    @torch.no_grad()
    def denoise(x_BLD: Tensor, t: int) -> Tensor:
        return network(x_BLD, schedule.time(each(t, x_BLD)), None)

    return Chain(denoise, schedule, times, anchor, noised, torch.Generator())


def tokens(network: MuseNetwork, x_BLD: Tensor) -> Tensor:
    return network.logits(x_BLD).argmax(-1)


def test_the_generation_loop_of_the_original_as_recorded(recorded: dict[str, Tensor], network: MuseNetwork) -> None:
    noised, anchor = recorded["input_mask"] == 1, network.embed(recorded["input_ids_correct"])
    assert torch.allclose(recorded["loop_xT"][~noised], anchor[~noised])
    chain = chain_of(network, FULL, strided(2000, 20), anchor, noised)
    states = list(strided_loop(chain, recorded["loop_xT"], rounding(network.table_VD)))
    found = torch.stack([states[i] for i in (0, 1, 9, 18, 19)])
    assert torch.allclose(found, recorded["loop_gen_T2000_step20_all"], atol=1e-4, rtol=1e-4)
    assert torch.allclose(states[-1], recorded["loop_gen_T2000_step20_final"], atol=1e-4, rtol=1e-4)
    assert torch.equal(tokens(network, states[-1]), recorded["loop_gen_T2000_step20_tokens"])


def test_the_modification_loop_of_the_original_as_recorded(recorded: dict[str, Tensor], network: MuseNetwork) -> None:
    noised, anchor = recorded["input_mask"] == 1, network.embed(recorded["input_ids_corrupt"])
    assert noised_to(20, 0.75) + 1 == int(recorded["loop_mod_t_enc"])
    x = q_sample(anchor, torch.full((2,), noised_to(20, 0.75)), FULL, recorded["loop_mod_qnoise"], noised)
    assert torch.allclose(x, recorded["loop_mod_x_noised"], atol=1e-5, rtol=1e-5)
    times = strided(2000, 20, 0.75)
    assert (times[0], times[-1]) == (1999, 599)
    x = last(strided_loop(chain_of(network, FULL, times, anchor, noised), x, rounding(network.table_VD)))
    assert torch.allclose(x, recorded["loop_mod_T2000_step20_final"], atol=1e-4, rtol=1e-4)
    assert torch.equal(tokens(network, x), recorded["loop_mod_T2000_step20_tokens"])


@pytest.mark.parametrize("clamp_step", [0, 25])
def test_the_ancestral_loop_of_the_original_as_recorded(recorded: dict[str, Tensor], network: MuseNetwork, clamp_step: int) -> None:
    schedule = ScheduleConfig(steps=50).build()
    noised, anchor = recorded["input_mask"] == 1, network.embed(recorded["input_ids_correct"])
    noises = iter(recorded["ploop_T50_noise"])
    loop = ancestral_loop(
        chain_of(network, schedule, list(range(49, -1, -1)), anchor, noised),
        recorded["loop_xT"],
        lambda like: next(noises),
        rounding(network.table_VD),
        clamp_step=clamp_step,
    )
    *before, x = loop
    assert len(before) == 49
    assert torch.allclose(x, recorded[f"ploop_T50_clamp{clamp_step}_final"], atol=1e-4, rtol=1e-4)
    assert torch.equal(tokens(network, x), recorded[f"ploop_T50_clamp{clamp_step}_tokens"])


def test_top_p_bounds_the_noise() -> None:
    schedule, generator = ScheduleConfig(steps=3).build(), torch.Generator().manual_seed(0)
    x, noised = torch.zeros(1, 50, 4), torch.ones(1, 50, dtype=torch.bool)
    chain = Chain(lambda x, t: x * 0, schedule, [2, 1, 0], x, noised, generator)
    first = next(ancestral_loop(chain, x, lambda like: torch.randn(like.shape, generator=generator), top_p=0.5))
    bound = 0.5 * float(schedule.sampling_variance_T[2]) ** 0.5
    assert 0.9 * bound < float(first.abs().max()) <= bound * 1.0001
