"""Relative attention against its definition, what may be seen from where, and the cache against reading all at once."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musediff.engines.slots import vocab
from musediff.engines.slots.blocks import attention
from musediff.engines.slots.causal import HIDDEN, Cache, biased_attention, nearest, newest_attention, relative_attention, skewed
from musediff.engines.slots.line import OVER, following, in_line
from musediff.engines.slots.line_losses import line_losses
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.engines.slots.reading import InLine
from tests.ar.conftest import cut, line_of, network, slots_of, two_way_network


def by_definition(bare: Tensor, q: Tensor, k: Tensor, v: Tensor, distance_HTE: Tensor, attend_B11P: Tensor) -> Tensor:
    """Pair by pair."""
    batch, heads, notes, width = q.shape
    conditions, most = attend_B11P.shape[-1], distance_HTE.shape[1]
    out = torch.zeros_like(q)
    for b in range(batch):
        for h in range(heads):
            for i in range(notes):
                score = torch.full((k.shape[2],), -torch.inf)
                for j in range(k.shape[2]):
                    back = i - (j - conditions)
                    if j < conditions:
                        score[j] = q[b, h, i] @ k[b, h, j] if attend_B11P[b, 0, 0, j] else -torch.inf
                    elif back >= 0:
                        score[j] = q[b, h, i] @ k[b, h, j] + bare[b, h, i] @ distance_HTE[h, most - 1 - min(back, most - 1)]
                out[b, h, i] = (score / width**0.5).softmax(0) @ v[b, h]
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 14), st.integers(1, 4), st.integers(1, 12), st.integers(0, 99))
def test_relative_attention_is_what_its_definition_says(notes: int, conditions: int, most: int, seed: int) -> None:
    """Of all notes at once, and of the last one alone."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    bare, q, k, v = draw(2, 2, notes, 4), draw(2, 2, notes, 4), draw(2, 2, conditions + notes, 4), draw(2, 2, conditions + notes, 4)
    distance, attend = draw(2, most, 4), torch.rand(2, 1, 1, conditions, generator=generator) < 0.7
    expected = by_definition(bare, q, k, v, distance, attend)
    assert torch.allclose(relative_attention(bare, q, k, v, distance, attend), expected, atol=1e-5)
    newest = newest_attention(bare[:, :, -1:], q[:, :, -1:], k, v, distance, attend)
    assert torch.allclose(newest, expected[:, :, -1:], atol=1e-5)
    attend[..., 0] = True  # what the clip as a whole is asked for is never padding
    q_of_all = torch.cat((draw(2, 2, conditions, 4), q), 2)
    of_conditions = attention(q_of_all[:, :, :conditions], k[:, :, :conditions], v[:, :, :conditions], attend)
    expected = torch.cat((of_conditions, by_definition(bare, q, k, v, distance, attend)), 2)
    assert torch.allclose(biased_attention(bare, q_of_all, k, v, distance, attend), expected, atol=1e-5)


def test_what_a_gpu_computes_teaches_the_same(monkeypatch) -> None:
    """A whole reading with attention, tables and rows as they are worked out there, against the plain ways: losses and gradients."""
    torch.manual_seed(0)
    net = SlotsNetwork(NetworkConfig(width=24, layers=2, heads=3, neighbours=True, distances=5)).double()
    for parameter in net.blocks.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    slots = slots_of(3, 2, variants=2)
    slots.pad_BN[0, -2:] = True
    slots.pad_BR[1, -1] = True
    line = in_line(slots)
    plain = line_losses(net, line)
    gradients = torch.autograd.grad(plain.sum(), list(net.parameters()), allow_unused=True)
    monkeypatch.setattr("musediff.engines.slots.causal.on_cpu", lambda _: False)
    monkeypatch.setattr("musediff.engines.slots.lookup.on_cpu", lambda _: False)
    there = line_losses(net, line)
    assert torch.allclose(there, plain)
    for one, other in zip(gradients, torch.autograd.grad(there.sum(), list(net.parameters()), allow_unused=True), strict=True):
        assert (one is None) == (other is None) and (one is None or other is None or torch.allclose(one, other, atol=1e-9))


def test_what_is_beyond_the_farthest_distance_is_as_far() -> None:
    table = torch.arange(3.0).view(1, 3, 1)
    assert nearest(table, 5).flatten().tolist() == [0, 0, 0, 1, 2]
    assert nearest(table, 2).flatten().tolist() == [1, 2]
    moved = skewed(nearest(table, 5).transpose(1, 2).expand(1, 5, 5))
    assert [moved[0, i, : i + 1].tolist() for i in (0, 2, 4)] == [[2], [0, 1, 2], [0, 0, 0, 1, 2]]
    assert HIDDEN < -1000


@pytest.mark.parametrize("tracks", [1, 3])
def test_a_line_is_each_track_behind_its_start_and_says_what_follows(tracks: int) -> None:
    slots = slots_of(1, tracks)
    line, notes = in_line(slots), int((~slots.pad_BN[0]).sum())
    follows = following(line)
    start = (line.values_BNF == torch.tensor(vocab.SIZES)).all(-1)
    assert int(start[0].sum()) == tracks and bool(start[0, 0])
    assert line.track_BN[0, start[0]].tolist() == list(range(tracks))
    assert torch.equal(line.values_BNF[0, ~start[0] & ~line.pad_BN[0]], slots.values_BNF[0, :notes])
    assert torch.equal(line.values_BNF[follows.note_BM], torch.cat([slots.values_BNF[0, :notes]] * 2))
    advance = follows.advance_Y[: notes + tracks]
    assert int((advance == OVER).sum()) == tracks and int(advance[-1]) == OVER
    bars, walked = [], 0
    for step in advance[:-1].tolist():
        walked = 0 if step == OVER else walked + step
        bars += [] if step == OVER else [walked]
    assert bars == slots.bar_BN[0, :notes].tolist()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_a_later_note_changes_nothing_before_it_but_what_comes_after(seed: int, tracks: int, pick: int) -> None:
    net, line = network(), line_of(seed, tracks, variants=1)
    tokens = int((~line.pad_BN).sum())
    place = 1 + pick % (tokens - 1)
    values = line.values_BNF.clone()
    values[0, place] = (values[0, place] + 1) % torch.tensor(vocab.SIZES)
    before, after = net(line), net(line.but(values))
    assert torch.equal(before.line_BMD[:, :place], after.line_BMD[:, :place])
    assert torch.equal(before.bar_BRD, after.bar_BRD)
    assert (before.line_BMD[:, place:tokens] - after.line_BMD[:, place:tokens]).abs().amax(-1).min() > 1e-6


def test_every_bar_and_chord_is_seen_from_the_start() -> None:
    net, line = network(), line_of(2, variants=1)
    before = net(line).line_BMD[0, 0]
    chords = line.chords_BRC.clone()
    chords[0, -1] = (chords[0, -1] + 9) % 108
    assert not torch.allclose(before, net(replace(line, chords_BRC=chords)).line_BMD[0, 0], atol=1e-4)


@pytest.mark.parametrize("net", [network(), two_way_network()], ids=["ar", "slots"])
@pytest.mark.parametrize("first", [1, 7])
def test_reading_with_a_cache_is_reading_at_once(net: InLine, first: int) -> None:
    line = line_of(3, tracks=2)
    whole, known, caches = net.read_line(line), net.known(line), [Cache() for _ in net.blocks]
    read = net.begin(cut(line, 0, first), known, caches)
    so_far = [cut(line, 0, end) for end in range(first + 1, line.pad_BN.shape[1] + 1)]
    rest = [net.go_on(part, net.past(part, part.values_BNF[:, -1:, vocab.POSITION]), known, caches) for part in so_far]
    assert torch.allclose(read.bar_BRD, whole.bar_BRD, atol=1e-5)
    assert torch.allclose(torch.cat((read.line_BMD, torch.stack(rest, 1)), 1), whole.line_BMD, atol=1e-5)
