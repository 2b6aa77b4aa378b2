"""Attention of notes over the conditions and the notes before them, by content and by how far back a note lies.

Relative attention as in the Music Transformer (Huang et al. 2018, https://arxiv.org/abs/1809.04281): every head has learned
vectors for the distances between two tokens; what a query makes of them is moved into place ("skewed") instead of being gathered
for each pair. Suffixes: B batch, H heads, P tokens of the conditions, M tokens of notes so far, Q of them new, L = P + M tokens in all
(into a block go P + M, or Q), E width of a head, T distances that are told apart.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musediff.engines.slots.blocks import Block, attention
from musediff.engines.slots.rotary import rotate

HIDDEN = -1e4


def skewed(products_BHQM: Tensor) -> Tensor:
    """Products with the vectors of distances, the nearest last -> for each pair of tokens.

    (..., i, j) of the result is that of query i, which is the token M - Q + i, with the distance to token j. Where token j comes after
    the query there is anything.
    """
    queries, tokens = products_BHQM.shape[-2:]
    return F.pad(products_BHQM, (1, 0)).flatten(-2)[..., queries:].unflatten(-1, (queries, tokens))


def nearest(distance_HTE: Tensor, tokens: int) -> Tensor:
    """(H, tokens, E) vectors of the distances tokens - 1 … 0. The farthest that is told apart stands for all beyond."""
    most = distance_HTE.shape[1]
    if tokens <= most:
        return distance_HTE[:, most - tokens :]
    return torch.cat((distance_HTE[:, :1].expand(-1, tokens - most, -1), distance_HTE), 1)


def relative_attention(
    bare_BHQE: Tensor, q_BHQE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, distance_HTE: Tensor, attend_B11P: Tensor
) -> Tensor:
    """What the last Q tokens of notes mix from all keys (conditions, then notes), each from itself and what comes before it.

    ``bare_BHQE``: the queries before they were turned by their place, for the distances.
    """
    conditions, new = attend_B11P.shape[-1], q_BHQE.shape[2]
    tokens = k_BHLE.shape[2] - conditions
    scale = q_BHQE.shape[-1] ** -0.5
    distance = skewed((bare_BHQE * scale) @ nearest(distance_HTE, tokens).transpose(-1, -2).to(bare_BHQE.dtype))
    later_QM = torch.ones(new, tokens, dtype=torch.bool, device=q_BHQE.device).triu(tokens - new + 1)
    score = (q_BHQE * scale) @ k_BHLE.transpose(-1, -2)
    of_conditions = score[..., :conditions].masked_fill(~attend_B11P, HIDDEN)
    of_notes = (score[..., conditions:] + distance).masked_fill(later_QM, HIDDEN)
    return torch.cat((of_conditions, of_notes), -1).softmax(-1).to(v_BHLE.dtype) @ v_BHLE


class Cache:
    """Keys and values that one layer has seen. Room doubles when it runs out."""

    def __init__(self) -> None:
        self.held: Tensor | None = None  # (2, B, H, room, E)
        self.used = 0

    def with_new(self, k_BHQE: Tensor, v_BHQE: Tensor) -> tuple[Tensor, Tensor]:
        """Keep them; returns all so far."""
        new = torch.stack((k_BHQE, v_BHQE))
        if self.held is None:
            self.held = new.new_empty(*new.shape[:3], 0, new.shape[-1])
        end = self.used + new.shape[3]
        if end > self.held.shape[3]:
            grown = new.new_empty(*new.shape[:3], 2 * end, new.shape[-1])
            grown[:, :, :, : self.used] = self.held[:, :, :, : self.used]
            self.held = grown
        self.held[:, :, :, self.used : end] = new
        self.used = end
        return self.held[0, :, :, :end], self.held[1, :, :, :end]


class RelativeBlock(Block):
    """Reads in both ways: every token attends to every other; or, in line, conditions to each other and notes to the conditions and to
    what comes before them."""

    def __init__(self, width: int, heads: int, dropout: float, distances: int) -> None:
        super().__init__(width, heads, dropout)
        self.distance_HTE = nn.Parameter(torch.zeros(heads, distances, width // heads))

    def forward(
        self, x_BLD: Tensor, attend_B11L: Tensor | None, cosine: Tensor, sine: Tensor, in_line: bool = False, cache: Cache | None = None
    ) -> Tensor:
        """``attend_B11L`` tells what is no padding; in line of the conditions alone.

        ``x_BLD`` in line: conditions and notes; or, where the ``cache`` has them already, new notes alone.
        """
        if not in_line:
            return super().forward(x_BLD, attend_B11L, cosine, sine)
        assert attend_B11L is not None
        qkv = self.asked(x_BLD)
        q, k = rotate(qkv[:, : 2 * self.heads], cosine, sine).chunk(2, 1)
        bare, v = qkv[:, : self.heads], qkv[:, 2 * self.heads :]
        first = 0 if cache is not None and cache.used else attend_B11L.shape[-1]  # of the notes
        mixed = []
        if first:
            mixed.append(attention(q[:, :, :first], k[:, :, :first], v[:, :, :first], attend_B11L))
        if cache is not None:
            k, v = cache.with_new(k, v)
        mixed.append(relative_attention(bare[:, :, first:], q[:, :, first:], k, v, self.distance_HTE, attend_B11L))
        return self.added(x_BLD, torch.cat(mixed, 2))
