"""Networks and lines for the tests of the ar engine."""

import numpy as np
import torch
from torch import nn

from musediff.engines.ar.config import ArConfig
from musediff.engines.ar.engine import ArEngine
from musediff.engines.ar.network import ArNetwork
from musediff.engines.slots import layout
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.engine import SlotsEngine
from musediff.engines.slots.line import MOST_ADVANCE, OVER, in_line
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.engines.slots.reading import InLine
from tests.slots.conftest import make_clip


def cut(line: Slots, first: int, last: int) -> Slots:
    return line.of_notes(lambda x_BM: x_BM[:, first:last].clone())


def stirred(network: nn.Module, seed: int = 0) -> None:
    """Fresh networks leave out their blocks and distances: give all weights something to do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.15)


def network(seed: int = 0) -> ArNetwork:
    torch.manual_seed(seed)
    made = ArNetwork(ArConfig.tiny()).eval().requires_grad_(False)
    stirred(made, seed)
    return made


def two_way_network(seed: int = 0) -> SlotsNetwork:
    torch.manual_seed(seed)
    made = SlotsNetwork(NetworkConfig.tiny()).eval().requires_grad_(False)
    stirred(made, seed)
    return made


def engine(seed: int = 0) -> ArEngine:
    """Random weights that rarely skip bars, so that clips have notes in most."""
    made = network(seed)
    rarely_skip(made)
    return ArEngine(made)


def two_way_engine(seed: int = 0) -> SlotsEngine:
    """The same of the slots engine."""
    made = two_way_network(seed)
    rarely_skip(made)
    return SlotsEngine(made)


def rarely_skip(made: InLine) -> None:
    likely = torch.full((MOST_ADVANCE + 1,), -8.0)
    likely[:2], likely[OVER] = torch.tensor([4.0, 3.0]), -4.0
    made.advance_head.bias += likely


def slots_of(seed: int, tracks: int = 1, variants: int = 2, bars: int = 4, per_bar: int = 5) -> Slots:
    """The same clip in every row."""
    clip = make_clip(seed, tracks=tracks, bars=bars, per_bar=per_bar)
    row = layout.start_row(layout.encode_clip(clip), np.zeros((bars, tracks), bool), np.zeros(4, bool))
    return layout.batch([row] * variants, clip)[0]


def line_of(seed: int, tracks: int = 1, variants: int = 2, bars: int = 4, per_bar: int = 5) -> Slots:
    return in_line(slots_of(seed, tracks, variants, bars, per_bar))
