"""Token clips for training: the same tokens as the codec's, moved together, damaged only where open; what the losses make of them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musediff.chords import NO_CHORD
from musediff.clip import KEY_INDEX, Clip, mean_pitch_range
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.clip_rows import Batches
from musediff.engines.muse.canvas import forget as forget_labels
from musediff.engines.muse.dataset import (
    PATTERNS,
    Spoiling,
    TokenClip,
    TokenSource,
    augment,
    collate,
    forget,
    open_tokens,
    piece_at,
    spoil,
    token_lengths,
    tokens,
)  # fmt: skip
from musediff.engines.muse.losses import LossWeights, losses
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.engines.slots.dataset import ClipSource
from musediff.tokens import commu, vocab
from musediff.tokens.commu import Encoded
from musediff.tokens.vocab import Kind
from tests.token_clips import any_clips

SEQ_LEN = 640


@pytest.fixture(scope="module")
def store(data: Path) -> packed.Store:
    return packed.load(data)


@pytest.fixture(scope="module")
def source(store: packed.Store) -> TokenSource:
    return TokenSource(store, packed.TRAIN, SEQ_LEN)


@pytest.fixture(scope="module")
def drawn(source: TokenSource) -> list[TokenClip]:
    return source.draw(np.random.default_rng(0), 300)


def parts(clip: TokenClip) -> tuple[np.ndarray, np.ndarray]:
    """Prefix and clean note part."""
    start = int(np.argmax(clip.clean == vocab.EOS)) + 1
    return clip.clean[:start], clip.clean[start:]


def encoded(clip: Clip) -> Encoded:
    return commu.note_part(np.array(clip.tracks[0].notes, np.int64).reshape(-1, 4), clip.num_measures, clip.bar_ticks)


def test_tokens_are_those_of_the_codec_and_their_number_is_known_before(store: packed.Store) -> None:
    rows = np.arange(0, store.clips, 23)
    for row, length in zip(rows, token_lengths(store, rows), strict=True):
        prefix, part = tokens(piece_at(store, int(row)))
        right = commu.encode(clip_at(store, [int(row)]))
        assert np.array_equal(np.concatenate((prefix, part.ids)), right.ids)
        assert len(right.ids) == length


def test_every_clean_clip_is_legal_and_its_prefix_is_given(drawn: list[TokenClip]) -> None:
    for clip in drawn:
        prefix, part = parts(clip)
        assert commu.legal(part, int((part == vocab.BAR).sum()))
        assert (vocab.KIND[prefix[: vocab.META_TOKENS]] == Kind.META).all()
        assert not clip.noised[: len(prefix)].any() and clip.noised.any()


def test_clips_that_are_too_long_are_left_out_and_counted(store: packed.Store, source: TokenSource) -> None:
    short = TokenSource(store, packed.TRAIN, 150)
    assert len(short.clips.rows) + short.left_out == len(source.clips.rows) + source.left_out
    assert short.left_out > source.left_out
    assert 0 < source.left_out_share < short.left_out_share < 1
    assert max(clip.length for clip in short.draw(np.random.default_rng(0), 100)) <= 150


def test_clips_are_drawn_as_often_as_for_the_other_engine(store: packed.Store, source: TokenSource) -> None:
    other = ClipSource(store, packed.TRAIN).clips
    here = np.isin(other.rows, source.clips.rows)
    assert np.array_equal(other.rows[here], source.clips.rows)
    assert np.array_equal(other.weight[here], source.clips.weight)


def test_pitch_key_chords_and_labels_move_together(store: packed.Store, source: TokenSource) -> None:
    rng, shifts, louder = np.random.default_rng(1), set(), set()
    for row in source.clips.rows[::7]:
        plain = piece_at(store, int(row))
        moved = augment(plain, rng)
        shift = int(moved.notes[0, 1] - plain.notes[0, 1])
        shifts.add(shift)
        louder.add(int(moved.notes[0, 3] - plain.notes[0, 3]))
        assert np.array_equal(moved.notes[:, 1] - plain.notes[:, 1], np.full(len(plain.notes), shift))
        assert np.array_equal(moved.notes[:, [0, 2]], plain.notes[:, [0, 2]])
        assert 0.91 * plain.clip.bpm <= moved.clip.bpm <= 1.09 * plain.clip.bpm
        if plain.clip.key is not None and moved.clip.key is not None:
            assert (KEY_INDEX[moved.clip.key] - KEY_INDEX[plain.clip.key] - shift) % 12 == 0
            assert KEY_INDEX[moved.clip.key] // 12 == KEY_INDEX[plain.clip.key] // 12
        for before, after in zip(plain.clip.chords or (), moved.clip.chords or (), strict=True):
            assert after == before if before >= NO_CHORD else ((after // 9 - before // 9 - shift) % 12, after % 9) == (0, before % 9)
        prefix, _ = tokens(moved)
        heard = replace(
            plain.clip.tracks[0],
            pitch_range=mean_pitch_range(moved.notes[:, 1].mean()),
            min_velocity=int(moved.notes[:, 3].min()),
            max_velocity=int(moved.notes[:, 3].max()),
        )
        assert np.array_equal(prefix, commu.prefix(replace(moved.clip, tracks=(heard,))))
    assert shifts == set(range(-6, 6)) and min(louder) < -7 and max(louder) > 7


def test_drums_stay_where_they_are(store: packed.Store, source: TokenSource) -> None:
    plain = replace(piece_at(store, int(source.clips.rows[0])), drums=True)
    rng = np.random.default_rng(0)
    assert all(np.array_equal(augment(plain, rng).notes[:, 1], plain.notes[:, 1]) for _ in range(10))


def test_labels_are_forgotten_as_guidance_forgets_them(store: packed.Store, source: TokenSource) -> None:
    row = int(source.clips.rows[5])
    clip = clip_at(store, [row])
    assert clip.chords is not None and clip.key is not None
    said, rng = commu.prefix(clip), np.random.default_rng(0)
    found = [forget(said, rng) for _ in range(2000)]
    bare = commu.prefix(forget_labels(clip))
    assert 0.07 < np.mean([np.array_equal(prefix, bare) for prefix in found]) < 0.13
    assert any(np.array_equal(prefix, said) for prefix in found)
    assert 0.15 < np.mean([len(prefix) == len(bare) for prefix in found]) < 0.23  # no chords: alone, or with everything
    unsaid = np.mean([prefix[: vocab.META_TOKENS] != said[: vocab.META_TOKENS] for prefix in found], 0)
    known = bare[: vocab.META_TOKENS] != said[: vocab.META_TOKENS]
    known[0] = True
    assert ((unsaid[known] > 0.12) & (unsaid[known] < 0.27)).all()
    assert unsaid[2] == 0  # the metre
    assert 0.08 < unsaid[4] < 0.2  # the number of bars, alone


@given(clip=any_clips(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_something_is_always_open_and_damage_falls_only_there(clip: Clip, seed: int) -> None:
    part, rng = encoded(clip), np.random.default_rng(seed)
    clean = part.ids.copy()
    noised = open_tokens(part, rng)
    assert noised.shape == clean.shape
    assert noised.any() == bool(clip.tracks[0].notes)
    assert not noised[clean == vocab.BAR].any() and not noised[-1]  # it is told where they are
    shown = spoil(part.ids, noised, rng)
    assert np.array_equal(part.ids, clean)
    assert np.array_equal(shown[~noised], clean[~noised])
    assert (shown == vocab.BAR).sum() == clip.num_measures


def test_what_is_open_is_drawn_as_sampling_meets_it(store: packed.Store, source: TokenSource) -> None:
    row = next(int(row) for row in source.clips.rows if store.clip_bars[row] == 8)
    _, part = tokens(piece_at(store, row))
    rng, kinds, of_notes = np.random.default_rng(0), vocab.KIND[part.ids], part.source >= 0
    seen = Counter(classify(open_tokens(part, rng), part, kinds, of_notes) for _ in range(3000))
    share = {name: seen[name] / 3000 for name in seen}
    assert abs(share["notes"] - PATTERNS["notes"]) < 0.05  # a region of all bars looks the same
    assert abs(share["kinds"] - PATTERNS["kinds"] / 2) < 0.03 < share["kinds of a region"]
    assert abs(share["region"] - PATTERNS["region"]) < 0.06
    assert share["some"] > PATTERNS["some"] / 2
    assert sum(share.values()) == pytest.approx(1)


def classify(noised: np.ndarray, part: Encoded, kinds: np.ndarray, of_notes: np.ndarray) -> str:
    """Which pattern it looks like."""
    if np.array_equal(noised, of_notes):
        return "notes"
    inside = np.isin(part.bar, part.bar[noised])
    bars = np.unique(part.bar[noised])
    run = len(bars) == bars[-1] - bars[0] + 1
    if run and noised[inside & of_notes].all():
        return "region"
    opened = np.isin(kinds, kinds[noised])
    if np.array_equal(noised, opened):
        return "kinds"
    return "kinds of a region" if run and np.array_equal(noised, opened & inside) else "some"


def test_damage_is_of_every_degree_and_swaps_bars_of_whole_clips(store: packed.Store, source: TokenSource) -> None:
    _, part = tokens(piece_at(store, int(source.clips.rows[3])))
    rng, whole = np.random.default_rng(0), np.ones(len(part.ids), bool)
    shown = [spoil(part.ids, whole, rng) for _ in range(400)]
    share = np.array([(ids != part.ids).mean() for ids in shown])
    assert (share < 0.1).mean() > 0.05 and (share > 0.6).mean() > 0.1
    assert any((ids == vocab.PAD).any() for ids in shown)
    assert all(np.array_equal(ids == vocab.BAR, part.ids == vocab.BAR) for ids in shown), "it is told where bars are"
    swapping = Spoiling(available="rr", p=1.0)
    swapped = spoil(part.ids, whole, rng, swapping)
    assert not np.array_equal(swapped, part.ids) and sorted(swapped) == sorted(part.ids)
    whole[np.flatnonzero(part.ids != vocab.BAR)[2]] = False
    assert np.array_equal(spoil(part.ids, whole, rng, swapping), part.ids), "a note is given: no bar is free to go"


def test_half_of_the_clips_are_damaged_and_none_if_so_asked(store: packed.Store, drawn: list[TokenClip]) -> None:
    assert 0.4 < np.mean([clip.damaged for clip in drawn]) < 0.6
    assert all(np.array_equal(clip.shown, clip.clean) for clip in drawn if not clip.damaged)
    whole = TokenSource(store, packed.TRAIN, SEQ_LEN, damaged=0.0).draw_plain(np.random.default_rng(0), 30)
    assert not any(clip.damaged for clip in whole)


def test_a_batch_is_padded_behind_its_clips(drawn: list[TokenClip]) -> None:
    batch = collate(drawn[:9])
    for b, clip in enumerate(drawn[:9]):
        assert torch.equal(batch.pad_BL[b], torch.arange(batch.pad_BL.shape[1]) >= clip.length)
        assert batch.clean_BL[b, : clip.length].tolist() == clip.clean.tolist()
        assert batch.ids_BL[b, : clip.length].tolist() == clip.shown.tolist()
        assert batch.noised_BL[b, : clip.length].tolist() == clip.noised.tolist()
    assert not batch.noised_BL[batch.pad_BL].any() and (batch.ids_BL[batch.pad_BL] == vocab.PAD).all()


def test_batches_go_on_where_they_were(source: TokenSource) -> None:
    rng = np.random.default_rng(0)
    batches = Batches(source.draw, tokens=1500, pool=40)
    for _ in range(9):
        batches.next(rng)
    state, later = batches.state(), np.random.default_rng(7)
    expected = [batches.next(later) for _ in range(20)]
    again, later = Batches(source.draw, tokens=1500, pool=40), np.random.default_rng(7)
    again.restore(state)
    for clips in expected:
        assert max(clip.length for clip in clips) * len(clips) <= 1500
        assert all(np.array_equal(a.shown, b.shown) for a, b in zip(clips, again.next(later), strict=True))


class Shouting(MuseNetwork):
    """Says nonsense wherever a token is given or padding."""

    quiet_BL: Tensor | None = None

    def forward(
        self, x_BLD: Tensor, time_B: Tensor, pad_BL: Tensor | None, guess_BLD: Tensor | None = None, layout_BLC: Tensor | None = None
    ) -> Tensor:
        found = super().forward(x_BLD, time_B, pad_BL, guess_BLD, layout_BLC)
        return found if self.quiet_BL is None else torch.where(self.quiet_BL[..., None], found, 1000.0)


def test_given_tokens_and_padding_never_count(drawn: list[TokenClip]) -> None:
    torch.manual_seed(0)
    network, batch = Shouting(MuseConfig.tiny(seq_len=SEQ_LEN, layout=True)).eval(), collate(drawn[:8])
    schedule, t_B = ScheduleConfig(steps=50).build(), torch.arange(8) * 6
    found = []
    for network.quiet_BL in (None, batch.noised_BL):
        found.append(losses(network, schedule, batch, t_B, torch.Generator().manual_seed(0), LossWeights(anchor=1.0)))
    assert torch.equal(found[0].mse_B, found[1].mse_B) and torch.equal(found[0].nll_B, found[1].nll_B)
    network.quiet_BL = torch.zeros_like(batch.noised_BL)
    assert (losses(network, schedule, batch, t_B, torch.Generator().manual_seed(0)).mse_B > 1000).all()


def test_the_table_learns_from_what_is_shown_and_aimed_at(store: packed.Store) -> None:
    torch.manual_seed(0)
    network = MuseNetwork(MuseConfig.tiny(seq_len=SEQ_LEN, layout=True))
    batch = collate(TokenSource(store, packed.TRAIN, SEQ_LEN, damaged=0.0).draw(np.random.default_rng(0), 6))
    weights = LossWeights(mse=1.0, rounding=0.0, anchor=0.0, prior=0.0)
    found = losses(network, ScheduleConfig(steps=50).build(), batch, torch.arange(6) * 8, torch.Generator().manual_seed(0), weights)
    found.mean(torch.ones(6)).backward()
    assert network.token.weight.grad is not None
    learning = network.token.weight.grad.abs().sum(1) > 0
    assert set(learning.nonzero().ravel().tolist()) == set(batch.ids_BL[~batch.pad_BL].tolist())
    assert not learning[vocab.PAD]
