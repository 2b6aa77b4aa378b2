"""Notes drawn one after another, all variants as one batch, from a cache of what was read.

A note is drawn as advance (bars on, or over), position, pitch, duration, velocity. What would be illegal cannot be drawn: a bar behind
the last, an onset before the last one, at the same onset a pitch that is not higher, more notes than a bar holds, a track without any.
So the line ends by itself, and every line is a legal clip. Rows that are done are put aside: the others go on without them. Suffixes as
in ``network``; rows X are the B variants or drafts of them, under guidance followed by B without conditions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from musediff.chords import ANY_CHORD
from musediff.engines.guidance import guided
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots, masked
from musediff.engines.slots.causal import Cache
from musediff.engines.slots.constraints import FORBIDDEN
from musediff.engines.slots.line import ADVANCES, OVER, lengthened
from musediff.engines.slots.reading import InLine
from musediff.engines.slots.sampler import DENSITY_LOGIT, draw_classes, joined, unconditional

# Classifier-free guidance of pitches by the chord alone, in the head. Beside real notes the network plays chord tones as often as they do
# (within .01), but by its own notes it strays: 120 accompaniments .898 (real .925), 150 melodies .719 (.736); at 1.15 .929, .748, at 1.3
# .952, .774.
CHORD_WEIGHT = 1.15
# At temperature 1, of pitches alone. The best of four drafts: C2ST of 250 accompaniments .691 -> .641, of 250 melodies .647 -> .637, their
# overlapped areas .003 lower; without drafts melodies do not gain. Rhythms at .95 too made ar repeat itself (groove .81, real .77).
PITCH_TEMPERATURE = 0.95
WAITING = 1 / 8  # share of rows that are done and still read along; to put them aside costs about as much as a few notes


@dataclass(slots=True)
class Pen:
    """Where each variant is: its track, its bar, the notes in both so far, the last one's classes; hidden ones at the start of a
    track. ``done``: all tracks are over."""

    track_B: Tensor
    bar_B: Tensor
    in_bar_B: Tensor
    in_track_B: Tensor
    last_BF: Tensor
    done_B: Tensor

    @classmethod
    def at_start(cls, variants: int, track: int, device: torch.device) -> "Pen":
        zero_B = torch.zeros(variants, dtype=torch.long, device=device)
        return cls(zero_B + track, zero_B, zero_B, zero_B, masked(device).expand(variants, -1), zero_B.bool())

    def moved(self, over_B: Tensor, on_B: Tensor, tracks: int) -> "Pen":
        """To the bar of the next note; where a track is over, to the start of the next one, or, behind the last, done."""
        track_B = self.track_B + over_B
        return Pen(
            track_B.clamp(max=tracks - 1),
            torch.where(over_B, 0, self.bar_B + on_B),
            torch.where(over_B | (on_B > 0), 0, self.in_bar_B),
            torch.where(over_B, 0, self.in_track_B),
            torch.where(over_B[:, None], masked(over_B.device), self.last_BF),
            self.done_B | (track_B >= tracks),
        )

    def behind(self, note_B: Tensor, values_BF: Tensor) -> "Pen":
        """Where there is a note now, behind it."""
        last_BF = torch.where(note_B[:, None], values_BF, self.last_BF)
        return replace(self, in_bar_B=self.in_bar_B + note_B, in_track_B=self.in_track_B + note_B, last_BF=last_BF)

    def rows(self, row_X: Tensor) -> "Pen":
        return Pen(*(getattr(self, f.name)[row_X] for f in fields(self)))


@dataclass(slots=True)
class Limits:
    """What may be drawn. ``allowed``: see ``slots.constraints``; ``positions`` and ``bars``: so many there are."""

    allowed: Sequence[Tensor]
    positions: int
    bars: int
    tracks: int

    def advance(self, pen: Pen) -> Tensor:
        """(B, V) 0 where an advance is allowed, else ``FORBIDDEN``."""
        advance_V = torch.arange(ADVANCES, device=pen.bar_B.device)
        forbidden_BV = pen.bar_B[:, None] + advance_V >= self.bars
        forbidden_BV[:, OVER] = pen.in_track_B == 0
        nothing_higher = (pen.last_BF[:, vocab.POSITION] == self.positions - 1) & self._top(pen)
        forbidden_BV[:, 0] |= (pen.in_bar_B >= vocab.COUNTS - 1) | ((pen.in_bar_B > 0) & nothing_higher)
        return torch.where(forbidden_BV, FORBIDDEN, 0.0)

    def field(self, which: int, pen: Pen, chosen_BF: Tensor) -> Tensor:
        """(B, V) the same of a field, once it is known that the bar of ``pen`` is that of the next note."""
        allowed_BV = self.allowed[which][pen.track_B]
        last_B = pen.last_BF[:, which, None]
        class_V = torch.arange(vocab.SIZES[which], device=last_B.device)
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
            said = guided(*said.chunk(2), self.guidance)
        return draw_classes(said + mask_BV, temperature, self.generator)


class Composer:
    """Draws the notes of the tracks from ``first`` on; those before it, which are in the line, are given."""

    def __init__(self, network: InLine, line: Slots, first: int, limits: Limits, taste: Taste) -> None:
        """``line``: one row for each variant, up to the start of the track ``first``."""
        self.network, self.limits, self.taste, self.first = network, limits, taste, first
        self.line = line if taste.guidance == 1.0 else joined(line, unconditional(line))  # so far, of the rows that go on
        self.row_B = torch.arange(len(line.bar_BN), device=line.bar_BN.device)  # which rows these are
        self.done = 0  # so many of them are
        self.aside: list[tuple[Tensor, Slots]] = []  # which rows, as in ``row_B``, and their lines
        self.pen = Pen.at_start(len(line.bar_BN), first, line.bar_BN.device)
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
    def all_lines(self) -> Slots:
        """All rows as far as they are written, in their order, without those that have no conditions."""
        parts = [*self.aside, (self.row_B, self.line.rows(slice(len(self.row_B))))]
        order = torch.cat([row_X for row_X, _ in parts]).argsort()
        return joined(*(lengthened(line, self.line.pad_BN.shape[1]) for _, line in parts)).rows(order)

    @property
    def finished(self) -> bool:
        return self.done == len(self.row_B)

    def write(self) -> None:
        """One token more in every row that goes on: a note, or the start of the next track where one is over."""
        if self.done and self.done >= len(self.row_B) * WAITING:
            self._put_aside()
        taste = self.taste
        more_V = torch.zeros(ADVANCES, device=self.last_XD.device)
        more_V[0] = DENSITY_LOGIT * taste.density
        advance_B = taste.draw(self.network.advance_logits(self.last_XD), self.limits.advance(self.pen) + more_V, 1.0)
        over_B = advance_B == OVER
        on_B = torch.where(over_B, 0, advance_B)
        self.pen = pen = self.pen.moved(over_B, on_B, self.limits.tracks)
        self.done = int(pen.done_B.sum())
        if self.finished:
            return
        self.line = self._with_one_more(pen)
        values_BF, place = self._fields(pen, on_B, over_B)
        self.line.values_BNF[:, -1] = self._for_all_rows(values_BF)
        self.pen = pen.behind(~over_B, values_BF)
        self.last_XD = self.network.go_on(self.line, place, self.known, self.caches)

    def _put_aside(self) -> None:
        """Go on without the rows that are done."""
        going_X, done_X = ((self.pen.done_B == done).nonzero()[:, 0] for done in (False, True))
        self.aside.append((self.row_B[done_X], self.line.rows(done_X)))
        row_X = going_X if self.taste.guidance == 1.0 else torch.cat((going_X, going_X + len(self.row_B)))
        self.row_B, self.pen, self.done = self.row_B[going_X], self.pen.rows(going_X), 0
        self.line, self.known = self.line.rows(row_X), self.known.rows(row_X)
        self.bar_XRD, self.last_XD = self.bar_XRD[row_X], self.last_XD[row_X]
        for cache in self.caches:
            cache.keep(row_X)

    def _fields(self, pen: Pen, on_B: Tensor, over_B: Tensor) -> tuple[Tensor, Place]:
        """(B, F) classes of the last token of the line, which is hidden as yet, and what is around it. Starts of tracks stay hidden."""
        hidden_BF = masked(over_B.device).expand_as(pen.last_BF)
        place = self._around(hidden_BF)
        bar_XD = self.bar_XRD[torch.arange(len(self.last_XD), device=over_B.device), self._for_all_rows(pen.bar_B)]
        ahead_XD = self.network.ahead(self.last_XD, bar_XD, self._for_all_rows(on_B), place.row(0))
        chosen_BF = torch.zeros_like(pen.last_BF)
        for which in range(len(vocab.FIELDS)):
            logits = self._said(which, ahead_XD, self._for_all_rows(chosen_BF), place.row(0))
            temperature = self.taste.temperature * (PITCH_TEMPERATURE if which == vocab.PITCH else 1)
            chosen_BF[:, which] = self.taste.draw(logits, self.limits.field(which, pen, chosen_BF), temperature)
            if which == vocab.POSITION:
                place = self._around(torch.where(over_B[:, None], hidden_BF, chosen_BF))
        return torch.where(over_B[:, None], hidden_BF, chosen_BF), place

    def _around(self, values_BF: Tensor) -> Place:
        """Of the last token (X, 1), if it begins there."""
        return self.network.past(self.line, self._for_all_rows(values_BF[:, vocab.POSITION, None]))

    def _said(self, which: int, ahead_XD: Tensor, chosen_XF: Tensor, place: Place) -> Tensor:
        """(X, V) logits of a field; guided by the chord if it is the pitch."""
        if which != vocab.PITCH:
            return self.network.field_logits(which, ahead_XD, chosen_XF, place).float()
        both = place.joined(place.without_chord(ANY_CHORD))
        said_XV, free_XV = self.network.field_logits(which, ahead_XD.repeat(2, 1), chosen_XF.repeat(2, 1), both).float().chunk(2)
        return guided(said_XV, free_XV, CHORD_WEIGHT)

    def _with_one_more(self, pen: Pen) -> Slots:
        """The line with one hidden token more in every row; padding in variants that are done."""
        new = {
            "values_BNF": masked(pen.bar_B.device).expand_as(pen.last_BF), "bar_BN": pen.bar_B, "track_BN": pen.track_B,
            "index_BN": pen.in_bar_B, "ordinal_BN": pen.in_track_B, "given_BN": torch.zeros_like(pen.done_B), "pad_BN": pen.done_B,
        }  # fmt: skip
        more = {name: torch.cat((getattr(self.line, name), self._for_all_rows(x)[:, None]), 1) for name, x in new.items()}
        return replace(self.line, **more)

    def _for_all_rows(self, x_B: Tensor) -> Tensor:
        """(X, …) what holds for the variants, for the rows without conditions too."""
        return x_B if self.taste.guidance == 1.0 else x_B.repeat(2, *[1] * (x_B.ndim - 1))
