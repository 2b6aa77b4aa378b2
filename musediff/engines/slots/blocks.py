"""Blocks in which every token attends to every other. Suffixes as in ``network``, H heads, E width of a head."""

import torch.nn.functional as F
from torch import Tensor, nn

from musediff.engines.slots.rotary import rotate

MOST_SCORES = 4_000_000  # of one head and layer; above, attention takes the fused kernel


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

    COMPILED = ("asked", "added")  # to compile for a GPU; with attention between them that alone took longer than a minute

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def asked(self, x_BLD: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, H, L, E) queries, keys and values of all heads; and the queries as they were before their place turned them."""
        qkv = self.qkv(self.norm_attention(x_BLD)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        q, k = rotate(qkv[:, : 2 * self.heads], cosine, sine).chunk(2, 1)
        return q, k, qkv[:, 2 * self.heads :], qkv[:, : self.heads]

    def added(self, x_BLD: Tensor, mixed_BHLE: Tensor) -> Tensor:
        """The stream behind the block; ``mixed_BHLE``: what the heads found."""
        x_BLD = x_BLD + self._drop(self.out(mixed_BHLE.transpose(1, 2).flatten(2)))
        return x_BLD + self._drop(self.down(F.gelu(self.up(self.norm_mlp(x_BLD)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Block(Layers):
    """Every token attends to every other."""

    def forward(self, x_BLD: Tensor, attend_B11L: Tensor | None, cosine: Tensor, sine: Tensor) -> Tensor:
        q, k, v, _ = self.asked(x_BLD, cosine, sine)
        return self.added(x_BLD, attention(q, k, v, attend_B11L))
