"""What is thought wrong: by Bayes' rule where only a pitch slipped, of open fields alone, each pitch judged without seeing itself."""

import math
from dataclasses import replace

import pytest
import torch

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.engines.slots.repair import ANYWHERE, SLIPPED, find_wrong, logit_of_slip, slipped_logits
from musediff.engines.slots.sampler import joined
from tests.slots.test_sampler import slots_of as batch_of


@pytest.fixture(scope="module")
def network() -> SlotsNetwork:
    torch.manual_seed(0)
    return SlotsNetwork(NetworkConfig.tiny()).eval().requires_grad_(False)


def slots_of(seed: int) -> Slots:
    return batch_of(seed, variants=1)[0]


def test_a_slip_is_judged_by_bayes_rule() -> None:
    expected = torch.zeros(3, 128)
    expected[0, 60] = expected[1, 60] = 1.0
    expected[2] = 1 / 128
    surely, never, either = logit_of_slip(expected, torch.tensor([62, 60, 60])).tolist()
    before = math.log(SLIPPED / (1 - SLIPPED))
    assert math.isclose(surely, math.log(((1 - ANYWHERE) / 8 + ANYWHERE / 128) / 1e-9) + before, rel_tol=1e-5)
    assert math.isclose(never, math.log(ANYWHERE / 128) + before, rel_tol=1e-5)
    assert math.isclose(either, before, rel_tol=1e-5), "where anything is as likely, nothing is learned"


def test_keys_beyond_the_ends_are_not_counted() -> None:
    expected = torch.zeros(2, 128)
    expected[0, 0] = expected[1, 60] = 1.0
    at_the_end, inside = logit_of_slip(expected, torch.tensor([2, 62])).tolist()
    assert math.isclose(at_the_end, inside, rel_tol=1e-5)


def test_a_pitch_is_judged_without_seeing_itself(network: SlotsNetwork) -> None:
    slots = slots_of(3)
    nothing = torch.zeros_like(slots.values_BNF, dtype=torch.bool)
    logits = slipped_logits(network, slots, nothing)
    assert torch.isfinite(logits).all()
    for note in (0, 7):
        hidden = nothing.clone()
        hidden[0, note, vocab.PITCH] = True
        assert slipped_logits(network, slots, hidden)[0, note] == -math.inf, "what is wrong already is not judged again"


def test_only_open_pitches_are_found_and_a_higher_sensitivity_finds_no_fewer(network: SlotsNetwork) -> None:
    slots = slots_of(4)
    no, yes = torch.zeros_like(slots.values_BNF, dtype=torch.bool), torch.ones_like(slots.values_BNF, dtype=torch.bool)
    assert not find_wrong(network, slots, no, 1.0).any()
    half = no.clone()
    half[:, ::2] = True
    found = find_wrong(network, slots, half, 1.0)
    assert found.any() and not found[:, 1::2].any()
    assert int(find_wrong(network, slots, yes, 0.0).sum()) < int(find_wrong(network, slots, yes, 1.0).sum())


def test_rows_do_not_touch_each_other(network: SlotsNetwork) -> None:
    slots = slots_of(5)
    twice = joined(slots, slots)
    other = replace(twice, values_BNF=twice.values_BNF.clone())
    other.values_BNF[1, :, vocab.PITCH] = 60
    nothing = torch.zeros_like(other.values_BNF, dtype=torch.bool)
    torch.testing.assert_close(slipped_logits(network, other, nothing)[:1], slipped_logits(network, slots, nothing[:1]))
