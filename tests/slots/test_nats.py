"""The bound of the negative log-likelihood of a clip."""

import math

import pytest
import torch
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots
from musediff.engines.slots.losses import nats
from musediff.engines.slots.network import Hidden
from tests.slots.test_sampler import Oracle, slots_of
from train.slot_clips import with_more


class Ignorant(Oracle):
    """Holds everything for equally likely, and nothing for known."""

    def count_logits(self, hidden: Hidden) -> Tensor:
        return torch.zeros(*hidden.count_BRKD.shape[:3], vocab.COUNTS)

    def field_logits(self, field: int, hidden_XD: Tensor, chosen_XF: Tensor, place: Place) -> Tensor:
        return torch.zeros(len(hidden_XD), vocab.SIZES[field])


def of(kind: type[Oracle], clean: Slots, seed: int) -> list[float]:
    return nats(kind(clean.values_BNF, clean.counts_BRK), clean, torch.Generator().manual_seed(seed)).tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize("tracks", [1, 3])
def test_who_knows_a_clip_needs_none_and_who_knows_nothing_needs_all(tracks: int) -> None:
    """Whichever were hidden: each draw stands for all notes and numbers of its clip, and only for real ones."""
    clean, _ = slots_of(1, tracks, variants=3)
    counts, notes = float(clean.counts_BRK.numel()), float((~clean.pad_BN).sum())
    expected = [counts * math.log(vocab.COUNTS), notes * sum(math.log(size) for size in vocab.SIZES)]
    for seed in range(5):
        assert of(Oracle, clean, seed) == pytest.approx([0, 0], abs=1e-3)
        assert of(Ignorant, clean, seed) == pytest.approx(expected, rel=1e-5)
        assert of(Ignorant, with_more(clean, notes=7, bars=2), seed) == pytest.approx(expected, rel=1e-5)
