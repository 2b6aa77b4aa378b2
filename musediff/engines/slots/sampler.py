"""The reverse process: counts first, then notes revealed over a cosine schedule.

Suffixes as in ``network``. All variants of a request are rows of one batch; every random draw comes from the
generator of the request (on a GPU from one that it seeds), in double precision where classes are drawn.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from musediff.chords import ANY_CHORD
from musediff.engines.guidance import guided, ramped
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots, place_at
from musediff.engines.slots.constraints import FORBIDDEN
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import mask_values

# Of each field, at temperature 1: rhythms of neighbouring bars are then as alike as real ones, .78 (real .78; all alike: .75).
FIELD_TEMPERATURE = (0.76, 0.95, 0.76, 0.76)
DENSITY_LOGIT = 0.25  # for each note of a bar at density 1


@dataclass(slots=True)
class Noise:
    """What is still open in a batch: hidden fields, and the fields that were ever open (the rest is never touched)."""

    hidden_BNF: Tensor
    open_BNF: Tensor


def unconditional(slots: Slots) -> Slots:
    """The same notes with every label and chord forgotten; metre and length stay."""
    shared = torch.zeros_like(slots.shared_BF)
    for name in ("time_signature", "num_measures"):
        i = vocab.SHARED.index(name)
        shared[:, i] = slots.shared_BF[:, i]
    return replace(
        slots, shared_BF=shared, parts_BKF=torch.zeros_like(slots.parts_BKF), chords_BRC=torch.full_like(slots.chords_BRC, ANY_CHORD)
    )


def draw_classes(logits_XV: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One class per row by the Gumbel trick, in float64 (float32 noise truncates the tail; Zheng et al. 2024)."""
    uniform = torch.rand(logits_XV.shape, generator=generator, dtype=torch.float64, device=logits_XV.device)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-300, 1 - 1e-16)))
    return (logits_XV.double() / max(temperature, 1e-4) + gumbel).argmax(-1)


def nucleus(logits_XV: Tensor, keep: float) -> Tensor:
    """Classes outside the smallest set with probability ``keep`` are forbidden (Holtzman et al. 2020)."""
    ordered, order = logits_XV.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits_XV.masked_fill(torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before > keep), FORBIDDEN)


def sample_counts(
    network: SlotsNetwork, slots: Slots, hidden_BRK: Tensor, bias: float, generator: torch.Generator, rounds: int = 4
) -> Tensor:
    """Fill hidden counts in random order, a share of them each round.

    ``bias`` per note: above zero for denser bars. Returns counts (B, R, K).
    """
    counts = torch.where(hidden_BRK, vocab.COUNT_MASK, slots.counts_BRK)
    left = hidden_BRK.clone()
    more_V = bias * torch.arange(vocab.COUNTS, device=counts.device)
    for turn in range(rounds):
        if not left.any():
            break
        logits = network.count_logits(network(replace(slots, counts_BRK=counts))).float()
        drawn = draw_classes(nucleus(logits.flatten(0, 2) + more_V, 0.98), 1.0, generator).view_as(counts)
        score = torch.rand(left.shape, generator=generator, device=left.device).masked_fill(~left, -1.0).flatten(1)
        number = (left.flatten(1).sum(1).float() / (rounds - turn)).ceil().long()
        rank = score.argsort(1, descending=True).argsort(1).view_as(left)
        now = left & (rank < number[:, None, None])
        counts = torch.where(now, drawn, counts)
        left &= ~now
    return counts


@dataclass(slots=True)
class FieldSampler:
    """Draws the hidden fields of some slots, each slot in the order position, pitch, duration, velocity."""

    network: SlotsNetwork
    allowed: list[Tensor]  # (K, V) per field
    temperature: float
    keep: float = 0.97

    def __call__(self, slots: Slots, hidden_BNF: Tensor, now_BN: Tensor, guidance: float, generator: torch.Generator) -> Tensor:
        """Values (B, N, F): those of ``slots`` with the hidden fields of the slots ``now_BN`` filled in."""
        batch = len(slots.bar_BN)
        both = slots if guidance == 1.0 else joined(slots, unconditional(slots))
        slot_BND = self.network(both).slot_BND
        streams = [slot_BND[i * batch : (i + 1) * batch][now_BN] for i in range(len(both.bar_BN) // batch)]
        track_X, hidden_XF = slots.track_BN[now_BN], hidden_BNF[now_BN]
        chosen_XF = slots.values_BNF[now_BN]
        place: Place | None = None  # known once the position is
        for field in range(len(vocab.FIELDS)):
            open_X = hidden_XF[:, field]
            if not open_X.any():
                continue
            if place is None and field != vocab.POSITION:
                position_BN = slots.values_BNF[..., vocab.POSITION].masked_scatter(now_BN, chosen_XF[:, vocab.POSITION])
                place = place_at(slots, position_BN).take(now_BN)
            logits = self._logits(field, streams, chosen_XF, place, guidance) + self.allowed[field][track_X]
            if field == vocab.POSITION:
                logits = logits + between_neighbours(slots, hidden_BNF)[now_BN]
            drawn = draw_classes(nucleus(logits, self.keep), self.temperature * FIELD_TEMPERATURE[field], generator)
            chosen_XF = chosen_XF.clone()
            chosen_XF[:, field] = torch.where(open_X, drawn, chosen_XF[:, field])
        values = slots.values_BNF.clone()
        values[now_BN] = chosen_XF
        return values

    def _logits(self, field: int, streams: list[Tensor], chosen_XF: Tensor, place: Place | None, guidance: float) -> Tensor:
        said = self.network.field_logits(field, streams[0], chosen_XF, place).float().log_softmax(-1)
        if len(streams) == 1:
            return said
        free_place = None if place is None else place.without_chord(ANY_CHORD)
        free = self.network.field_logits(field, streams[1], chosen_XF, free_place).float().log_softmax(-1)
        return guided(said, free, guidance).log_softmax(-1)


def joined(*parts: Slots) -> Slots:
    """One batch of the rows of all, which have as many slots, bars and tracks."""
    return Slots(**{name: torch.cat([getattr(part, name) for part in parts]) for name in Slots.__dataclass_fields__})


def _group(slots: Slots) -> Tensor:
    """Number (B, N) of each slot's track and bar, rising along the row; padding comes last."""
    bars, tracks = slots.counts_BRK.shape[1:]
    return torch.where(slots.pad_BN, bars * tracks, slots.track_BN * bars + slots.bar_BN)


def between_neighbours(slots: Slots, hidden_BNF: Tensor) -> Tensor:
    """Mask (B, N, V) on positions: slots of a bar are in order of time, so a hidden one lies between its visible neighbours."""
    apart = 1000  # more than there are positions
    base = _group(slots) * apart
    position = slots.values_BNF[..., vocab.POSITION]
    hidden = hidden_BNF[..., vocab.POSITION] | slots.pad_BN
    earliest = (base + torch.where(hidden, 0, position)).cummax(1).values - base
    latest = (base + torch.where(hidden, apart - 1, position)).flip(1).cummin(1).values.flip(1) - base
    class_V = torch.arange(vocab.SIZES[vocab.POSITION], device=base.device)
    outside = (class_V < earliest[..., None]) | (class_V > latest[..., None])
    return torch.where(outside & (earliest <= latest)[..., None], FORBIDDEN, 0.0)


def spread(slots: Slots, generator: torch.Generator) -> Tensor:
    """Reveal priority (B, N) in [0, 1]: every bar is filled at the same pace, its notes in random order, so that notes
    revealed in one step, which cannot see each other, rarely share a bar."""
    group = _group(slots)
    chance = torch.rand(group.shape, generator=generator, device=group.device)
    order = (group + chance).argsort(1)  # inside each group at random, groups in order
    place = torch.empty_like(order).scatter(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    size = group.new_zeros(len(group), int(group.max()) + 2).scatter_add(1, group + 1, torch.ones_like(group))
    rank = place - size.cumsum(1).gather(1, group)
    return 1 - (rank + chance) / size.gather(1, group + 1)


def denoise(slots: Slots, noise: Noise, draw: FieldSampler, steps: int, guidance: float, generator: torch.Generator) -> Iterator[Slots]:
    """Yield the slots after each step; fields still hidden carry the mask class. After the last step nothing is hidden.

    ``noise.hidden_BNF`` follows along, so that a caller can tell what is revealed. Which slots a step reveals is decided
    before it draws: only these go through the in-note heads.
    """
    priority = spread(slots, generator)
    total_B = noise.hidden_BNF.any(-1).sum(1)
    for step in range(steps):
        weight = ramped(guidance, step / steps)
        hidden_BN = noise.hidden_BNF.any(-1)
        keep_B = (total_B * math.cos(math.pi / 2 * (step + 1) / steps)).round().long() if step + 1 < steps else torch.zeros_like(total_B)
        number_B = (hidden_BN.sum(1) - keep_B).clamp(min=0)
        rank = priority.masked_fill(~hidden_BN, -1.0).argsort(1, descending=True).argsort(1)
        now_BN = hidden_BN & (rank < number_B[:, None])
        if now_BN.any():
            values = draw(slots, noise.hidden_BNF, now_BN, weight, generator)
            noise.hidden_BNF = noise.hidden_BNF & ~now_BN[..., None]
            slots = slots.but(mask_values(noise.hidden_BNF, values))
        yield slots
