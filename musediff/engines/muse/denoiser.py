"""The network as the samplers want it: noised note parts of a window and a step -> the guess at their clean embeddings.

The prefix goes before the notes and is cut off again, guidance mixes in a second guess that knows no labels, and the last
visits are rounded to legal sequences. Suffixes: B variants, P tokens of the prefix, L of the longest note part, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from musediff.clip import Clip
from musediff.engines.finishing import velocity_limits
from musediff.engines.muse.canvas import Canvas, forget
from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.schedule import Schedule
from musediff.tokens import commu, vocab
from musediff.tokens.grammar import FREE, constrain
from musediff.tokens.vocab import Kind


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


class WindowDenoiser:
    """A denoiser for one window; it counts its visits."""

    def __init__(
        self, network: MuseNetwork, schedule: Schedule, clip: Clip, canvases: Sequence[Canvas], guidance: float, first_clamped: int
    ) -> None:
        size = network.config.vocab_size
        self.network, self.schedule, self.canvases = network, schedule, canvases
        self.guidance, self.first_clamped, self.visits = guidance, first_clamped, 0
        said = [clip] if guidance == 1.0 else [clip, forget(clip)]
        self.prefixes = [torch.from_numpy(commu.prefix(one, size=size)) for one in said]
        self.guesses: list[Tensor | None] = [None] * len(said)
        length_B = torch.tensor([canvas.length for canvas in canvases])
        self.pad_BL = torch.arange(int(length_B.max())) >= length_B[:, None]
        self.allowed_V = allowed(clip, size)
        self.raw_legal: list[bool] = []  # of the last visit: would each variant have been legal without help?

    @torch.inference_mode()
    def __call__(self, x_BLD: Tensor, t: int) -> Tensor:
        guess_BLD, *free = [self._guess(which, x_BLD, t) for which in range(len(self.prefixes))]
        if free:
            guess_BLD = free[0] + self.guidance * (guess_BLD - free[0])
        if self.visits >= self.first_clamped:
            self.raw_legal = self._legal_without_help(guess_BLD)
            guess_BLD = self.network.embed(self.legal_tokens(guess_BLD))
        self.visits += 1
        return guess_BLD

    def _guess(self, which: int, x_BLD: Tensor, t: int) -> Tensor:
        prefix_P = self.prefixes[which]
        given = self.network.embed(prefix_P).expand(len(x_BLD), -1, -1)
        pad = torch.cat((torch.zeros(len(x_BLD), len(prefix_P), dtype=torch.bool), self.pad_BL), 1)
        time_B = self.schedule.time(torch.full((len(x_BLD),), t))
        found = self.network(torch.cat((given, x_BLD), 1), time_B, pad if bool(pad.any()) else None, self.guesses[which])
        if self.network.config.self_conditioning:
            self.guesses[which] = found
        return found[:, len(prefix_P) :]

    def legal_tokens(self, guess_BLD: Tensor) -> Tensor:
        """(B, L) the likeliest legal tokens of a guess."""
        score_BLV = self._scores(guess_BLD)
        tokens_BL = np.full(score_BLV.shape[:2], vocab.PAD)
        for row, canvas in enumerate(self.canvases):
            score_LV = score_BLV[row, : canvas.length]
            tokens_BL[row, : canvas.length] = constrain(score_LV, canvas.fixed, canvas.bars, canvas.length)
        return torch.from_numpy(tokens_BL)

    def _scores(self, guess_BLD: Tensor) -> np.ndarray:
        """(B, L, V) log-probabilities."""
        return self.network.logits(guess_BLD).double().log_softmax(-1).numpy() + self.allowed_V

    def _legal_without_help(self, guess_BLD: Tensor) -> list[bool]:
        """Whether each variant's likeliest token everywhere makes a legal sequence of the asked bars."""
        score_BLV = self._scores(guess_BLD)
        raw = [np.where(c.fixed == FREE, score_BLV[i, : c.length].argmax(-1), c.fixed) for i, c in enumerate(self.canvases)]
        return [commu.legal(tokens, canvas.bars) for tokens, canvas in zip(raw, self.canvases, strict=True)]
