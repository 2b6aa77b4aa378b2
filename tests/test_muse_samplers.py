"""Samplers under a perfect denoiser, and what they are given and may not touch."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.process import q_sample
from musediff.engines.muse.samplers import DEFAULT_STEPS, SAMPLERS, NetworkDenoiser, ddim, start
from musediff.engines.muse.schedule import Schedule, ScheduleConfig, visited
from tests.muse_oracle import Oracle, Task, last

FULL = ScheduleConfig().build()
NAMES = [*SAMPLERS, "ddim eta 0.5"]


def run(name: str, *arguments: object) -> Iterator[tuple[int, Tensor]]:
    return ddim(*arguments, eta=0.5) if name == "ddim eta 0.5" else SAMPLERS[name](*arguments)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("schedule", "first"), [(FULL, 1999), (FULL, 1300), (ScheduleConfig("cosine", 300).build(), 299)])
def test_a_perfect_denoiser_recovers_everything_and_is_shown_the_right_noise(name: str, schedule: Schedule, first: int) -> None:
    task = Task()
    oracle = Oracle(task.x0_BLD, task.noised_BL)
    times = visited(first, DEFAULT_STEPS)
    x = start(task.x0_BLD, first, schedule, task.noised_BL, task.generator)
    anchor = torch.where(task.noised_BL[..., None], torch.nan, task.x0_BLD)  # of noised tokens nothing may be read
    found = list(run(name, oracle, schedule, times, x, anchor, task.noised_BL, task.generator))
    assert [number for number, _ in found] == list(range(20))  # the default
    x0 = found[-1][1]
    assert torch.equal(x0, task.x0_BLD)
    assert task.recovered(x0) == 1
    assert [t for t, _, _ in oracle.shown] == times
    for t, signal, noise in oracle.shown:
        bar = float(schedule.alpha_bar_T[t])
        assert signal == pytest.approx(bar**0.5, abs=0.015), (t, signal)
        assert noise == pytest.approx((1 - bar) ** 0.5, abs=0.015), (t, noise)


@pytest.mark.parametrize("name", ["ddim", "dpm"])
def test_samplers_without_chance_keep_the_very_noise(name: str) -> None:
    task = Task()
    noise = torch.randn(task.x0_BLD.shape, generator=task.generator)
    first = torch.full((2,), 1999)
    x = q_sample(task.x0_BLD, first, FULL, noise, task.noised_BL)
    seen = 0

    def oracle(x_BLD: Tensor, t: int) -> Tensor:
        nonlocal seen
        seen += 1
        assert torch.allclose(x_BLD, q_sample(task.x0_BLD, torch.full((2,), t), FULL, noise, task.noised_BL), atol=1e-4)
        return task.x0_BLD

    list(run(name, oracle, FULL, visited(1999, 20), x, task.x0_BLD, task.noised_BL, task.generator))
    assert seen == 20


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_any_number_of_steps_ends_clean(name: str, steps: int) -> None:
    task = Task(steps)
    x = start(task.x0_BLD, 1999, FULL, task.noised_BL, task.generator)
    found = list(run(name, lambda x, t: task.x0_BLD, FULL, visited(1999, steps), x, task.x0_BLD, task.noised_BL, task.generator))
    assert len(found) == steps
    assert torch.equal(found[-1][1], task.x0_BLD)


@pytest.mark.parametrize("name", NAMES)
def test_a_denoiser_that_reads_its_input_converges(name: str) -> None:
    """It knows the table and nothing else: the best guess at x0 from x_t, averaged over all tokens by their likelihood."""
    task = Task()

    def bayes(x_BLD: Tensor, t: int) -> Tensor:
        bar = float(FULL.alpha_bar_T[t])
        distance = torch.cdist(x_BLD, bar**0.5 * task.table_VD).square()
        return (-distance / (2 * (1 - bar))).softmax(-1) @ task.table_VD

    x = start(task.x0_BLD, 1100, FULL, task.noised_BL, task.generator)
    x0 = last(run(name, bayes, FULL, visited(1100, 20), x, task.x0_BLD, task.noised_BL, task.generator))
    assert task.recovered(x0) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name: str) -> None:
    def sample(seed: int) -> Tensor:
        task = Task()
        generator = torch.Generator().manual_seed(seed)
        x = start(task.x0_BLD, 1999, FULL, task.noised_BL, generator)
        return last(run(name, lambda x, t: x.tanh(), FULL, visited(1999, 5), x, task.x0_BLD, task.noised_BL, generator))

    assert torch.equal(sample(1), sample(1))
    assert not torch.allclose(sample(1), sample(2))


def test_stopping_early_asks_no_more() -> None:
    task, asked = Task(), []
    x = start(task.x0_BLD, 1999, FULL, task.noised_BL, task.generator)
    loop = ddim(lambda x, t: asked.append(t) or x, FULL, visited(1999, 20), x, task.x0_BLD, task.noised_BL, task.generator)
    next(loop)
    next(loop)
    loop.close()
    assert len(asked) == 2


@torch.no_grad()
def test_a_network_is_told_its_last_guess() -> None:
    torch.manual_seed(0)
    network = MuseNetwork(replace(MuseConfig.tiny(), self_conditioning=True)).eval()
    x = torch.randn(1, 6, 16)
    told = NetworkDenoiser(network, FULL, None)
    first, second = told(x, 1999), told(x, 1999)
    assert torch.equal(second, network(x, torch.tensor([999.5]), None, first))
    assert not torch.allclose(first, second)
    forgets = NetworkDenoiser(network, FULL, None, remember=False)
    assert torch.equal(forgets(x, 1999), first) and torch.equal(forgets(x, 1999), first)
