"""The training objective: the original's as recorded; ours on what counts, what is hidden, and whether it teaches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from musediff.engines.muse.losses import Batch, Losses, LossWeights, losses, original_losses
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.schedule import ScheduleConfig
from tests.muse_golden import original_network

SCHEDULE = ScheduleConfig().build()


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "golden" / "diffusion.safetensors")


@pytest.fixture(scope="module")
def original(shared: Path) -> MuseNetwork:
    return original_network(shared)


@pytest.mark.parametrize("case", ["plain", "corrupt"])
@pytest.mark.parametrize("steps", ["t0_1500", "t37_1999"])
def test_the_original_objective_as_recorded(golden: dict[str, Tensor], original: MuseNetwork, case: str, steps: str) -> None:
    at = f"loss_{case}_{steps}"
    right = golden["input_ids_correct"]
    shown = golden["input_ids_corrupt"] if case == "corrupt" else right
    noises = iter([golden[f"{at}_noise{i}"] for i in range(3 if case == "corrupt" else 2)])
    found = original_losses(original, SCHEDULE, shown, right, golden["input_mask"] == 1, golden[f"{at}_t"], lambda like: next(noises))
    assert next(noises, None) is None
    for name in ("mse", "nll", "loss"):
        assert torch.allclose(getattr(found, f"{name}_B"), golden[f"{at}_{name}"], rtol=1e-5, atol=1e-5), name


def tiny(**options: bool) -> MuseNetwork:
    torch.manual_seed(0)
    return MuseNetwork(replace(MuseConfig.tiny(), layer_dropout=0.0, dropout=0.0, **options))


def batch(pads: int = 0) -> Batch:
    """Three clips: 4 given tokens, 12 noised, then padding; two tokens of the first clip are damaged."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(1, 736, (3, 16), generator=generator)
    shown = clean.clone()
    shown[0, 7:9] = 5
    clean, shown = (torch.cat((x, torch.zeros(3, pads, dtype=torch.long)), 1) for x in (clean, shown))
    place = torch.arange(16 + pads).expand(3, -1)
    return Batch(shown, clean, place >= 4, place >= 16)


T_B = torch.tensor([5, 900, 1999])


def run(network: MuseNetwork, of: Batch, seed: int = 0, weights: LossWeights | None = None) -> Losses:
    return losses(network, SCHEDULE, of, T_B, torch.Generator().manual_seed(seed), weights or LossWeights())


class Perfect(MuseNetwork):
    """Says what it was built with, and shows what it was shown."""

    answer_BLD: Tensor
    seen_BLD: Tensor

    def forward(
        self, x_BLD: Tensor, time_B: Tensor, pad_BL: Tensor | None, guess_BLD: Tensor | None = None, layout_BLC: Tensor | None = None
    ) -> Tensor:
        self.seen_BLD, self.time_B = x_BLD, time_B
        return self.answer_BLD


def test_a_perfect_network_has_no_error_and_given_tokens_are_shown_clean() -> None:
    of = batch(pads=3)
    torch.manual_seed(0)
    network = Perfect(MuseConfig.tiny())
    network.answer_BLD = network.embed(of.clean_BL) + torch.where((of.noised_BL & ~of.pad_BL)[..., None], 0.0, 77.0)
    found = run(network, of)
    assert found.mse_B.tolist() == [0, 0, 0]  # 77 on given tokens and on padding does not count
    assert found.tokens_B.tolist() == [12, 12, 12]
    assert network.time_B.tolist() == [2.5, 450, 999.5]
    shown, seen = network.embed(of.ids_BL).detach(), network.seen_BLD.detach()
    assert torch.equal(seen[:, :4], shown[:, :4])
    for row, t in enumerate(T_B.tolist()):
        bar = float(SCHEDULE.alpha_bar_T[t])
        noise = (seen[row, 4:16] - bar**0.5 * shown[row, 4:16]) / (1 - bar) ** 0.5
        assert float(noise.square().mean()) == pytest.approx(1, abs=0.3), t  # 192 numbers


def test_padding_counts_for_nothing() -> None:
    network = tiny()
    of = batch(pads=5)
    before = run(network, of)
    other = replace(of, ids_BL=of.ids_BL.masked_fill(of.pad_BL, 9), clean_BL=of.clean_BL.masked_fill(of.pad_BL, 300))
    after = run(network, other)
    for name in ("loss_B", "mse_B", "nll_B", "tT_B", "rounding_B"):
        assert torch.allclose(getattr(before, name), getattr(after, name), rtol=1e-5), name


def test_parts_add_up_and_the_anchor_is_an_option() -> None:
    network, of = tiny(), batch()
    found = run(network, of)
    assert torch.allclose(found.loss_B, found.mse_B + found.rounding_B + found.tT_B)
    assert not found.nll_B.requires_grad
    assert float(found.tT_B.detach().max()) < 1e-5
    anchored = run(network, of, weights=LossWeights(mse=2, rounding=0, anchor=0.5, prior=0))
    assert torch.allclose(anchored.loss_B, 2 * found.mse_B + 0.5 * found.nll_B)
    assert anchored.loss_B.requires_grad


def test_the_mean_counts_tokens_alike() -> None:
    part = torch.zeros(2)
    found = Losses(torch.tensor([1.0, 4.0]), part, part, part, part, torch.tensor([30, 10]))
    assert float(found.mean(torch.ones(2))) == pytest.approx(70 / 40)
    assert float(found.mean(torch.tensor([2.0, 0.5]))) == pytest.approx((2 * 30 + 2 * 10) / 40)


def test_a_seed_decides() -> None:
    network, of = tiny(self_conditioning=True), batch()
    assert torch.equal(run(network, of, 3).loss_B, run(network, of, 3).loss_B)
    assert not torch.equal(run(network, of, 3).mse_B, run(network, of, 4).mse_B)


def test_half_of_the_batches_are_told_a_guess_that_teaches_nothing() -> None:
    network, of = tiny(self_conditioning=True), batch()
    guesses: list[bool] = []
    network.register_forward_pre_hook(lambda module, args: guesses.append(len(args) > 3 and args[3] is not None))
    for seed in range(40):
        run(network, of, seed)
    told = sum(guesses)
    assert 10 < told < 30
    assert len(guesses) == 40 + told  # one more pass for each


@pytest.mark.parametrize("normalise", [False, True])
def test_it_learns_one_batch_by_heart(normalise: bool) -> None:
    network, of = tiny(normalise=normalise), batch(pads=2)
    of = replace(of, ids_BL=of.clean_BL)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    history = []
    for _ in range(150):
        found = losses(network, SCHEDULE, of, torch.randint(0, 2000, (3,), generator=generator), generator, LossWeights(anchor=1))
        history.append(float(found.nll_B.mean()))
        optimiser.zero_grad()
        found.mean(torch.ones(3)).backward()
        optimiser.step()
    assert sum(history[-10:]) / 10 < 0.3 * history[0]
