"""The slots denoiser: a bidirectional transformer over conditions, bars, counts and note slots, with an in-note head.

Shape suffixes: B batch, R bars, K tracks, N note slots, L tokens of the whole sequence, D width, F fields, V classes.
The sequence is [shared conditions | tracks | bars with their chords | counts (bar x track) | note slots].
No time embedding: the share of masked slots tells the noise level (MDLM, Sahoo et al. 2024).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots, place_at
from musediff.engines.slots.blocks import Block
from musediff.engines.slots.causal import RelativeBlock
from musediff.engines.slots.conditions import head
from musediff.engines.slots.critic import Critic
from musediff.engines.slots.lookup import picked, summed, tables_of
from musediff.engines.slots.neighbours import Neighbours
from musediff.engines.slots.reading import InLine
from musediff.engines.slots.rotary import Rotary


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Size of the denoiser; stored beside the weights."""

    width: int = 256
    layers: int = 6
    heads: int = 4
    dropout: float = 0.0
    in_note: bool = True  # False: four parallel heads, for the ablation
    neighbours: bool = False  # each note is told the notes around it; weights made before there was this know nothing of it
    distances: int = 0  # that are told apart in line; 0: lines are not read, and clips are composed in random order
    critic: int = 0  # hidden numbers of the classifier that chooses between drafts; 0: there is none

    @staticmethod
    def tiny() -> "NetworkConfig":
        return NetworkConfig(width=32, layers=2, heads=2, neighbours=True, distances=16)


@dataclass(slots=True)
class Hidden:
    """What the trunk knows of every note slot, and of the number of notes in every bar and track."""

    slot_BND: Tensor
    count_BRKD: Tensor


class SlotsNetwork(InLine):
    """Predicts clean slots from partly masked, partly wrong ones; with ``distances`` also what follows in line, see ``reading``."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.width)
        self.config = config
        self.in_note = config.in_note
        width = config.width
        embed = lambda size: nn.Embedding(size, width)  # noqa: E731
        self.count = embed(vocab.COUNTS + 1)
        self.index, self.left = embed(vocab.COUNTS), embed(vocab.COUNTS)
        self.value = nn.ModuleList(embed(size + 1) for size in vocab.SIZES)
        self.given = embed(2)
        self.neighbours = Neighbours(width) if config.neighbours else None
        self.rotary = Rotary(width // config.heads)
        self.blocks = nn.ModuleList(self._block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.count_head = nn.Linear(width, vocab.COUNTS)
        self.wrong_head = head(width, len(vocab.FIELDS))
        self.chosen = nn.ModuleList(embed(size + 1) for size in vocab.SIZES[:3])  # of the fields chosen before, for the in-note head
        self.heads = nn.ModuleList(head(width, size) for size in vocab.SIZES)
        if config.distances:
            self.make_in_line(width)
        self.critic = Critic(width, config.critic) if config.critic else None
        self.apply(self._initialise)

    @staticmethod
    def _block(config: NetworkConfig) -> Block:
        size = config.width, config.heads, config.dropout
        return RelativeBlock(*size, config.distances) if config.distances else Block(*size)

    def forward(self, slots: Slots) -> Hidden:
        batch, bars, tracks = slots.counts_BRK.shape
        sequence, coordinates, pad = self._embed(slots)
        full = pad.device.type == "cpu" and not bool(pad.any())  # looking would stall a GPU
        attend = None if full else ~pad[:, None, None, :]
        cosine, sine = self.rotary.angles(coordinates)
        for block in self.blocks:
            sequence = block(sequence, attend, cosine, sine)
        sequence = self.norm(sequence)
        notes = slots.values_BNF.shape[1]
        counts_BLD, slot_BND = sequence[:, -notes - bars * tracks : -notes], sequence[:, -notes:]
        return Hidden(slot_BND, counts_BLD.view(batch, bars, tracks, -1))

    def count_logits(self, hidden: Hidden) -> Tensor:
        """Logits (B, R, K, V) of the number of notes."""
        return self.count_head(hidden.count_BRKD)

    def wrong_logits(self, hidden: Hidden) -> Tensor:
        """Logits (B, N, F) that a visible field is wrong."""
        return self.wrong_head(hidden.slot_BND)

    def _embed(self, slots: Slots) -> tuple[Tensor, Tensor, Tensor]:
        """Sequence (B, L, D), rotary coordinates (B, L, 3), padding (B, L)."""
        batch, bars, tracks = slots.counts_BRK.shape
        device = slots.counts_BRK.device
        kind = self.kind.weight
        shared, part_BKD, bar_BRD = self.conditions(slots)
        count_BRKD = summed([(self.count, slots.counts_BRK)]) + part_BKD[:, None] + bar_BRD[:, :, None] + kind[3]
        slot_BND = self._embed_slots(slots, part_BKD) + kind[4]
        sequence = torch.cat((shared, part_BKD + kind[1], bar_BRD, count_BRKD.flatten(1, 2), slot_BND), 1)

        zeros = torch.zeros(batch, shared.shape[1] + tracks, 3, device=device, dtype=torch.long)
        bar_R = torch.arange(bars, device=device)
        bar_code = torch.stack((bar_R, torch.zeros_like(bar_R), torch.zeros_like(bar_R)), -1).expand(batch, -1, -1)
        count_code = bar_code.repeat_interleave(tracks, 1)
        slot_code = torch.stack((slots.bar_BN, slots.index_BN, slots.ordinal_BN), -1)
        coordinates = torch.cat((zeros, bar_code, count_code, slot_code), 1)
        count_pad = (slots.pad_BR[:, :, None] | slots.pad_BK[:, None, :]).flatten(1)
        never = torch.zeros(batch, shared.shape[1], device=device, dtype=torch.bool)
        return sequence, coordinates, torch.cat((never, slots.pad_BK, slots.pad_BR, count_pad, slots.pad_BN), 1)

    def _embed_slots(self, slots: Slots, part_BKD: Tensor) -> Tensor:
        of_bar_BN = slots.bar_BN * slots.counts_BRK.shape[2] + slots.track_BN
        count_BN = slots.counts_BRK.flatten(1).gather(1, of_bar_BN).clamp(1, vocab.COUNTS - 1)
        left_BN = (count_BN - 1 - slots.index_BN).clamp(0, vocab.COUNTS - 1)
        values = [(table, slots.values_BNF[..., f]) for f, table in enumerate(tables_of(self.value))]
        place = [(self.index, slots.index_BN.clamp(max=vocab.COUNTS - 1)), (self.left, left_BN), (self.given, slots.given_BN.long())]
        around = place_at(slots, slots.values_BNF[..., vocab.POSITION])
        near = [] if self.neighbours is None else self.neighbours.seen(around, slots.values_BNF[..., vocab.PITCH])
        return summed([*values, *place, *near]) + self.sounding(around.chord_X) + picked(part_BKD, slots.track_BN)
