"""The slots denoiser: a bidirectional transformer over conditions, bars, counts and note slots, with an in-note head.

Shape suffixes: B batch, R bars, K tracks, N note slots, L tokens of the whole sequence, D width, F fields, V classes.
The sequence is [shared conditions | tracks | bars with their chords | counts (bar x track) | note slots].
No time embedding: the share of masked slots tells the noise level (MDLM, Sahoo et al. 2024).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musediff.chords import INTERVALS, NO_CHORD, NUM_CHORDS
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Place, Slots, place_at
from musediff.engines.slots.neighbours import Neighbours

MOST_SCORES = 4_000_000  # of one head and layer; above, attention takes the fused kernel


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Size of the denoiser; stored beside the weights."""

    width: int = 256
    layers: int = 6
    heads: int = 4
    dropout: float = 0.0
    in_note: bool = True  # False: four parallel heads, for the ablation
    neighbours: bool = False  # each note is told the notes around it; weights made before there was this know nothing of it

    @staticmethod
    def tiny() -> "NetworkConfig":
        return NetworkConfig(width=32, layers=2, heads=2, neighbours=True)


def chord_features() -> Tensor:
    """(NUM_CHORDS, 12) pitch classes of every chord, 1 where sounding."""
    table = torch.zeros(NUM_CHORDS, 12)
    for chord in range(NO_CHORD):
        for step in INTERVALS[chord % 9]:
            table[chord, (chord // 9 + step) % 12] = 1.0
    return table


class Rotary(nn.Module):
    """Rotary position code over three coordinates at once: bar, place in the bar, place in the track.

    Two notes at the same place of bars four apart then always look alike to attention, wherever they are.
    """

    def __init__(self, head_width: int) -> None:
        super().__init__()
        pairs = head_width // 2
        split = (pairs // 3, pairs // 3, pairs - 2 * (pairs // 3))
        table = torch.zeros(3, pairs)
        start = 0
        for axis, (size, longest) in enumerate(zip(split, (64.0, 64.0, 512.0), strict=True)):
            table[axis, start : start + size] = longest ** -(torch.arange(size) / max(1, size - 1))
            start += size
        self.frequency: Tensor
        self.register_buffer("frequency", table, persistent=False)

    def angles(self, coordinates_BL3: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, 1, L, pairs)."""
        angle = (coordinates_BL3.float() @ self.frequency.float()).unsqueeze(1)
        return angle.cos(), angle.sin()


def rotate(x_BHLE: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    a, b = x_BHLE.chunk(2, dim=-1)
    cosine, sine = cosine.to(a.dtype), sine.to(a.dtype)
    return torch.cat((a * cosine - b * sine, a * sine + b * cosine), dim=-1)


def attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, attend_B11L: Tensor | None) -> Tensor:
    """Softmax attention; ``attend_B11L`` None: every token to every other.

    On a CPU plain matrix products are faster than the fused kernel: the backward pass 3-4 times (64 x 110 tokens, 4 heads
    of 64: 11 against 45 ms), a single clip of 150 tokens 1.5 times (.34 against .52 ms). They hold all scores in
    memory, so long clips take the kernel.
    """
    if q_BHLE.device.type == "cpu" and q_BHLE.shape[0] * q_BHLE.shape[2] ** 2 <= MOST_SCORES:
        score = (q_BHLE * q_BHLE.shape[-1] ** -0.5) @ k_BHLE.transpose(-1, -2)
        if attend_B11L is not None:
            score = score.masked_fill(~attend_B11L, -1e4)
        return score.softmax(-1).to(v_BHLE.dtype) @ v_BHLE
    return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=attend_B11L)


class Layers(nn.Module):
    """What a block is made of, pre-norm: attention and feed-forward, each added to the stream. How tokens attend is left to ``Block``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def asked(self, x_BLD: Tensor) -> Tensor:
        """(B, 3 H, L, E) queries, keys and values of all heads."""
        return self.qkv(self.norm_attention(x_BLD)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)

    def added(self, x_BLD: Tensor, mixed_BHLE: Tensor) -> Tensor:
        """The stream behind the block; ``mixed_BHLE``: what the heads found."""
        x_BLD = x_BLD + self._drop(self.out(mixed_BHLE.transpose(1, 2).flatten(2)))
        return x_BLD + self._drop(self.down(F.gelu(self.up(self.norm_mlp(x_BLD)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Block(Layers):
    """Every token attends to every other."""

    def forward(self, x_BLD: Tensor, attend_B11L: Tensor | None, cosine: Tensor, sine: Tensor) -> Tensor:
        qkv = self.asked(x_BLD)
        q, k = rotate(qkv[:, : 2 * self.heads], cosine, sine).chunk(2, 1)
        return self.added(x_BLD, attention(q, k, qkv[:, 2 * self.heads :], attend_B11L))


@dataclass(slots=True)
class Hidden:
    """What the trunk knows of every note slot, and of the number of notes in every bar and track."""

    slot_BND: Tensor
    count_BRKD: Tensor


def head(width: int, size: int) -> nn.Sequential:
    """What is known of a token -> logits of ``size`` classes."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, size))


class Conditioned(nn.Module):
    """What networks over note slots share: embeddings of the conditions, of the bars and of the chords. No parameters but these."""

    chosen: nn.ModuleList  # a table for each field that is chosen before another of the same note; each network's own

    def __init__(self, width: int) -> None:
        super().__init__()
        embed = lambda size: nn.Embedding(size, width)  # noqa: E731
        self.shared = nn.ModuleList(embed(size) for size in vocab.SHARED_SIZES)
        self.part = nn.ModuleList(embed(size) for size in vocab.PART_SIZES)
        self.track, self.bar, self.kind = embed(vocab.MAX_TRACKS), embed(65), embed(5)
        self.chord = embed(NUM_CHORDS)
        self.chord_classes: Tensor
        self.register_buffer("chord_classes", chord_features(), persistent=False)
        self.chord_class = nn.Linear(12, width, bias=False)
        self.bar_chords = nn.Linear(vocab.CHORDS_PER_BAR * 12, width, bias=False)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.1 if isinstance(module, nn.Embedding) else module.in_features**-0.5 * 0.7)
        if isinstance(module, Layers):
            nn.init.zeros_(module.out.weight)
            nn.init.zeros_(module.down.weight)

    def conditions(self, slots: Slots) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the shared conditions (B, 6, D) and of the bars (B, R, D), each with its kind; between them the labels of the
        tracks (B, K, D), without, because the notes get them too."""
        bars, tracks = slots.pad_BR.shape[1], slots.pad_BK.shape[1]
        kind = self.kind.weight
        shared = torch.stack([table(slots.shared_BF[:, i]) for i, table in enumerate(self.shared)], 1) + kind[0]
        part_BKD = sum(table(slots.parts_BKF[..., i]) for i, table in enumerate(self.part)) + self.track.weight[:tracks]
        from_end = torch.clamp((~slots.pad_BR).sum(1, keepdim=True) - torch.arange(bars, device=kind.device), 0, 64)
        chords_BRP = self.chord_classes[slots.chords_BRC].flatten(2).to(kind.dtype)
        bar_BRD = self.bar(from_end) + self.bar_chords(chords_BRP) + self.chord(slots.chords_BRC[..., 0]) + kind[2]
        return shared, part_BKD, bar_BRD

    def sounding(self, chord_X: Tensor) -> Tensor:
        """Embedding (X, D) of chord ids."""
        return self.chord(chord_X) + self.chord_class(self.chord_classes[chord_X].to(self.chord.weight.dtype))

    def within_note(self, field: int, known_XD: Tensor, chosen_XF: Tensor, chord_X: Tensor) -> Tensor:
        """(X, D) what is known before a field is chosen: also the note's fields before it (``chosen_XF``) and its chord.

        The fields go position, pitch, duration, velocity (the sequential sub-decoder of the Nested Music Transformer,
        Ryu et al. 2024).
        """
        known_XD = known_XD + self.sounding(chord_X)
        for earlier in range(field):
            known_XD = known_XD + self.chosen[earlier](chosen_XF[..., earlier])
        return known_XD


class SlotsNetwork(Conditioned):
    """Predicts clean slots from partly masked, partly wrong ones."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config.width)
        self.config = config
        width = config.width
        embed = lambda size: nn.Embedding(size, width)  # noqa: E731
        self.count = embed(vocab.COUNTS + 1)
        self.index, self.left = embed(vocab.COUNTS), embed(vocab.COUNTS)
        self.value = nn.ModuleList(embed(size + 1) for size in vocab.SIZES)
        self.given = embed(2)
        self.neighbours = Neighbours(width) if config.neighbours else None
        self.rotary = Rotary(width // config.heads)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.count_head = nn.Linear(width, vocab.COUNTS)
        self.wrong_head = head(width, len(vocab.FIELDS))
        self.chosen = nn.ModuleList(embed(size + 1) for size in vocab.SIZES[:3])  # of the fields chosen before, for the in-note head
        self.heads = nn.ModuleList(head(width, size) for size in vocab.SIZES)
        self.apply(self._initialise)

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
        count_BRKD = self.count(slots.counts_BRK) + part_BKD[:, None] + bar_BRD[:, :, None] + kind[3]
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
        batch = torch.arange(len(slots.bar_BN), device=slots.bar_BN.device)[:, None]
        count_BN = slots.counts_BRK[batch, slots.bar_BN, slots.track_BN].clamp(1, vocab.COUNTS - 1)
        left_BN = (count_BN - 1 - slots.index_BN).clamp(0, vocab.COUNTS - 1)
        values = sum(table(slots.values_BNF[..., f]) for f, table in enumerate(self.value))
        place = self.index(slots.index_BN.clamp(max=vocab.COUNTS - 1)) + self.left(left_BN)
        around = place_at(slots, slots.values_BNF[..., vocab.POSITION])
        told = values + place + self.sounding(around.chord_X) + part_BKD[batch, slots.track_BN] + self.given(slots.given_BN.long())
        return told if self.neighbours is None else told + self.neighbours.seen(around, slots.values_BNF[..., vocab.PITCH])

    def field_logits(self, field: int, hidden_XD: Tensor, chosen_XF: Tensor, place: Place | None) -> Tensor:
        """Logits (X, V) of one field of any set X of slots. ``place``: what is around the chosen position; the position itself needs
        neither it nor ``chosen_XF``, see ``within_note``."""
        told = field and self.config.in_note
        if told:
            assert place is not None
            hidden_XD = self.within_note(field, hidden_XD, chosen_XF, place.chord_X)
            hidden_XD = hidden_XD if self.neighbours is None else hidden_XD + self.neighbours.chosen(place)
        logits = self.heads[field](hidden_XD)
        if told and place is not None and self.neighbours is not None and field == vocab.PITCH:
            logits = logits + self.neighbours.pitch_logits(hidden_XD, place)
        return logits
