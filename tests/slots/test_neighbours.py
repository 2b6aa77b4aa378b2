"""What a note is told of the notes around it, against a slow and plain account of the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.engines.slots import layout, vocab
from musediff.engines.slots.batch import ECHOES, FIRST_WAIT, LAST_WAIT, NO_PITCH, NO_WAIT, WAITS, Slots, place_at
from musediff.engines.slots.lookup import summed
from musediff.engines.slots.neighbours import Neighbours
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.engines.slots.process import mask_values
from tests.slots.conftest import make_clip


def hidden_slots(seed: int, share: float, meter: str = "4/4", tracks: int = 2) -> tuple[Slots, Slots]:
    """Clips as they are, and with a share of their fields hidden."""
    clip = make_clip(seed, bars=4, time_signature=meter, tracks=tracks, per_bar=4)
    rows = [layout.start_row(layout.encode_clip(clip), np.ones((4, tracks), bool), np.ones(4, bool)) for _ in range(2)]
    clean, _ = layout.batch(rows, clip)
    hidden = torch.rand(clean.values_BNF.shape, generator=torch.Generator().manual_seed(seed)) < share
    return clean, clean.but(mask_values(hidden, clean.values_BNF))


def plainly(slots: Slots, b: int, i: int, position: int, bar_positions: int) -> tuple[list[int], list[int], list[int]]:
    """Waits, echoes and pitches of one note, note by note."""
    bar, track = slots.bar_BN[b].tolist(), slots.track_BN[b].tolist()
    seen, pitch = slots.values_BNF[b, :, vocab.POSITION].tolist(), slots.values_BNF[b, :, vocab.PITCH].tolist()
    there = [j for j in range(len(bar)) if track[j] == track[i] and seen[j] < vocab.MAX_POSITIONS and not slots.pad_BN[b, j]]
    known = position < vocab.MAX_POSITIONS
    own = bar[i] * bar_positions + (position if known else 0)
    onset = {j: bar[j] * bar_positions + seen[j] for j in there}
    before = [j for j in there if j < i and (not known or onset[j] < own)][-1:]
    after = [j for j in there if j > i and (not known or onset[j] > own)][:1]
    waits, pitches = [], []
    for found, sign in ((before, 1), (after, -1)):
        wait = min(max(sign * (own - onset[found[0]]), FIRST_WAIT), LAST_WAIT) - FIRST_WAIT if found else NO_WAIT
        waits.append(wait + (0 if known else WAITS))
        pitches.append(pitch[found[0]] if found else NO_PITCH)
    echoes = []
    for lag in ECHOES:
        same = [j for j in range(len(bar)) if not slots.pad_BN[b, j] and (track[j], bar[j]) == (track[i], bar[i] + lag)]
        same = [j for j in same if slots.index_BN[b, j] == slots.index_BN[b, i]]
        echoes.append(seen[same[0]] if same else vocab.MAX_POSITIONS)
        pitches.append(pitch[same[0]] if same else NO_PITCH)
    return waits, echoes, pitches


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.9]), st.sampled_from([("4/4", 48), ("3/4", 36), ("12/8", 72)]), st.booleans())
def test_places_are_as_the_plain_account_says(seed: int, share: float, meter: tuple[str, int], chosen: bool) -> None:
    clean, slots = hidden_slots(seed, share, meter[0])
    position_BN = (clean if chosen else slots).values_BNF[..., vocab.POSITION]
    place = place_at(slots, position_BN)
    for b, i in (~slots.pad_BN).nonzero().tolist():
        waits, echoes, pitches = plainly(slots, b, i, int(position_BN[b, i]), meter[1])
        assert place.wait_XW[b, i].tolist() == waits
        assert place.echo_XE[b, i].tolist() == echoes
        assert place.pitch_XP[b, i].tolist() == pitches


def test_a_hidden_note_tells_nothing() -> None:
    """What is told of the others must not depend on what is hidden of them, or the network learns to read the answer."""
    clean, slots = hidden_slots(1, 0.5)
    neighbours = Neighbours(16)
    position_BN, masks = clean.values_BNF[..., vocab.POSITION], torch.tensor(vocab.SIZES)
    hidden = slots.values_BNF == masks
    rewritten = torch.where(hidden, torch.randint(0, 20, hidden.shape), clean.values_BNF)  # other answers under the same masks
    again = clean.but(rewritten).but(mask_values(hidden, rewritten))
    here, there = (place_at(s, position_BN) for s in (slots, again))
    pitch = slots.values_BNF[..., vocab.PITCH]
    assert torch.equal(summed(neighbours.seen(here, pitch)), summed(neighbours.seen(there, pitch))) and torch.equal(
        here.pitch_XP, there.pitch_XP
    )


@pytest.mark.parametrize("shift", [-5, 7])
def test_a_transposed_melody_has_transposed_pitch_logits(shift: int) -> None:
    _, slots = hidden_slots(3, 0.2, tracks=1)
    torch.manual_seed(0)
    neighbours, hidden = Neighbours(16), torch.randn(*slots.pad_BN.shape, 16)
    pitch = slots.values_BNF[..., vocab.PITCH]
    moved = slots.values_BNF.clone()
    moved[..., vocab.PITCH] = torch.where(pitch < NO_PITCH, pitch + shift, pitch)
    both = (slots, slots.but(moved))
    here, there = (neighbours.pitch_logits(hidden, place_at(s, s.values_BNF[..., vocab.POSITION])) for s in both)
    assert torch.allclose(here[..., 20:100], there[..., 20 + shift : 100 + shift], atol=1e-5)
    assert float(here.detach().std()) > 0.1
    seen = [summed(neighbours.seen(place_at(s, s.values_BNF[..., vocab.POSITION]), s.values_BNF[..., vocab.PITCH])) for s in both]
    assert torch.equal(*seen)


def test_weights_made_before_still_load_and_say_the_same() -> None:
    """``neighbours`` is off unless the settings beside the weights say otherwise."""
    torch.manual_seed(0)
    network = SlotsNetwork(NetworkConfig(width=32, layers=1, heads=2))
    assert network.neighbours is None and not any(name.startswith("neighbours") for name in network.state_dict())
