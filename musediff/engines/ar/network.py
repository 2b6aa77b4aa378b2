"""The ar decoder: the next note of a track from the conditions and all notes before it, over the slots of the slots engine.

All of it is ``slots.reading``, so that the two engines differ in the order of generation and not in what they know.
"""

from torch import nn

from musediff.engines.ar.config import ArConfig
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.causal import RelativeBlock
from musediff.engines.slots.conditions import head
from musediff.engines.slots.reading import InLine, Read
from musediff.engines.slots.rotary import Rotary


class ArNetwork(InLine):
    """Reads in line and in no other way."""

    def __init__(self, config: ArConfig) -> None:
        super().__init__(config.width)
        self.config = config
        self.neighbours = None
        width = config.width
        embed = lambda size: nn.Embedding(size, width)  # noqa: E731
        self.index = embed(vocab.COUNTS)
        self.value = nn.ModuleList(embed(size + 1) for size in vocab.SIZES)
        self.rotary = Rotary(width // config.heads)
        self.blocks = nn.ModuleList(RelativeBlock(width, config.heads, config.dropout, config.distances) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, bias=False)
        self.make_in_line(width)
        self.chosen = nn.ModuleList(embed(size + 1) for size in vocab.SIZES[:3])
        self.heads = nn.ModuleList(head(width, size) for size in vocab.SIZES)
        self.apply(self._initialise)

    def forward(self, line: Slots) -> Read:
        """See ``read_line``."""
        return self.read_line(line)
