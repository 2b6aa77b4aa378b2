"""A batch of clips as the slots network sees it, and what can be read off it: the chord of a place, the notes around a note.

Shape suffixes: B batch, R bars, K tracks, N note slots, Y the last of them, F fields, X any set of slots; W, E, P see ``Place``.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from musediff.clip import BAR_TICKS, TIME_SIGNATURES
from musediff.engines.slots import vocab

BAR_POSITIONS = (vocab.MAX_POSITIONS, *(BAR_TICKS[meter] // vocab.POSITION_TICKS for meter in TIME_SIGNATURES))  # by class, 0: any
METER = vocab.SHARED.index("time_signature")
# Classes of a wait in positions (twelve a quarter): half a bar back to two bars ahead, farther is as far as that; then "no note there".
# What counts from a place that is not known yet, from its bar line instead, has classes of its own behind them.
FIRST_WAIT, LAST_WAIT = -48, 96
NO_WAIT = LAST_WAIT - FIRST_WAIT + 1
WAITS = NO_WAIT + 1
ECHOES = (-1, 1, -2, 2)  # bars away
OF_NOTES = ("values_BNF", "bar_BN", "track_BN", "index_BN", "ordinal_BN", "given_BN", "pad_BN")  # what a batch has of every slot
MOST_ORDINAL = 4095
NO_PITCH = vocab.SIZES[vocab.PITCH]  # of a note that is not there, or hidden


@dataclass(slots=True)
class Slots:
    """A batch of clips as classes. Masked values have the class ``SIZES[f]``, masked counts ``COUNT_MASK``."""

    shared_BF: Tensor
    chords_BRC: Tensor  # C half beats of a bar
    parts_BKF: Tensor
    counts_BRK: Tensor
    values_BNF: Tensor
    bar_BN: Tensor
    track_BN: Tensor
    index_BN: Tensor  # place of the slot among those of its bar and track
    ordinal_BN: Tensor  # place of the slot among those of its track
    given_BN: Tensor  # True: trusted and frozen. False: masked, or visible and perhaps wrong
    pad_BN: Tensor
    pad_BR: Tensor
    pad_BK: Tensor

    def to(self, device: torch.device | str) -> "Slots":
        """On the device; only the way there is not waited for: on the CPU they are read at once."""
        away = torch.device(device).type != "cpu"
        return Slots(**{f.name: getattr(self, f.name).to(device, non_blocking=away) for f in fields(self)})

    def rows(self, chosen: slice | Tensor) -> "Slots":
        return Slots(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def of_notes(self, change: Callable[[Tensor], Tensor]) -> "Slots":
        """The same with what it has of every slot, (B, N) or (B, N, F), changed."""
        return replace(self, **{name: change(getattr(self, name)) for name in OF_NOTES})

    def but(self, values_BNF: Tensor) -> "Slots":
        return replace(self, values_BNF=values_BNF)


def masked(device: torch.device | None = None) -> Tensor:
    """(F,) the class of each field that says it is hidden."""
    return torch.tensor(vocab.SIZES, device=device)


def bar_lengths(slots: Slots) -> Tensor:
    """(B,) positions of a bar."""
    return torch.tensor(BAR_POSITIONS, device=slots.bar_BN.device)[slots.shared_BF[:, METER]]


def chord_at(slots: Slots, position_BY: Tensor) -> Tensor:
    """Chord id sounding at a position of the bar of each of the last Y slots. Masked positions give the chord of the bar's start."""
    per_chord = 240 // vocab.POSITION_TICKS
    half_beat = torch.where(position_BY < vocab.MAX_POSITIONS, position_BY, 0) // per_chord
    flat, bar_BY = slots.chords_BRC.flatten(1), slots.bar_BN[:, slots.bar_BN.shape[1] - position_BY.shape[1] :]
    return flat.gather(1, bar_BY * vocab.CHORDS_PER_BAR + half_beat)


def places(track_BN: Tensor, bar_BN: Tensor, pad_BN: Tensor, bars: int, tracks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (B, R, K), place inside bar and track (B, N), place inside the track (B, N) of sorted notes."""
    group_BN = track_BN * bars + bar_BN
    counts_BG = torch.zeros(len(pad_BN), tracks * bars, dtype=torch.long, device=pad_BN.device).scatter_add_(1, group_BN, (~pad_BN).long())
    before_BG = counts_BG.cumsum(1) - counts_BG
    slot_N = torch.arange(pad_BN.shape[1], device=pad_BN.device)
    index_BN = slot_N - before_BG.gather(1, group_BN)
    ordinal_BN = (slot_N - before_BG.gather(1, track_BN * bars)).clamp(max=MOST_ORDINAL)
    counts_BRK = counts_BG.unflatten(1, (tracks, bars)).transpose(1, 2).contiguous()
    return counts_BRK, index_BN.masked_fill(pad_BN, 0), ordinal_BN.masked_fill(pad_BN, 0)


@dataclass(slots=True)
class Place:
    """What is around the notes of a set X in their track: the chord, the nearest visible notes before and after (two, W), and the
    notes at the same place of bars near by (``ECHOES``, E)."""

    chord_X: Tensor
    wait_XW: Tensor  # classes of the waits since the onset before and until the onset after, 0 to 2 WAITS - 1
    echo_XE: Tensor  # positions in their bars; MAX_POSITIONS: hidden, or no such note
    pitch_XP: Tensor  # of both, W before E; NO_PITCH: hidden, or no such note

    def take(self, chosen: Tensor) -> "Place":
        """Those of a subset, by a mask."""
        return Place(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def row(self, which: int) -> "Place":
        """Of places (B, Y) those of one Y."""
        return Place(*(getattr(self, f.name)[:, which] for f in fields(self)))

    def joined(self, other: "Place") -> "Place":
        """Both sets."""
        return Place(*(torch.cat((getattr(self, f.name), getattr(other, f.name))) for f in fields(self)))

    def without_chord(self, chord: int) -> "Place":
        """The same under another chord everywhere."""
        return replace(self, chord_X=torch.full_like(self.chord_X, chord))


def place_at(slots: Slots, position_BY: Tensor, past: bool = False) -> Place:
    """Place (B, Y) of the last Y slots, if they begin at ``position_BY`` of their bars, which may be masked, among the notes that are
    visible in ``slots``.

    The note before is the last of the slots before in which an onset is visible, that is earlier if the own one is known (so
    the top of a chord); the note after the first of those behind (the lowest of a chord). ``past``: as if nothing were behind.
    """
    seen_BN, notes = slots.values_BNF[..., vocab.POSITION], slots.pad_BN.shape[1]
    last = slice(notes - position_BY.shape[1], notes)
    length_B = bar_lengths(slots)
    line_BN = slots.bar_BN * length_B[:, None]
    known_BY, there_BN = position_BY < vocab.MAX_POSITIONS, (seen_BN < vocab.MAX_POSITIONS) & ~slots.pad_BN
    own_BY, onset_BN = line_BN[:, last] + torch.where(known_BY, position_BY, 0), line_BN + seen_BN
    slot_N = torch.arange(notes, device=seen_BN.device)
    near_BYN = there_BN[:, None, :] & (slots.track_BN[:, last, None] == slots.track_BN[:, None, :])
    lag_BYN, open_BY1, slot_Y1 = onset_BN[:, None, :] - own_BY[:, :, None], ~known_BY[..., None], slot_N[last, None]
    before_BY = torch.where(near_BYN & (slot_N < slot_Y1) & (open_BY1 | (lag_BYN < 0)), slot_N, -1).amax(-1)
    after_BY = torch.full_like(before_BY, -1)
    if not past:
        first_BY = torch.where(near_BYN & (slot_N > slot_Y1) & (open_BY1 | (lag_BYN > 0)), slot_N, notes).amin(-1)
        after_BY = torch.where(first_BY < notes, first_BY, -1)
    beside_BYW = torch.stack((before_BY, after_BY), -1)
    wait_BYW = (own_BY[..., None] - _of(onset_BN, beside_BYW)) * torch.tensor((1, -1), device=seen_BN.device)
    wait_BYW = torch.where(beside_BYW < 0, NO_WAIT, wait_BYW.clamp(FIRST_WAIT, LAST_WAIT) - FIRST_WAIT)
    echo_BYE = echoes(slots, past)[:, last]
    near_BYP = torch.cat((beside_BYW, echo_BYE), -1)
    return Place(
        chord_at(slots, position_BY),
        wait_BYW + torch.where(known_BY, 0, WAITS)[..., None],
        torch.where(echo_BYE < 0, vocab.MAX_POSITIONS, _of(seen_BN, echo_BYE)),
        torch.where(near_BYP < 0, NO_PITCH, _of(slots.values_BNF[..., vocab.PITCH], near_BYP)),
    )


def chords_alone(slots: Slots, position_BY: Tensor) -> Place:
    """Place (B, Y) as ``place_at``, without looking for notes near by."""
    none_BY0 = position_BY.new_empty(*position_BY.shape, 0)
    return Place(chord_at(slots, position_BY), none_BY0, none_BY0, none_BY0)


def echoes(slots: Slots, past: bool = False) -> Tensor:
    """(B, N, E) the slots at the same place of the bars ``ECHOES`` away, in the same track; -1: none. ``past``: see ``place_at``."""
    batch, bars, tracks = slots.counts_BRK.shape
    bar_BN, whole = slots.bar_BN, tracks * bars * vocab.COUNTS
    key_BN = (slots.track_BN * bars + bar_BN) * vocab.COUNTS + slots.index_BN.clamp(max=vocab.COUNTS - 1)
    slot_BN = torch.arange(bar_BN.shape[1], device=bar_BN.device).expand_as(bar_BN)
    by_key_BQ = torch.full((batch, whole + 1), -1, device=bar_BN.device)
    by_key_BQ.scatter_(1, torch.where(slots.pad_BN, whole, key_BN), slot_BN)  # what is padding goes behind the end
    found = []
    for lag in ECHOES:
        inside_BN = (bar_BN + lag >= 0) & (bar_BN + lag < bars) & (lag < 0 or not past)
        other_BN = by_key_BQ.gather(1, torch.where(inside_BN, key_BN + lag * vocab.COUNTS, 0))
        found.append(torch.where(inside_BN, other_BN, -1))
    return torch.stack(found, -1)


def _of(values_BN: Tensor, slot_BNM: Tensor) -> Tensor:
    """(B, N, M) values of the slots with these numbers; of any slot for -1."""
    return values_BN.gather(1, slot_BNM.clamp(min=0).flatten(1)).view_as(slot_BNM)
