"""Samplers under a perfect denoiser, and what they are given and may not touch."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from musediff.engines.muse.canvas import build
from musediff.engines.muse.chain import Chain
from musediff.engines.muse.denoiser import Reading, WindowDenoiser
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.process import q_sample
from musediff.engines.muse.samplers import DEFAULT_STEPS, SAMPLERS, ddim
from musediff.engines.muse.schedule import Schedule, ScheduleConfig, visited
from musediff.tokens.vocab import Kind
from tests.muse_oracle import Oracle, Task, last
from tests.slots.conftest import make_clip

FULL = ScheduleConfig().build()
NAMES = [*(name for name, sampler in SAMPLERS.items() if not sampler.leaves_x), "ddim eta 0.5"]


def run(name: str, chain: Chain, x_BLD: Tensor) -> Iterator[Tensor]:
    return ddim(chain, x_BLD, eta=0.5) if name == "ddim eta 0.5" else SAMPLERS[name].walk(chain, x_BLD)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("schedule", "first"), [(FULL, 1999), (FULL, 1300), (ScheduleConfig("cosine", 300).build(), 299)])
def test_a_perfect_denoiser_recovers_everything_and_is_shown_the_right_noise(name: str, schedule: Schedule, first: int) -> None:
    task = Task()
    oracle = Oracle(task.x0_BLD, task.noised_BL)
    times = visited(first, DEFAULT_STEPS)
    x = task.start(first, schedule)
    anchor = torch.where(task.noised_BL[..., None], torch.nan, task.x0_BLD)  # of noised tokens nothing may be read
    found = list(run(name, replace(task.chain(oracle, schedule, times), anchor_BLD=anchor), x))
    assert len(found) == 20  # the default
    x0 = found[-1]
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

    list(run(name, task.chain(oracle, FULL, visited(1999, 20)), x))
    assert seen == 20


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_any_number_of_steps_ends_clean(name: str, steps: int) -> None:
    task = Task(steps)
    found = list(run(name, task.chain(lambda x, t: task.x0_BLD, FULL, visited(1999, steps)), task.start(1999, FULL)))
    assert len(found) == steps
    assert torch.equal(found[-1], task.x0_BLD)


@pytest.mark.parametrize("name", NAMES)
def test_a_denoiser_that_reads_its_input_converges(name: str) -> None:
    """It knows the table and nothing else: the best guess at x0 from x_t, averaged over all tokens by their likelihood."""
    task = Task()

    def bayes(x_BLD: Tensor, t: int) -> Tensor:
        bar = float(FULL.alpha_bar_T[t])
        distance = torch.cdist(x_BLD, bar**0.5 * task.table_VD).square()
        return (-distance / (2 * (1 - bar))).softmax(-1) @ task.table_VD

    x0 = last(run(name, task.chain(bayes, FULL, visited(1100, 20)), task.start(1100, FULL)))
    assert task.recovered(x0) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name: str) -> None:
    def sample(seed: int) -> Tensor:
        task = Task()
        task.generator.manual_seed(seed)
        return last(run(name, task.chain(lambda x, t: x.tanh(), FULL, visited(1999, 5)), task.start(1999, FULL)))

    assert torch.equal(sample(1), sample(1))
    assert not torch.allclose(sample(1), sample(2))


def test_stopping_early_asks_no_more() -> None:
    task, asked = Task(), []
    loop = ddim(task.chain(lambda x, t: asked.append(t) or x, FULL, visited(1999, 20)), task.start(1999, FULL))
    next(loop)
    next(loop)
    loop.close()
    assert len(asked) == 2


@torch.no_grad()
def test_a_network_is_told_its_last_guess() -> None:
    torch.manual_seed(0)
    clip = make_clip(1, bars=2)
    canvas = build(clip, np.ones(2, bool), (Kind.PITCH,), None, True)
    for remembers in (True, False):
        network = MuseNetwork(replace(MuseConfig.tiny(), self_conditioning=remembers)).eval()
        denoiser = WindowDenoiser(network, FULL, clip, [canvas], Reading(clamped=0), 20)
        x = torch.randn(1, canvas.length, network.config.embedding)
        prefix = network.embed(denoiser.prefixes[0])[None]
        first, second = denoiser(x, 1999), denoiser(x, 1999)
        alone = network(torch.cat((prefix, x), 1), torch.tensor([999.5]), None)
        told = network(torch.cat((prefix, x), 1), torch.tensor([999.5]), None, alone if remembers else None)
        assert torch.equal(first, alone[:, prefix.shape[1] :]) and torch.equal(second, told[:, prefix.shape[1] :])
        assert torch.allclose(first, second) != remembers
