"""The mathematics of masking: an oracle recovers everything, what is shown is exactly the noised clip, nothing given is hidden."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from musediff.clip import Track
from musediff.engines.slots import layout, vocab
from musediff.engines.slots.batch import Place, Slots
from musediff.engines.slots.losses import count_loss, hide_counts
from musediff.engines.slots.network import Hidden, NetworkConfig, SlotsNetwork
from musediff.engines.slots.process import noise
from musediff.engines.slots.sampler import FieldSampler, Noise, between_neighbours, denoise, draw_classes, nucleus, sample_counts, spread
from tests.slots.conftest import make_clip


class Oracle:
    """A perfect denoiser: knows the clean slots, and checks that it is shown them or the mask, nothing else."""

    def __init__(self, clean_BNF: Tensor, counts_BRK: Tensor) -> None:
        self.clean_BNF, self.counts_BRK, self.shown = clean_BNF, counts_BRK, 0

    def __call__(self, slots: Slots) -> Hidden:
        masked = slots.values_BNF == torch.tensor(vocab.SIZES)
        if slots.values_BNF.shape == self.clean_BNF.shape:
            assert bool((masked | (slots.values_BNF == self.clean_BNF)).all()), (
                "the network was shown something that is neither clean nor masked"
            )
            self.shown += 1
        identity = torch.arange(slots.values_BNF.shape[0] * slots.values_BNF.shape[1]).view(*slots.values_BNF.shape[:2], 1).float()
        return Hidden(identity, self.counts_BRK.float())

    def count_logits(self, hidden: Hidden) -> Tensor:
        return torch.nn.functional.one_hot(hidden.count_BRKD.long(), vocab.COUNTS).float() * 1e4

    def field_logits(self, field: int, hidden_XD: Tensor, chosen_XF: Tensor, place: Place) -> Tensor:
        truth = self.clean_BNF.flatten(0, 1)[hidden_XD[:, 0].long(), field]
        return torch.nn.functional.one_hot(truth, vocab.SIZES[field]).float() * 1e4


def slots_of(seed: int, tracks: int = 1, variants: int = 2) -> tuple[Slots, list[layout.Row]]:
    clip = make_clip(seed, tracks=tracks, bars=8, per_bar=6)
    encoded = layout.encode_clip(clip)
    rows = [layout.start_row(encoded, np.ones((8, tracks), bool), np.ones(4, bool)) for _ in range(variants)]
    return layout.batch(rows, clip)[0], rows


@pytest.mark.parametrize("steps", [1, 4, 16, 20])
@pytest.mark.parametrize("tracks", [1, 3])
def test_a_perfect_denoiser_recovers_everything(steps: int, tracks: int) -> None:
    clean, _ = slots_of(steps, tracks)
    hidden = (~clean.pad_BN)[..., None].expand(-1, -1, 4).clone()
    start = clean.but(torch.where(hidden, torch.tensor(vocab.SIZES), clean.values_BNF))
    oracle = Oracle(clean.values_BNF, clean.counts_BRK)
    free = [torch.zeros(tracks, size) for size in vocab.SIZES]
    generator = torch.Generator().manual_seed(0)
    left, slots = [], start
    state = Noise(hidden.clone(), hidden.clone())
    for slots in denoise(start, state, FieldSampler(oracle, free, 0.95), steps, 1.0, generator):  # noqa: B007
        left.append(int(state.hidden_BNF.any(-1).sum()))
    assert torch.equal(slots.values_BNF, clean.values_BNF)
    before = [int(hidden.any(-1).sum()), *left]
    assert oracle.shown == sum(now < then for then, now in zip(before, left, strict=False))  # one look for each step that reveals
    assert left[-1] == 0
    assert left == sorted(left, reverse=True)


def test_counts_of_an_oracle_are_exact() -> None:
    clean, _ = slots_of(3, 2)
    hidden = torch.ones_like(clean.counts_BRK, dtype=torch.bool)
    drawn = sample_counts(Oracle(clean.values_BNF, clean.counts_BRK), clean, hidden, 0.0, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert torch.equal(drawn, clean.counts_BRK)


def test_what_is_given_is_never_hidden_or_damaged() -> None:
    clean, _ = slots_of(5, 3, variants=64)
    noised = noise(clean, torch.Generator().manual_seed(1))
    given = noised.slots.given_BN
    assert bool(given.any())
    assert not bool((noised.hidden_BNF & given[..., None]).any())
    assert not bool((noised.wrong_BNF & given[..., None]).any())
    assert torch.equal(noised.slots.values_BNF[given], noised.clean_BNF[given])
    visible = ~noised.hidden_BNF & ~noised.wrong_BNF
    assert torch.equal(noised.slots.values_BNF[visible], noised.clean_BNF[visible])
    assert bool((noised.slots.values_BNF[noised.wrong_BNF] != noised.clean_BNF[noised.wrong_BNF]).all())
    assert bool((noised.slots.values_BNF == torch.tensor(vocab.SIZES))[noised.hidden_BNF].all())


def test_noise_covers_all_rates() -> None:
    clean, _ = slots_of(6, 1, variants=256)
    share = noise(clean, torch.Generator().manual_seed(2)).hidden_BNF.float().mean((1, 2))
    assert float(share.min()) < 0.1
    assert float(share.max()) > 0.9
    assert 0.25 < float(share.mean()) < 0.65


def test_draws_follow_the_probabilities() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).expand(40_000, -1)
    share = torch.bincount(draw_classes(logits, 1.0, torch.Generator().manual_seed(0)), minlength=4) / 40_000
    assert torch.allclose(share, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.01)
    kept = nucleus(logits[:1], 0.6) > -1e8
    assert kept.tolist() == [[True, True, False, False]]


def test_a_batch_without_hidden_counts_has_a_loss_of_zero() -> None:
    clean, _ = slots_of(2, variants=1)
    network = SlotsNetwork(NetworkConfig.tiny())
    batches = [hide_counts(clean, torch.Generator().manual_seed(seed)) for seed in range(40)]
    losses = [float(count_loss(network, batch).detach()) for batch in batches]
    assert all(np.isfinite(losses))
    assert min(losses) == 0


def test_refilled_bars_have_the_drawn_counts() -> None:
    clip = make_clip(8, bars=4)
    encoded = layout.encode_clip(clip)
    row = layout.start_row(encoded, np.ones((4, 1), bool), np.ones(4, bool))
    wanted = np.array([[3], [0], [9], [1]])
    redrawn = np.array([[True], [True], [True], [False]])
    filled = layout.refill(row, wanted, redrawn, np.random.default_rng(0))
    counts = np.bincount(filled.bar, minlength=4)
    assert counts[:3].tolist() == [3, 0, 9]
    assert counts[3] == layout.counts_of(encoded, 4)[3, 0]
    assert (np.diff(filled.bar) >= 0).all()


def test_encoding_on_the_grid_is_exact_and_crowded_bars_keep_their_notes() -> None:
    clip = make_clip(9, bars=2)
    encoded = layout.encode_clip(clip)
    row = layout.start_row(encoded, np.ones((2, 1), bool), np.ones(4, bool))
    nothing_hidden = np.zeros_like(row.hidden)
    assert layout.to_clip(row, row.values, nothing_hidden, clip, encoded) == clip
    crowd = tuple(
        n._replace(onset_ticks=i * 12, pitch=40 + i % 60, duration_ticks=10) for i, n in enumerate([clip.tracks[0].notes[0]] * 120)
    )
    crowded = replace(clip, tracks=(Track(crowd),))
    encoded = layout.encode_clip(crowded)
    assert len(encoded[0].unseen) == 120 - (vocab.COUNTS - 1)
    row = layout.start_row(encoded, np.ones((2, 1), bool), np.ones(4, bool))
    assert sorted(layout.to_clip(row, row.values, np.zeros_like(row.hidden), crowded, encoded).tracks[0].notes) == sorted(crowd)


def test_bars_fill_at_the_same_pace() -> None:
    clean, _ = slots_of(4, 2)
    priority = spread(clean, torch.Generator().manual_seed(0))
    group = clean.track_BN * 8 + clean.bar_BN
    first = priority.argsort(1, descending=True)
    for b in range(len(priority)):
        halves = [int((group[b][first[b]][: int((~clean.pad_BN[b]).sum()) // 2] == g).sum()) for g in group[b][~clean.pad_BN[b]].unique()]
        whole = [int((group[b][~clean.pad_BN[b]] == g).sum()) for g in group[b][~clean.pad_BN[b]].unique()]
        assert all(abs(h - w / 2) <= 1 for h, w in zip(halves, whole, strict=True))


def test_hidden_positions_stay_between_visible_neighbours() -> None:
    clean, _ = slots_of(7, 2)
    hidden = torch.zeros_like(clean.values_BNF, dtype=torch.bool)
    hidden[:, ::2] = True
    mask = between_neighbours(clean, hidden)
    for i in range(0, clean.bar_BN.shape[1], 2):
        if clean.pad_BN[0, i]:
            continue
        free = (mask[0, i] == 0).nonzero().flatten()
        place = list(zip(clean.track_BN[0].tolist(), clean.bar_BN[0].tolist(), strict=True))
        if i > 0 and place[i - 1] == place[i]:
            assert int(free.min()) == int(clean.values_BNF[0, i - 1, 0])
        if i + 1 < len(place) and place[i + 1] == place[i] and not clean.pad_BN[0, i + 1]:
            assert int(free.max()) == int(clean.values_BNF[0, i + 1, 0])
