"""Training networks that read in line: the next note of each token of the clips."""

import numpy as np
import torch

from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.line import in_line
from musediff.engines.slots.line_losses import PARTS, line_losses
from musediff.engines.slots.lookup import ALIGNED
from musediff.engines.slots.process import drop_conditions
from musediff.engines.slots.reading import InLine
from train.compiled import padded
from train.slot_clips import with_more
from train.tasks import Drawn, Found


def lengths(line: Slots) -> torch.Tensor:
    """(B,) tokens that the network sees, without padding."""
    tokens_B, bars_B, tracks_B = ((~pad).sum(1) for pad in (line.pad_BN, line.pad_BR, line.pad_BK))
    return line.shared_BF.shape[1] + tracks_B + bars_B + tokens_B


def lengthened(slots: Slots) -> Slots:
    """The same with more padded bars and notes: so many tokens of the conditions, and of the line, as a GPU likes."""
    bars, tracks, notes = slots.pad_BR.shape[1], slots.pad_BK.shape[1], slots.pad_BN.shape[1]
    conditions = len(vocab.SHARED) + tracks + bars
    return with_more(slots, padded(tracks + notes) - tracks - notes, -conditions % ALIGNED)  # a track has a start in the line


def lines_of(slots: Slots, _: np.random.Generator, generator: torch.Generator) -> Drawn:
    """For ``tasks.Objective``."""
    drop_conditions(slots, generator)
    line = in_line(slots)
    return Drawn(line, (~slots.pad_BN).sum().expand(len(PARTS)), lengths(line))


def losses(network: InLine, line: Slots, _: torch.Generator | None = None) -> Found:
    """For ``tasks.Objective``: nats a note, by ``PARTS``."""
    sums = line_losses(network, line)
    notes = (~line.pad_BN).sum() - (~line.pad_BK).sum()
    told = (sums.detach() / notes.clamp(min=1)).tolist()
    return Found(sums, dict(zip(PARTS, told, strict=True)))
