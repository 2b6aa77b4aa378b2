"""The forward process: which slots are hidden, which are given, which are silently wrong.

Training mixes what sampling, infilling, editing and repair will meet. Hidden fields take the mask class; a share of
the visible, not trusted notes is replaced by wrong ones (the hybrid noise of GIDD, von Rutte et al. 2025), which is
what teaches the network to find and mend mistakes. Suffixes as in ``network``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from musediff.chords import ANY_CHORD
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, masked

Draw = Callable[..., Tensor]  # uniform numbers of a shape, from the generator of the batch

# How the hidden set is chosen, and how often.
PATTERNS = (("fields", 0.22), ("notes", 0.36), ("bars", 0.14), ("columns", 0.08), ("everything", 0.05), ("repair", 0.15))


@dataclass(slots=True)
class Noised:
    """A noised batch with what the losses need."""

    slots: Slots  # what the network sees
    clean_BNF: Tensor  # what it should say, in the order of the slots it sees
    hidden_BNF: Tensor  # fields that are masked
    wrong_BNF: Tensor  # visible fields that were replaced by another value
    judged_BNF: Tensor  # visible and not given: the network judges these


def mask_values(hidden_BNF: Tensor, values_BNF: Tensor) -> Tensor:
    """Values with hidden fields replaced by the mask class."""
    return torch.where(hidden_BNF, masked(values_BNF.device), values_BNF)


def drop_conditions(slots: Slots, generator: torch.Generator, field: float = 0.15, everything: float = 0.1, chords: float = 0.1) -> None:
    """In place: forget each label with probability ``field``, all of them, or the chords. Metre and length always stay."""
    batch = len(slots.shared_BF)
    device = slots.shared_BF.device
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=device)  # noqa: E731
    all_B = draw(batch) < everything
    forget = (draw(*slots.shared_BF.shape) < field) | all_B[:, None]
    forget[:, [vocab.SHARED.index("time_signature"), vocab.SHARED.index("num_measures")]] = False
    slots.shared_BF = torch.where(forget, 0, slots.shared_BF)
    slots.parts_BKF = torch.where((draw(*slots.parts_BKF.shape) < field) | all_B[:, None, None], 0, slots.parts_BKF)
    no_chords = (draw(batch) < chords) | all_B
    slots.chords_BRC = torch.where(no_chords[:, None, None], ANY_CHORD, slots.chords_BRC)


def noise(slots: Slots, generator: torch.Generator) -> Noised:
    """Hide and damage a clean batch (all notes visible, none given)."""
    batch, notes, _ = slots.values_BNF.shape
    device = slots.values_BNF.device
    draw = lambda *shape: torch.rand(*shape, generator=generator, device=device)  # noqa: E731
    rate_B = (torch.arange(batch, device=device) + draw(batch)) / batch  # stratified
    rate_B = rate_B[torch.randperm(batch, generator=generator, device=device)]
    pattern_B = torch.multinomial(torch.tensor([p for _, p in PATTERNS], device=device), batch, replacement=True, generator=generator)
    hidden_BNF = torch.zeros_like(slots.values_BNF, dtype=torch.bool)
    given_BN = torch.zeros_like(slots.pad_BN)
    for number, (name, _) in enumerate(PATTERNS):
        here = (pattern_B == number)[:, None]
        hide_BNF, trust_BN = _pattern(name, slots, rate_B, draw)
        hidden_BNF |= hide_BNF & here[..., None]
        given_BN |= trust_BN & here
    given_BN |= _context_tracks(slots, draw)
    hidden_BNF &= ~(given_BN | slots.pad_BN)[..., None]
    damage_B = torch.where(pattern_B == len(PATTERNS) - 1, draw(batch) * 0.6, draw(batch) * 0.2 * (draw(batch) < 0.6))
    wrong_BN = (draw(batch, notes) < damage_B[:, None]) & ~given_BN & ~slots.pad_BN & ~hidden_BNF.any(-1)
    seen = torch.where(wrong_BN[..., None], _damaged(slots, draw), slots.values_BNF)
    wrong_BNF = seen != slots.values_BNF
    order = _order(seen, slots)
    pick = lambda x: x.gather(1, order)  # noqa: E731
    pick4 = lambda x: x.gather(1, order[..., None].expand_as(x))  # noqa: E731
    hidden_BNF, clean, wrong_BNF, given_BN = pick4(hidden_BNF), pick4(slots.values_BNF), pick4(wrong_BNF), pick(given_BN)
    shown = slots.but(mask_values(hidden_BNF, pick4(seen)))
    shown.given_BN = given_BN
    return Noised(shown, clean, hidden_BNF, wrong_BNF, ~hidden_BNF & ~(given_BN | slots.pad_BN)[..., None])


def _pattern(name: str, slots: Slots, rate_B: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Hidden fields (B, N, F) and trusted notes (B, N) of one pattern."""
    batch, notes, fields = slots.values_BNF.shape
    device = slots.values_BNF.device
    rate = rate_B[:, None]
    nothing = torch.zeros(batch, notes, dtype=torch.bool, device=device)
    if name == "fields":
        return draw(batch, notes, fields) < rate[..., None], nothing
    if name == "notes":
        return (draw(batch, notes) < rate)[..., None].expand(-1, -1, fields), nothing
    if name == "bars":  # a region: everything outside is given
        bars = slots.pad_BR.shape[1]
        length = (rate_B * bars).ceil().clamp(1, bars)
        start = (draw(batch) * (bars + 1 - length)).floor()
        inside = (slots.bar_BN >= start[:, None]) & (slots.bar_BN < (start + length)[:, None])
        some = draw(batch, notes) < torch.where(draw(batch, 1) < 0.5, 1.0, draw(batch, 1))
        return (inside & some)[..., None].expand(-1, -1, fields), ~inside
    if name == "columns":
        kept = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]], device=device, dtype=torch.bool)
        which = (draw(batch) * len(kept)).long().clamp(max=len(kept) - 1)
        return (~kept[which])[:, None, :] & (draw(batch, notes) < rate.clamp(min=0.5))[..., None], nothing
    if name == "repair":
        return (draw(batch, notes) < rate * 0.3)[..., None].expand(-1, -1, fields), nothing
    return torch.ones(batch, notes, fields, dtype=torch.bool, device=device), nothing


def _context_tracks(slots: Slots, draw: Draw) -> Tensor:
    """Notes (B, N) of whole tracks that are given while others are to be found: in most clips of several tracks."""
    batch, tracks = slots.pad_BK.shape
    if tracks == 1:
        return torch.zeros_like(slots.pad_BN)
    several = (~slots.pad_BK).sum(1, keepdim=True) > 1
    score = torch.where(slots.pad_BK, -1.0, draw(batch, tracks))
    free = score == score.max(1, keepdim=True).values  # one track always stays free
    given_BK = several & ~free & (draw(batch, tracks) < 0.7) & (draw(batch, 1) < 0.8)
    return given_BK.gather(1, slots.track_BN) & ~slots.pad_BN


def _damaged(slots: Slots, draw: Draw) -> Tensor:
    """Wrong values for every note: wild, near in pitch, another place, another length or loudness."""
    clean = slots.values_BNF
    batch, notes, _ = clean.shape
    sizes = torch.tensor(vocab.SIZES, device=clean.device)
    wild = (draw(*clean.shape) * sizes).long().minimum(sizes - 1)
    near = clean.clone()
    step = (draw(batch, notes) * 8).long() - 4
    near[..., vocab.PITCH] = (clean[..., vocab.PITCH] + torch.where(step >= 0, step + 1, step)).clamp(0, 127)
    random_note = clean.clone()  # pitch, duration and velocity at random, place kept: the original's "rn"
    random_note[..., 1:] = wild[..., 1:]
    moved = clean.clone()  # up to a quarter earlier or later
    moved[..., vocab.POSITION] = (clean[..., vocab.POSITION] + (draw(batch, notes) * 25).long() - 12).clamp(0, vocab.MAX_POSITIONS - 1)
    field = (draw(batch, notes) * 3).long().clamp(max=2) + 1
    one_field = torch.where(torch.nn.functional.one_hot(field, len(vocab.FIELDS)).bool(), wild, clean)
    kind = draw(batch, notes)[..., None]
    return torch.where(kind < 0.45, random_note, torch.where(kind < 0.7, near, torch.where(kind < 0.85, moved, one_field)))


def _order(seen_BNF: Tensor, slots: Slots) -> Tensor:
    """Order (B, N) that sorts the seen notes by position and pitch inside their bar, as a reader of the damaged clip would."""
    bars = slots.pad_BR.shape[1]
    group = (slots.track_BN * bars + slots.bar_BN) + slots.pad_BN * 10_000
    key = (group * 128 + seen_BNF[..., vocab.POSITION]) * 256 + seen_BNF[..., vocab.PITCH]
    return key.argsort(stable=True, dim=1)
