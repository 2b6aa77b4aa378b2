"""The network as the samplers want it: noised note parts of a window and a step -> the guess at their clean embeddings.

The prefix goes before the notes and is cut off again, guidance mixes in a second guess that knows no labels, and the last
visits are rounded to legal sequences. Suffixes: B variants, P tokens of the prefix, L of the longest note part, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from musediff.clip import Clip
from musediff.engines.finishing import velocity_limits
from musediff.engines.guidance import guided, ramped
from musediff.engines.muse.canvas import Canvas, forget
from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.process import rounding
from musediff.engines.muse.schedule import Schedule
from musediff.tokens import commu, vocab
from musediff.tokens.grammar import FREE, constrain
from musediff.tokens.vocab import Kind

CLAMPED = 0.25  # share of the visits, the last ones, whose guess is rounded to a legal sequence


def padded(canvases: Sequence[Canvas], name: str, filler: int) -> Tensor:
    """(B, L) one of the rows of every canvas."""
    rows = [torch.from_numpy(getattr(canvas, name)) for canvas in canvases]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filler)


def allowed(clip: Clip, size: int) -> np.ndarray:
    """(V,) 0 where a token may be drawn, -inf for velocities outside the asked limits. The nearest stays if none is inside."""
    low, high = velocity_limits(clip.tracks[0])
    ids = np.flatnonzero(vocab.KIND[:size] == Kind.VELOCITY)
    off = np.maximum(low - vocab.VELOCITY_BINS, 0) + np.maximum(vocab.VELOCITY_BINS - high, 0)
    mask = np.zeros(size)
    mask[ids[off > off.min()]] = -np.inf
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a guess is made of what the network says.

    ``blend``: of a network that was trained to be read (``LossWeights.anchor``), the guess is the mean of the table under
    the probabilities that are read, at this temperature (score interpolation, Dieleman et al. 2022). None: the prediction itself.
    ``clamped``: share of the visits, the last ones, whose guess is rounded to the likeliest legal sequence.
    ``nearest``: every guess is rounded to the nearest tokens instead, as the original does.
    """

    guidance: float = 1.0
    blend: float | None = None
    clamped: float = CLAMPED
    nearest: bool = False


class WindowDenoiser:
    """A denoiser for one window; ``total``: how many visits it will see."""

    def __init__(
        self, network: MuseNetwork, schedule: Schedule, clip: Clip, canvases: Sequence[Canvas], reading: Reading, total: int
    ) -> None:
        size = network.config.vocab_size
        self.network, self.schedule, self.canvases, self.reading = network, schedule, canvases, reading
        self.total, self.visits = total, 0
        said = [clip] if reading.guidance == 1.0 else [clip, forget(clip)]
        self.prefixes = [torch.from_numpy(commu.prefix(one, size=size)) for one in said]
        self.guesses: list[Tensor | None] = [None] * len(said)
        length_B = torch.tensor([canvas.length for canvas in canvases])
        self.layouts = [torch.from_numpy(self._layout(prefix.numpy())) for prefix in self.prefixes] if network.config.layout else []
        self.pad_BL = torch.arange(int(length_B.max())) >= length_B[:, None]
        self.allowed_V = torch.from_numpy(allowed(clip, size)).float()
        self.score_BLV: Tensor | None = None  # log-probabilities of the last visit

    @torch.inference_mode()
    def __call__(self, x_BLD: Tensor, t: int) -> Tensor:
        blend = self.reading.blend
        weight = ramped(self.reading.guidance, self.visits / self.total)
        found_BLD, *free = [self._predict(which, x_BLD, t) for which in range(1 if weight == 1 else len(self.prefixes))]
        if free and blend is None:
            found_BLD = guided(found_BLD, free[0], weight)
        score_BLV = self.network.logits(found_BLD).log_softmax(-1)
        if free and blend is not None:
            free_BLV = self.network.logits(free[0]).log_softmax(-1)
            score_BLV = guided(score_BLV, free_BLV, weight).log_softmax(-1)
        self.score_BLV = score_BLV + self.allowed_V
        self.visits += 1
        if self.visits > (1 - self.reading.clamped) * self.total:
            return self.network.embed(self.tokens())
        if self.reading.nearest:
            return rounding(self.network.table_VD)(found_BLD)
        if blend is None:
            return found_BLD
        return (self.score_BLV / blend).softmax(-1) @ self.network.table_VD

    @torch.inference_mode()
    def read(self, x_BLD: Tensor) -> None:
        """Take ``x_BLD`` for the last guess."""
        self.score_BLV = self.network.logits(x_BLD).log_softmax(-1) + self.allowed_V

    def _predict(self, which: int, x_BLD: Tensor, t: int) -> Tensor:
        """What the network says of the note part behind one of the prefixes."""
        prefix_P = self.prefixes[which]
        given = self.network.embed(prefix_P).expand(len(x_BLD), -1, -1)
        pad = torch.cat((torch.zeros(len(x_BLD), len(prefix_P), dtype=torch.bool), self.pad_BL), 1)
        time_B = self.schedule.time(torch.full((len(x_BLD),), t))
        layout = self.layouts[which] if self.layouts else None
        found = self.network(torch.cat((given, x_BLD), 1), time_B, pad if bool(pad.any()) else None, self.guesses[which], layout)
        if self.network.config.self_conditioning:
            self.guesses[which] = found
        return found[:, len(prefix_P) :]

    def _layout(self, prefix: np.ndarray) -> np.ndarray:
        """(B, P + L, 7) where the tokens behind a prefix stand."""
        rows = [commu.layout(prefix, canvas.ids) for canvas in self.canvases]
        longest = max(map(len, rows))
        return np.stack([np.pad(row, ((0, longest - len(row)), (0, 0))) for row in rows])

    def tokens(self) -> Tensor:
        """(B, L) the likeliest legal tokens of the last visit."""
        tokens_BL = np.full(tuple(self.pad_BL.shape), vocab.PAD)
        for row, canvas in enumerate(self.canvases):
            tokens_BL[row, : canvas.length] = constrain(self._scores(row), canvas.fixed, canvas.bars, canvas.length)
        return torch.from_numpy(tokens_BL)

    def legal_without_help(self) -> list[bool]:
        """Whether each variant's likeliest token everywhere, at the last visit, makes a legal sequence of the asked bars."""
        raw = [np.where(c.fixed == FREE, self._scores(row).argmax(-1), c.fixed) for row, c in enumerate(self.canvases)]
        return [commu.legal(tokens, canvas.bars) for tokens, canvas in zip(raw, self.canvases, strict=True)]

    def _scores(self, row: int) -> np.ndarray:
        """(L, V) log-probabilities of one variant."""
        assert self.score_BLV is not None
        return self.score_BLV[row, : self.canvases[row].length].numpy()
