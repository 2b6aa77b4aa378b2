"""The ar decoder: the next note of a track from the conditions and all notes before it, over the slots of the slots engine.

Shape suffixes: B batch, R bars, K tracks, P tokens of the conditions, M tokens of the line of notes (see ``line``), L tokens in all,
D width, F fields, V classes. The sequence is [shared conditions | tracks | bars with their chords | line of notes].
Conditions see each other, in both directions; a token of the line sees them and what comes before it in the line.
Attention knows places in two ways: by the rotary code of the slots network (bar, place in the bar, place in the track), so that
the two engines differ in the order of generation and not in what they know, and by the distance in the line, see ``attention``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musediff.engines.ar.attention import Cache, RelativeBlock
from musediff.engines.ar.config import ArConfig
from musediff.engines.ar.line import ADVANCES
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, chord_at
from musediff.engines.slots.network import Conditioned, Rotary, head


@dataclass(slots=True)
class Known:
    """The conditions as they are embedded, before the blocks."""

    sequence_BPD: Tensor
    part_BKD: Tensor
    bar_BRD: Tensor
    attend_B11P: Tensor  # False: padding


@dataclass(slots=True)
class Read:
    """What the trunk knows after every token of the line, and of every bar."""

    line_BMD: Tensor
    bar_BRD: Tensor


class ArNetwork(Conditioned):
    """Predicts the note that follows: how many bars on, position, pitch, duration, velocity."""

    def __init__(self, config: ArConfig) -> None:
        super().__init__(config.width)
        self.config = config
        width = config.width
        embed = lambda size: nn.Embedding(size, width)  # noqa: E731
        self.index = embed(vocab.COUNTS)
        self.value = nn.ModuleList(embed(size + 1) for size in vocab.SIZES)
        self.rotary = Rotary(width // config.heads)
        self.blocks = nn.ModuleList(RelativeBlock(width, config.heads, config.dropout, config.distances) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.advance_head = nn.Linear(width, ADVANCES)
        self.advance = embed(ADVANCES)
        self.next_bar = nn.Linear(width, width, bias=False)
        self.chosen = nn.ModuleList(embed(size + 1) for size in vocab.SIZES[:3])
        self.heads = nn.ModuleList(head(width, size) for size in vocab.SIZES)
        self.apply(self._initialise)

    def forward(self, line: Slots) -> Read:
        """The whole line at once. Padding is at the end of the line, where nothing real looks."""
        return self.begin(line, self.known(line))

    def begin(self, line: Slots, known: Known, caches: list[Cache] | None = None) -> Read:
        """As ``forward``; fills the caches, one for each layer, for ``go_on``."""
        sequence = torch.cat((known.sequence_BPD, self._embed_line(line, known)), 1)
        coordinates = torch.cat((self._places_of_conditions(line), _places(line)), 1)
        read = self._through(sequence, coordinates, known, caches)
        bars, conditions = known.bar_BRD.shape[1], known.sequence_BPD.shape[1]
        return Read(read[:, conditions:], read[:, conditions - bars : conditions])

    def go_on(self, new: Slots, known: Known, caches: list[Cache]) -> Tensor:
        """(B, M, D) what is known after new tokens of the line."""
        return self._through(self._embed_line(new, known), _places(new), known, caches)

    def known(self, line: Slots) -> Known:
        """The conditions of a batch."""
        shared, part_BKD, bar_BRD = self.conditions(line)
        sequence = torch.cat((shared, part_BKD + self.kind.weight[1], bar_BRD), 1)
        never = torch.zeros(shared.shape[:2], device=shared.device, dtype=torch.bool)
        return Known(sequence, part_BKD, bar_BRD, ~torch.cat((never, line.pad_BK, line.pad_BR), 1)[:, None, None])

    def _through(self, x_BLD: Tensor, coordinates_BL3: Tensor, known: Known, caches: list[Cache] | None) -> Tensor:
        cosine, sine = self.rotary.angles(coordinates_BL3)
        for i, block in enumerate(self.blocks):
            kept = () if caches is None else (caches[i],)
            x_BLD = block(x_BLD, known.attend_B11P, cosine, sine, *kept)
        return self.norm(x_BLD)

    def _embed_line(self, line: Slots, known: Known) -> Tensor:
        batch = torch.arange(len(line.bar_BN), device=line.bar_BN.device)[:, None]
        values = sum(table(line.values_BNF[..., f]) for f, table in enumerate(self.value))
        place = self.index(line.index_BN) + known.bar_BRD[batch, line.bar_BN] + known.part_BKD[batch, line.track_BN]
        return values + place + self.sounding(chord_at(line, line.values_BNF[..., vocab.POSITION])) + self.kind.weight[4]

    def _places_of_conditions(self, line: Slots) -> Tensor:
        """Rotary coordinates (B, P, 3): of the bars alone."""
        batch, bars = line.pad_BR.shape
        places = line.bar_BN.new_zeros(batch, len(vocab.SHARED) + line.pad_BK.shape[1] + bars, 3)
        places[:, -bars:, 0] = torch.arange(bars, device=places.device)
        return places

    def advance_logits(self, line_XD: Tensor) -> Tensor:
        """Logits (X, V) of how many bars on the next note is, or ``line.OVER``."""
        return self.advance_head(line_XD)

    def ahead(self, line_XD: Tensor, bar_XD: Tensor, advance_X: Tensor) -> Tensor:
        """(X, D) what is known once it is decided in which bar the next note is."""
        return line_XD + self.next_bar(bar_XD) + self.advance(advance_X)

    def field_logits(self, field: int, ahead_XD: Tensor, chosen_XF: Tensor, chord_X: Tensor) -> Tensor:
        """Logits (X, V) of one field of the next note; each sees those before it and the chord that sounds at the position."""
        return self.heads[field](self.within_note(field, ahead_XD, chosen_XF, chord_X) if field else ahead_XD)


def _places(line: Slots) -> Tensor:
    return torch.stack((line.bar_BN, line.index_BN, line.ordinal_BN), -1)
