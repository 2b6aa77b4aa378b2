"""Attention of notes over the conditions and the notes before them, by content and by how far back a note lies.

Relative attention as in the Music Transformer (Huang et al. 2018, https://arxiv.org/abs/1809.04281): every head has learned
vectors for the distances between two tokens; what a query makes of them is moved into place ("skewed") instead of being gathered
for each pair. Suffixes: B batch, H heads, P tokens of the conditions, M tokens of notes, L = P + M tokens in all, E width of a head,
T distances that are told apart.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from musediff.engines.slots.blocks import Block, attention
from musediff.engines.slots.lookup import on_cpu

HIDDEN = -1e4


def skewed(products_BHMM: Tensor) -> Tensor:
    """Products with the vectors of distances, the nearest last -> for each pair of tokens.

    (..., i, j) of the result is that of token i with the distance to token j. Where token j comes after it there is anything.
    """
    tokens = products_BHMM.shape[-1]
    return F.pad(products_BHMM, (1, 0)).flatten(-2)[..., tokens:].unflatten(-1, (tokens, tokens))


def nearest(distance_HTE: Tensor, tokens: int) -> Tensor:
    """(H, tokens, E) vectors of the distances tokens - 1 … 0. The farthest that is told apart stands for all beyond."""
    most = distance_HTE.shape[1]
    if tokens <= most:
        return distance_HTE[:, most - tokens :]
    return torch.cat((distance_HTE[:, :1].expand(-1, tokens - most, -1), distance_HTE), 1)


def relative_attention(
    bare_BHME: Tensor, q_BHME: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, distance_HTE: Tensor, attend_B11P: Tensor
) -> Tensor:
    """What the tokens of notes mix from all keys (conditions, then notes), each from itself and what comes before it.

    ``bare_BHME``: the queries before they were turned by their place, for the distances.
    """
    conditions, tokens = attend_B11P.shape[-1], q_BHME.shape[2]
    scale = q_BHME.shape[-1] ** -0.5
    distance = skewed((bare_BHME * scale) @ nearest(distance_HTE, tokens).transpose(-1, -2).to(bare_BHME.dtype))
    later_MM = torch.ones(tokens, tokens, dtype=torch.bool, device=q_BHME.device).triu(1)
    score = (q_BHME * scale) @ k_BHLE.transpose(-1, -2)
    of_conditions = score[..., :conditions].masked_fill(~attend_B11P, HIDDEN)
    of_notes = (score[..., conditions:] + distance).masked_fill(later_MM, HIDDEN)
    return torch.cat((of_conditions, of_notes), -1).softmax(-1).to(v_BHLE.dtype) @ v_BHLE


def biased_attention(
    bare_BHME: Tensor, q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, distance_HTE: Tensor, attend_B11P: Tensor
) -> Tensor:
    """What all tokens mix: conditions from each other, notes as in ``relative_attention``; for a GPU.

    There the fused kernel is told what to add to each product, so that few passes go over as many numbers: the plain way took most of
    the time of a step.
    """
    conditions, (batch, heads, tokens, width) = attend_B11P.shape[-1], bare_BHME.shape
    nearest_HME = nearest(distance_HTE, tokens) * width**-0.5
    table_HEW = F.pad(nearest_HME, (0, 0, Bias.SPARE, 0)).transpose(1, 2)
    products = bare_BHME.transpose(0, 1).reshape(heads, batch * tokens, width) @ table_HEW.to(bare_BHME.dtype)
    hidden_B1LL = torch.zeros(batch, 1, q_BHLE.shape[2], q_BHLE.shape[2], dtype=q_BHLE.dtype, device=q_BHLE.device)
    hidden_B1LL[..., conditions:] = torch.full_like(hidden_B1LL[0, 0, :, conditions:], HIDDEN).triu(1 - conditions)
    hidden_B1LL[..., :conditions] = ~attend_B11P * HIDDEN
    bias_BHLL = Bias.apply(products.view(heads, batch, tokens, -1), hidden_B1LL)
    with sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=bias_BHLL)


class Bias(torch.autograd.Function):
    """Products with the vectors of distances, the nearest last, behind at least ``SPARE`` columns of anything -> what to add to the scores
    of notes with notes, added to ``hidden``.

    Row i of the products, read from its end back to distance i, is row i of the result up to token i: a view with one column less a row.
    Where it shows another row, behind token i, ``hidden`` has to hide it: so no gradient comes from there.
    """

    SPARE = 8  # columns, at least one: rows of a multiple of 8 numbers are what matrix products on a GPU like

    @staticmethod
    def forward(ctx: Any, products_HBMW: Tensor, hidden_B1LL: Tensor) -> Tensor:
        """(B, H, L, L)."""
        ctx.products = products_HBMW.shape
        heads, _, tokens, _ = products_HBMW.shape
        bias_BHLL = hidden_B1LL.repeat(1, heads, 1, 1)
        bias_BHLL[:, :, -tokens:, -tokens:] += Bias.view(products_HBMW)
        return bias_BHLL

    @staticmethod
    def backward(ctx: Any, grad_BHLL: Tensor) -> tuple[Tensor, None]:  # ty: ignore[incompatible-method-override]
        grad_HBMW = grad_BHLL.new_zeros(ctx.products)
        tokens = ctx.products[2]
        Bias.view(grad_HBMW).copy_(grad_BHLL[:, :, -tokens:, -tokens:])
        return grad_HBMW, None

    @staticmethod
    def view(products_HBMW: Tensor) -> Tensor:
        """(B, H, M, M)."""
        heads, batch, tokens, columns = products_HBMW.shape
        strides = (tokens * columns, batch * tokens * columns, columns - 1, 1)
        return products_HBMW.as_strided((batch, heads, tokens, tokens), strides, columns - 1)


def newest_attention(
    bare_BH1E: Tensor, q_BH1E: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, distance_HTE: Tensor, attend_B11P: Tensor
) -> Tensor:
    """``relative_attention`` of the last token alone: nothing comes after it, and its products with the distances are in place already.

    In float32: on a CPU a product in bfloat16 costs a new kernel for every length (150 to 250 keys: 500 against 80 us for the whole).
    """
    conditions, most, length = attend_B11P.shape[-1], distance_HTE.shape[1], k_BHLE.shape[2]
    scale, near = q_BH1E.shape[-1] ** -0.5, min(most, length - conditions)
    distance_BH1T = (bare_BH1E.float() * scale) @ distance_HTE.float().transpose(-1, -2)
    score = (q_BH1E.float() * scale) @ k_BHLE.transpose(-1, -2)
    score[..., :conditions].masked_fill_(~attend_B11P, HIDDEN)
    score[..., conditions : length - near] += distance_BH1T[..., :1]
    score[..., length - near :] += distance_BH1T[..., most - near :]
    return (score.softmax(-1) @ v_BHLE).to(q_BH1E.dtype)


class Cache:
    """Keys and values that one layer has seen, in float32 (see ``newest_attention``). Room doubles when it runs out."""

    def __init__(self) -> None:
        self.held: Tensor | None = None  # (2, B, H, room, E)
        self.used = 0

    def with_new(self, k_BHYE: Tensor, v_BHYE: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of Y tokens more; returns all so far."""
        start, end = self.used, self.used + k_BHYE.shape[2]
        if self.held is None or end > self.held.shape[3]:
            grown = torch.empty(2, *k_BHYE.shape[:2], 2 * end, k_BHYE.shape[-1], dtype=torch.float32, device=k_BHYE.device)
            if self.held is not None:
                grown[:, :, :, :start] = self.held[:, :, :, :start]
            self.held = grown
        self.held[0, :, :, start:end] = k_BHYE
        self.held[1, :, :, start:end] = v_BHYE
        self.used = end
        return self.held[0, :, :, :end], self.held[1, :, :, :end]

    def keep(self, row_X: Tensor) -> None:
        """Forget the rows that are not among these."""
        assert self.held is not None
        self.held = self.held[:, row_X]


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

        ``x_BLD`` in line: conditions and notes; or, where the ``cache`` has them already, one new note alone.
        """
        if not in_line:
            return super().forward(x_BLD, attend_B11L, cosine, sine)
        assert attend_B11L is not None
        q, k, v, bare = self.asked(x_BLD, cosine, sine)
        if cache is not None and cache.used:
            assert x_BLD.shape[1] == 1
            return self.added(x_BLD, newest_attention(bare, q, *cache.with_new(k, v), self.distance_HTE, attend_B11L))
        if cache is not None:
            cache.with_new(k, v)
        first = attend_B11L.shape[-1]  # of the notes
        if not on_cpu(x_BLD):
            return self.added(x_BLD, biased_attention(bare[:, :, first:], q, k, v, self.distance_HTE, attend_B11L))
        of_conditions = attention(q[:, :, :first], k[:, :, :first], v[:, :, :first], attend_B11L)
        of_notes = relative_attention(bare[:, :, first:], q[:, :, first:], k, v, self.distance_HTE, attend_B11L)
        return self.added(x_BLD, torch.cat((of_conditions, of_notes), 2))
