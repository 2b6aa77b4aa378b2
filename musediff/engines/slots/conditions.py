"""What networks over note slots know of the clip beside its notes. Suffixes as in ``network``."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from musediff.chords import INTERVALS, NO_CHORD, NUM_CHORDS
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.blocks import Layers
from musediff.engines.slots.lookup import Asked, summed, tables_of


def chord_features() -> Tensor:
    """(NUM_CHORDS, 12) pitch classes of every chord, 1 where sounding."""
    table = torch.zeros(NUM_CHORDS, 12)
    for chord in range(NO_CHORD):
        for step in INTERVALS[chord % 9]:
            table[chord, (chord // 9 + step) % 12] = 1.0
    return table


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
        part_BKD = summed([(table, slots.parts_BKF[..., i]) for i, table in enumerate(tables_of(self.part))]) + self.track.weight[:tracks]
        from_end = torch.clamp((~slots.pad_BR).sum(1, keepdim=True) - torch.arange(bars, device=kind.device), 0, 64)
        chords_BRP = self.chord_classes[slots.chords_BRC].flatten(2).to(kind.dtype)
        bar_BRD = summed([(self.bar, from_end), (self.chord, slots.chords_BRC[..., 0])]) + self.bar_chords(chords_BRP) + kind[2]
        return shared, part_BKD, bar_BRD

    def sounding(self, chord_X: Tensor) -> Tensor:
        """Embedding (X, D) of chord ids."""
        return summed([(self.chord, chord_X)]) + self.chord_class(self.chord_classes[chord_X].to(self.chord.weight.dtype))

    def within_note(self, field: int, known_XD: Tensor, chosen_XF: Tensor, chord_X: Tensor, near: Sequence[Asked]) -> Tensor:
        """(X, D) what is known before a field is chosen: also the note's fields before it (``chosen_XF``), its chord and what is ``near``.

        The fields go position, pitch, duration, velocity (the sequential sub-decoder of the Nested Music Transformer,
        Ryu et al. 2024).
        """
        earlier = [(table, chosen_XF[..., f]) for f, table in enumerate(tables_of(self.chosen)[:field])]
        return known_XD + self.sounding(chord_X) + summed([*earlier, *near])
