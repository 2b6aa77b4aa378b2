"""Reading note slots in line: what follows a note, from the conditions and all notes before it.

One pass over clean notes tells of every note what its past says, where a masked batch teaches two notes of five: the same hidden
notes, in one of the orders in which masked diffusion may reveal them (Hoogeboom et al. 2022, https://arxiv.org/abs/2110.02037).
The networks of two engines can read so: ``ar`` can do nothing else, and that of ``slots`` with the same weights that it reads in all
directions with.

Shape suffixes: B batch, R bars, K tracks, P tokens of the conditions, M tokens of the line of notes (see ``line``), L tokens in all,
D width, F fields, V classes. The sequence is [shared conditions | tracks | bars with their chords | line of notes].
Conditions see each other, in both directions; a token of the line sees them and what comes before it in the line.
Attention knows places in two ways: by the rotary code (bar, place in the bar, place in the track), and by the distance in the line,
see ``causal``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots, chords_alone
from musediff.engines.slots.causal import Cache
from musediff.engines.slots.conditions import Conditioned
from musediff.engines.slots.line import ADVANCES, past_of
from musediff.engines.slots.lookup import picked, summed, tables_of
from musediff.engines.slots.neighbours import Neighbours
from musediff.engines.slots.rotary import Rotary


@dataclass(slots=True)
class Known:
    """The conditions as they are embedded, before the blocks."""

    sequence_BPD: Tensor
    part_BKD: Tensor
    bar_BRD: Tensor
    attend_B11P: Tensor  # False: padding

    def rows(self, row_X: Tensor) -> "Known":
        return Known(self.sequence_BPD[row_X], self.part_BKD[row_X], self.bar_BRD[row_X], self.attend_B11P[row_X])


@dataclass(slots=True)
class Read:
    """What the trunk knows after every token of the line, and of every bar."""

    line_BMD: Tensor
    bar_BRD: Tensor
    around: Place  # every token


class InLine(Conditioned):
    """Predicts the note that follows: how many bars on, position, pitch, duration, velocity."""

    index: nn.Embedding  # the rest of what it reads with; each network's own
    value: nn.ModuleList
    rotary: Rotary
    blocks: nn.ModuleList
    norm: nn.LayerNorm
    heads: nn.ModuleList
    neighbours: Neighbours | None  # None: a note is not told which ones are near it
    in_note = True  # False: no field is told those before it

    @property
    def device(self) -> torch.device:
        """Where it is, and so where work for it is to be."""
        return self.norm.weight.device

    def make_in_line(self, width: int) -> None:
        """The modules that nothing else needs."""
        self.advance_head = nn.Linear(width, ADVANCES)
        self.advance = nn.Embedding(ADVANCES, width)
        self.next_bar = nn.Linear(width, width, bias=False)

    def read_line(self, line: Slots) -> Read:
        """The whole line at once. Padding is at the end of the line, where nothing real looks."""
        return self.begin(line, self.known(line))

    def begin(self, line: Slots, known: Known, caches: list[Cache] | None = None) -> Read:
        """As ``read_line``; fills the caches, one for each layer, for ``go_on``."""
        around = self.past(line, line.values_BNF[..., vocab.POSITION])
        sequence = torch.cat((known.sequence_BPD, self._embed_line(line, known, around)), 1)
        coordinates = torch.cat((self._places_of_conditions(line), _places(line)), 1)
        read = self._through(sequence, coordinates, known, caches)
        bars, conditions = known.bar_BRD.shape[1], known.sequence_BPD.shape[1]
        return Read(read[:, conditions:], read[:, conditions - bars : conditions], around)

    def go_on(self, line: Slots, around: Place, known: Known, caches: list[Cache]) -> Tensor:
        """(B, D) what is known after a line whose last token is new. ``around`` (B, 1): what is around that token, see ``past``."""
        x_B1D, places = self._embed_line(line, known, around), _places(line)[:, -1:]
        return self._through(x_B1D, places, known, caches)[:, 0]

    def known(self, line: Slots) -> Known:
        """The conditions of a batch."""
        shared, part_BKD, bar_BRD = self.conditions(line)
        sequence = torch.cat((shared, part_BKD + self.kind.weight[1], bar_BRD), 1)
        never = torch.zeros(shared.shape[:2], device=shared.device, dtype=torch.bool)
        return Known(sequence, part_BKD, bar_BRD, ~torch.cat((never, line.pad_BK, line.pad_BR), 1)[:, None, None])

    def _through(self, x_BLD: Tensor, coordinates_BL3: Tensor, known: Known, caches: list[Cache] | None) -> Tensor:
        cosine, sine = self.rotary.angles(coordinates_BL3)
        for i, block in enumerate(self.blocks):
            x_BLD = block(x_BLD, known.attend_B11P, cosine, sine, True, None if caches is None else caches[i])
        return self.norm(x_BLD)

    def _embed_line(self, line: Slots, known: Known, around: Place) -> Tensor:
        """(B, Y, D) the last Y tokens; ``around``: what is around these."""
        last = around.chord_X.shape[1]
        values_BYF, index_BY, bar_BY, track_BY = (
            x[:, x.shape[1] - last :] for x in (line.values_BNF, line.index_BN, line.bar_BN, line.track_BN)
        )
        values = [(table, values_BYF[..., f]) for f, table in enumerate(tables_of(self.value))]
        near = [] if self.neighbours is None else self.neighbours.seen(around, values_BYF[..., vocab.PITCH])
        frame = picked(known.bar_BRD, bar_BY) + picked(known.part_BKD, track_BY) + self.kind.weight[4]
        return summed([*values, (self.index, index_BY), *near]) + frame + self.sounding(around.chord_X)

    def _places_of_conditions(self, line: Slots) -> Tensor:
        """Rotary coordinates (B, P, 3): of the bars alone."""
        batch, bars = line.pad_BR.shape
        places = line.bar_BN.new_zeros(batch, len(vocab.SHARED) + line.pad_BK.shape[1] + bars, 3)
        places[:, -bars:, 0] = torch.arange(bars, device=places.device)
        return places

    def past(self, line: Slots, position_BY: Tensor) -> Place:
        """See ``line.past_of``; the chords alone for a network that is told no more."""
        return chords_alone(line, position_BY) if self.neighbours is None else past_of(line, position_BY)

    def advance_logits(self, line_XD: Tensor) -> Tensor:
        """Logits (X, V) of how many bars on the next note is, or ``line.OVER``."""
        return self.advance_head(line_XD)

    def ahead(self, line_XD: Tensor, bar_XD: Tensor, advance_X: Tensor, place: Place) -> Tensor:
        """(X, D) what is known of the next note once it is decided in which bar it is. Of its ``place`` only the echoes are looked at."""
        known_XD = line_XD + self.next_bar(bar_XD) + self.advance(advance_X)
        return known_XD if self.neighbours is None else known_XD + summed(self.neighbours.rhythm(place))

    def field_logits(self, field: int, known_XD: Tensor, chosen_XF: Tensor, place: Place | None) -> Tensor:
        """Logits (X, V) of one field of any set X of notes. ``place``: what is around the chosen position; the position itself needs
        neither it nor ``chosen_XF``, see ``within_note``."""
        told = field and self.in_note
        if told:
            assert place is not None
            near = [] if self.neighbours is None else self.neighbours.chosen(place)
            known_XD = self.within_note(field, known_XD, chosen_XF, place.chord_X, near)
        logits = self.heads[field](known_XD)
        if told and place is not None and self.neighbours is not None and field == vocab.PITCH:
            logits = logits + self.neighbours.pitch_logits(known_XD, place)
        return logits


def _places(line: Slots) -> Tensor:
    return torch.stack((line.bar_BN, line.index_BN, line.ordinal_BN), -1)
