"""Notes drawn one after another, all variants as one batch, from a cache of what was read.

A note is drawn as advance (bars on, or over), position, pitch, duration, velocity. What would be illegal cannot be drawn: a bar behind
the last, an onset before the last one, at the same onset a pitch that is not higher, more notes than a bar holds, a track without any.
So the line ends by itself, and every line is a legal clip. Suffixes as in ``network``; rows X are the B variants or drafts of
them, under guidance followed by B without conditions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from musediff.chords import ANY_CHORD
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots
from musediff.engines.slots.causal import Cache
from musediff.engines.slots.constraints import FORBIDDEN
from musediff.engines.slots.line import ADVANCES, OVER
from musediff.engines.slots.reading import InLine
from musediff.engines.slots.sampler import DENSITY_LOGIT, draw_classes, joined, unconditional

# Classifier-free guidance of pitches by the chord alone, in the head. Beside real notes the network plays chord tones as often as they do
# (within .01), but by its own notes it strays: 120 accompaniments .898 (real .925), 150 melodies .719 (.736); at 1.15 .929, .748, at 1.3
# .952, .774.
CHORD_WEIGHT = 1.15


@dataclass(slots=True)
class Pen:
    """Where each variant is: its track, its bar, the notes in both so far, the last one's classes. ``done``: all tracks are over."""

    track_B: Tensor
    bar_B: Tensor
    in_bar_B: Tensor
    in_track_B: Tensor
    last_BF: Tensor
    done_B: Tensor

    @classmethod
    def at_start(cls, variants: int, track: int) -> "Pen":
        zero_B = torch.zeros(variants, dtype=torch.long)
        start_BF = torch.tensor(vocab.SIZES).repeat(variants, 1)
        return cls(zero_B + track, zero_B, zero_B, zero_B, start_BF, zero_B.bool())


@dataclass(slots=True)
class Limits:
    """What may be drawn. ``allowed``: see ``slots.constraints``; ``positions`` and ``bars``: so many there are."""

    allowed: Sequence[Tensor]
    positions: int
    bars: int
    tracks: int

    def advance(self, pen: Pen) -> Tensor:
        """(B, V) 0 where an advance is allowed, else ``FORBIDDEN``."""
        advance_V = torch.arange(ADVANCES)
        forbidden_BV = pen.bar_B[:, None] + advance_V >= self.bars
        forbidden_BV[:, OVER] = pen.in_track_B == 0
        nothing_higher = (pen.last_BF[:, vocab.POSITION] == self.positions - 1) & self._top(pen)
        forbidden_BV[:, 0] |= (pen.in_bar_B >= vocab.COUNTS - 1) | ((pen.in_bar_B > 0) & nothing_higher)
        return torch.where(forbidden_BV, FORBIDDEN, 0.0)

    def field(self, which: int, pen: Pen, chosen_BF: Tensor) -> Tensor:
        """(B, V) the same of a field, once it is known that the bar of ``pen`` is that of the next note."""
        allowed_BV = self.allowed[which][pen.track_B]
        last_B = pen.last_BF[:, which, None]
        class_V = torch.arange(vocab.SIZES[which])
        same_bar_B = (pen.in_bar_B > 0)[:, None]
        if which == vocab.POSITION:
            before_BV = (class_V < last_B) | ((class_V == last_B) & self._top(pen)[:, None])
            return allowed_BV + torch.where(same_bar_B & before_BV, FORBIDDEN, 0.0)
        if which == vocab.PITCH:
            same_onset_B = same_bar_B & (chosen_BF[:, vocab.POSITION] == pen.last_BF[:, vocab.POSITION])[:, None]
            return allowed_BV + torch.where(same_onset_B & (class_V <= last_B), FORBIDDEN, 0.0)
        return allowed_BV

    @staticmethod
    def _top(pen: Pen) -> Tensor:
        """(B,) whether the last pitch is the highest there is."""
        return pen.last_BF[:, vocab.PITCH] == vocab.SIZES[vocab.PITCH] - 1


@dataclass(slots=True)
class Taste:
    """How it is drawn; see ``base.Request``."""

    temperature: float
    guidance: float
    density: float
    generator: torch.Generator

    def draw(self, logits_XV: Tensor, mask_BV: Tensor, temperature: float) -> Tensor:
        """(B,) classes, at temperature 1 as likely as the network says: a nucleus of .97 and the cooler rhythms of the slots engine make
        these clips repeat themselves (200 melodies: groove .85, real .77, C2ST .89; without .78 and .75).

        With guidance the second half of the rows is without conditions.
        """
        said = logits_XV.float().log_softmax(-1)
        if self.guidance != 1.0:
            conditional, free = said.chunk(2)
            said = free + self.guidance * (conditional - free)
        return draw_classes(said + mask_BV, temperature, self.generator)


class Written(NamedTuple):
    """What one step drew, row by row of the variants; only where ``new_B`` is it a note."""

    new_B: Tensor
    track_B: Tensor
    bar_B: Tensor
    values_BF: Tensor


class Composer:
    """Draws the notes of the tracks from ``first`` on; those before it, which are in the line, are given."""

    def __init__(self, network: InLine, line: Slots, first: int, limits: Limits, taste: Taste) -> None:
        """``line``: one row for each variant, up to the start of the track ``first``."""
        self.network, self.limits, self.taste, self.first = network, limits, taste, first
        self.line = line if taste.guidance == 1.0 else joined(line, unconditional(line))  # so far
        self.written: list[Written] = []
        self.pen = Pen.at_start(len(line.bar_BN), first)
        self.caches = [Cache() for _ in network.blocks]
        self.known = network.known(self.line)
        read = network.begin(self.line, self.known, self.caches)
        self.bar_XRD, self.last_XD = read.bar_BRD, read.line_BMD[:, -1]

    @property
    def progress(self) -> int:
        """Bars that are done in every variant, of all tracks to compose."""
        pen = self.pen
        done_B = torch.where(pen.done_B, self.limits.tracks * self.limits.bars, pen.track_B * self.limits.bars + pen.bar_B)
        return int(done_B.min()) - self.first * self.limits.bars

    @property
    def finished(self) -> bool:
        return bool(self.pen.done_B.all())

    def write(self) -> None:
        """One token more in every variant: a note, or the start of the next track where one is over."""
        pen, taste = self.pen, self.taste
        more_V = torch.zeros(ADVANCES)
        more_V[0] = DENSITY_LOGIT * taste.density
        advance_B = taste.draw(self.network.advance_logits(self.last_XD), self.limits.advance(pen) + more_V, 1.0)
        over_B = advance_B == OVER
        on_B = torch.where(over_B, 0, advance_B)
        moved = replace(pen, bar_B=pen.bar_B + on_B, in_bar_B=torch.where(on_B > 0, 0, pen.in_bar_B))
        values_BF = self._fields(moved, on_B)
        self.written.append(Written(~(over_B | pen.done_B), moved.track_B, moved.bar_B, values_BF))
        self.pen = self._after(moved, values_BF, over_B)
        if not self.finished:
            index_B, ordinal_B = (torch.where(over_B, 0, place_B) for place_B in (moved.in_bar_B, moved.in_track_B))
            self.line = self._with(self.pen, self.pen.last_BF, index_B, ordinal_B)
            self.last_XD = self.network.go_on(self.line, self.known, self.caches)

    def _fields(self, pen: Pen, on_B: Tensor) -> Tensor:
        """(B, F) classes of the next note."""
        rows = len(self.last_XD) // len(on_B)
        masked_BF = torch.tensor(vocab.SIZES).expand_as(pen.last_BF)
        line = self._with(pen, masked_BF, pen.in_bar_B, pen.in_track_B)
        place = self.network.past(line, masked_BF[:, :1].repeat(rows, 1)).row(0)
        bar_XD = self.bar_XRD[torch.arange(len(self.last_XD)), pen.bar_B.repeat(rows)]
        ahead_XD = self.network.ahead(self.last_XD, bar_XD, on_B.repeat(rows), place)
        chosen_BF = torch.zeros_like(pen.last_BF)
        for which in range(len(vocab.FIELDS)):
            logits = self._said(which, ahead_XD, chosen_BF.repeat(rows, 1), place)
            chosen_BF[:, which] = self.taste.draw(logits, self.limits.field(which, pen, chosen_BF), self.taste.temperature)
            if which == vocab.POSITION:
                place = self.network.past(line, chosen_BF[:, :1].repeat(rows, 1)).row(0)
        return chosen_BF

    def _said(self, which: int, ahead_XD: Tensor, chosen_XF: Tensor, place: Place) -> Tensor:
        """(X, V) logits of a field; guided by the chord if it is the pitch."""
        said_XV = self.network.field_logits(which, ahead_XD, chosen_XF, place).float()
        if which != vocab.PITCH:
            return said_XV
        free_XV = self.network.field_logits(which, ahead_XD, chosen_XF, place.without_chord(ANY_CHORD)).float()
        return free_XV + CHORD_WEIGHT * (said_XV - free_XV)

    def _after(self, pen: Pen, values_BF: Tensor, over_B: Tensor) -> Pen:
        """Behind a note, or at the start of the next track."""
        fresh = Pen.at_start(len(over_B), 0)
        track_B = pen.track_B + over_B
        done_B = pen.done_B | (track_B >= self.limits.tracks)
        return Pen(
            track_B.clamp(max=self.limits.tracks - 1),
            torch.where(over_B, 0, pen.bar_B),
            torch.where(over_B, 0, pen.in_bar_B + 1),
            torch.where(over_B, 0, pen.in_track_B + 1),
            torch.where(over_B[:, None], fresh.last_BF, values_BF),
            done_B,
        )

    def _with(self, pen: Pen, values_BF: Tensor, index_B: Tensor, ordinal_B: Tensor) -> Slots:
        """The line with one token more in every row; padding in variants that are done."""
        line, rows = self.line, len(self.line.bar_BN) // len(index_B)
        more = lambda so_far, new: torch.cat((so_far, new.repeat(rows, *[1] * (new.ndim - 1))[:, None]), 1)  # noqa: E731
        return replace(
            line,
            values_BNF=more(line.values_BNF, values_BF),
            bar_BN=more(line.bar_BN, pen.bar_B),
            track_BN=more(line.track_BN, pen.track_B),
            index_BN=more(line.index_BN, index_B),
            ordinal_BN=more(line.ordinal_BN, ordinal_B),
            given_BN=more(line.given_BN, torch.zeros_like(pen.done_B)),
            pad_BN=more(line.pad_BN, pen.done_B),
        )
