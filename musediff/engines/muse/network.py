"""The muse denoiser: noised token embeddings, a time -> clean token embeddings, by a bidirectional transformer.

One class holds both the original's network (BERT's encoder: norms after the residual, exact GELU, learned positions)
and ours, which masks padding and may condition on its own last guess or keep its embeddings normalised.
Suffixes: B batch, L tokens, D embedding width, W width of the transformer, V vocabulary, H heads, E width of a head.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musediff.chords import NO_CHORD, QUALITIES, pitch_classes
from musediff.errors import BadRequest
from musediff.tokens.commu import CHORD_PLACES, LAYOUT_SIZES
from musediff.tokens.vocab import CHORD, SIZE, chord_of

NORM_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class MuseConfig:
    """Size of the denoiser; stored beside the weights."""

    vocab_size: int
    seq_len: int
    embedding: int = 128
    time_embedding: int = 128
    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    dropout: float = 0.1  # of the sum of embeddings
    layer_dropout: float = 0.1  # inside the layers
    self_conditioning: bool = False
    normalise: bool = False
    tied: bool = True  # the head's matrix is the embedding table
    layout: bool = False  # it is told where each token stands and the chords there (``commu.layout``); bars are always given

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise BadRequest(f"network: a width of {self.width} cannot be shared by {self.heads} heads. Make it a multiple.")

    @staticmethod
    def tiny(vocab_size: int = SIZE, seq_len: int = 256, layout: bool = False) -> "MuseConfig":
        return MuseConfig(vocab_size, seq_len, 16, 16, width=32, layers=2, heads=2, feed_forward=64, layout=layout)


def time_code(time_B: Tensor, width: int) -> Tensor:
    """(B, width) float32: cosines, then sines, of 1 to 1/10000 radians per unit; an odd width ends with 0."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=time_B.device, dtype=torch.float32) * (-math.log(10_000) / half))
    angle = time_B[:, None].float() * frequency
    return F.pad(torch.cat((angle.cos(), angle.sin()), -1), (0, width % 2))


def attention(q_BHLE: Tensor, k_BHLE: Tensor, v_BHLE: Tensor, attend_B11L: Tensor | None, dropout: float) -> Tensor:
    """Softmax attention. On a CPU the fused kernel's backward pass is several times slower than plain matrix products,
    so training there spells it out."""
    if q_BHLE.requires_grad and q_BHLE.device.type == "cpu":
        batch, heads, _, width = q_BHLE.shape
        q, k, v = (x.flatten(0, 1) for x in (q_BHLE, k_BHLE, v_BHLE))
        bias = q.new_zeros(1, 1, 1)  # added by the product itself: filling the scores costs a quarter of attention
        if attend_B11L is not None:
            bias = torch.where(attend_B11L, 0.0, -1e4).to(q.dtype).expand(-1, heads, -1, -1).flatten(0, 1)
        score = torch.baddbmm(bias, q, k.transpose(-1, -2), alpha=width**-0.5)
        return (F.dropout(score.softmax(-1), dropout).to(v.dtype) @ v).unflatten(0, (batch, heads))
    return F.scaled_dot_product_attention(q_BHLE, k_BHLE, v_BHLE, attn_mask=attend_B11L, dropout_p=dropout)


class Block(nn.Module):
    """Attention and feed-forward; a norm follows each residual sum."""

    def __init__(self, config: MuseConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.layer_dropout
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_attention = nn.LayerNorm(config.width, NORM_EPSILON)
        self.widen = nn.Linear(config.width, config.feed_forward)
        self.narrow = nn.Linear(config.feed_forward, config.width)
        self.norm_mlp = nn.LayerNorm(config.width, NORM_EPSILON)

    def forward(self, x_BLW: Tensor, attend_B11L: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x_BLW).chunk(3, -1))
        mixed_BLW = attention(q, k, v, attend_B11L, dropout).transpose(1, 2).flatten(2)
        x_BLW = self.norm_attention(x_BLW + F.dropout(self.out(mixed_BLW), dropout))
        return self.norm_mlp(x_BLW + F.dropout(self.narrow(F.gelu(self.widen(x_BLW))), dropout))


def chord_features() -> Tensor:
    """(C, 24) of the chords of a layout: the pitch classes that sound, and the root. Tables begin as sums of these: from zero they
    had hardly moved after 500 steps, and the chords with them were worth no more than without."""
    found = torch.zeros(LAYOUT_SIZES[-1], 2 * 12)
    for row in range(1, len(found)):
        chord = chord_of(CHORD + row - 1)
        found[row, list(pitch_classes(chord))] = 1
        if chord != NO_CHORD:
            found[row, 12 + chord // len(QUALITIES)] = 1
    return found


def _projection(before: int, after: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(before, width), nn.Tanh(), nn.Linear(width, after))


class MuseNetwork(nn.Module):
    """Predicts the clean embeddings x0. Embeddings go in and come out in float32, whatever the weights are."""

    def __init__(self, config: MuseConfig) -> None:
        super().__init__()
        self.config = config
        width, given = config.width, config.embedding * (2 if config.self_conditioning else 1)
        self.token = nn.Embedding(config.vocab_size, config.embedding)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.head = None if config.tied else nn.Parameter(torch.randn(config.vocab_size, config.embedding))
        self.time_in = nn.Linear(config.time_embedding, 4 * config.time_embedding)
        self.time_out = nn.Linear(4 * config.time_embedding, width)
        self.up = None if given == width else _projection(given, width, width)
        self.position = nn.Embedding(config.seq_len, width)
        self.norm = nn.LayerNorm(width, NORM_EPSILON)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.down = None if config.embedding == width else _projection(width, config.embedding, width)
        self.places = nn.ModuleList(nn.Embedding(size, width) for size in LAYOUT_SIZES) if config.layout else None
        for name, table in self.named_modules():
            if isinstance(table, nn.Embedding) and name != "token":
                nn.init.normal_(table.weight, std=0.3)  # as large as projected tokens: neither drowns the other
        for table in (self.places or ())[-CHORD_PLACES:]:
            assert isinstance(table, nn.Embedding)
            table.weight.data = chord_features() @ torch.randn(2 * 12, width) * 0.1

    @property
    def table_VD(self) -> Tensor:
        """The embeddings, in float32; when normalised, each row has mean 0 and norm sqrt(D), so that a noise level hides
        as much late in training as early."""
        table_VD = self.token.weight.float()
        return F.layer_norm(table_VD, table_VD.shape[-1:]) if self.config.normalise else table_VD

    def embed(self, ids_BL: Tensor) -> Tensor:
        """(B, L, D) embeddings of token ids."""
        return F.embedding(ids_BL, self.table_VD)

    def logits(self, x_BLD: Tensor, mode: Literal[1, 2] = 1) -> Tensor:
        """(B, L, V) scores of the tokens: 1 = product with the table, plus bias; 2 = minus the distance to the table."""
        head_VD = self.table_VD if self.head is None else self.head.float()
        with torch.autocast(x_BLD.device.type, enabled=False):  # in bfloat16 log-probabilities are off by .04 nats on average
            product_BLV = x_BLD.float() @ head_VD.T
        if mode == 1:
            return product_BLV + self.bias.float()
        squared_BLV = x_BLD.float().square().sum(-1, keepdim=True) + head_VD.square().sum(-1) - 2 * product_BLV
        return -squared_BLV.clamp(min=0).sqrt()

    def embed_time(self, time_B: Tensor) -> Tensor:
        """(B, W) of times between 0 and 1000."""
        code = time_code(time_B, self.config.time_embedding).to(self.time_in.weight.dtype)
        return self.time_out(F.silu(self.time_in(code)))

    def forward(
        self, x_BLD: Tensor, time_B: Tensor, pad_BL: Tensor | None, guess_BLD: Tensor | None = None, layout_BLC: Tensor | None = None
    ) -> Tensor:
        """(B, L, D) clean embeddings.

        ``layout_BLC`` is for a network that is told where each token stands, and is left out for any other.
        ``pad_BL`` is True where nobody may look; None lets all tokens look at all others, as the original does.
        ``guess_BLD`` is the last prediction, for self-conditioning (Chen et al. 2022); None says there is none yet.
        """
        assert x_BLD.shape[1] <= self.config.seq_len, f"{x_BLD.shape[1]} tokens, the network has {self.config.seq_len} positions"
        if self.config.self_conditioning:
            x_BLD = torch.cat((x_BLD, torch.zeros_like(x_BLD) if guess_BLD is None else guess_BLD), -1)
        x_BLW = x_BLD.to(self.norm.weight.dtype)
        if self.up is not None:
            x_BLW = self.up(x_BLW)
        x_BLW = x_BLW + self.position.weight[: x_BLW.shape[1]] + self.embed_time(time_B)[:, None]
        assert (self.places is None) == (layout_BLC is None)
        if self.places is not None and layout_BLC is not None:
            x_BLW = x_BLW + sum(table(layout_BLC[..., i]) for i, table in enumerate(self.places))
        x_BLW = F.dropout(self.norm(x_BLW), self.config.dropout, self.training)
        attend_B11L = None if pad_BL is None else ~pad_BL[:, None, None, :]
        for block in self.blocks:
            x_BLW = block(x_BLW, attend_B11L)
        return (x_BLW if self.down is None else self.down(x_BLW)).float()
