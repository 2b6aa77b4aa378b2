"""The rotary position code of notes. Suffixes as in ``network``, H heads, E width of a head."""

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Rotary position code over three coordinates at once: bar, place in the bar, place in the track.

    Two notes at the same place of bars four apart then always look alike to attention, wherever they are.
    """

    def __init__(self, head_width: int) -> None:
        super().__init__()
        pairs = head_width // 2
        split = (pairs // 3, pairs // 3, pairs - 2 * (pairs // 3))
        table = torch.zeros(3, pairs)
        start = 0
        for axis, (size, longest) in enumerate(zip(split, (64.0, 64.0, 512.0), strict=True)):
            table[axis, start : start + size] = longest ** -(torch.arange(size) / max(1, size - 1))
            start += size
        self.frequency: Tensor
        self.register_buffer("frequency", table, persistent=False)

    def angles(self, coordinates_BL3: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, 1, L, pairs)."""
        angle = (coordinates_BL3.float() @ self.frequency.float()).unsqueeze(1)
        return angle.cos(), angle.sin()


def rotate(x_BHLE: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    a, b = x_BHLE.chunk(2, dim=-1)
    cosine, sine = cosine.to(a.dtype), sine.to(a.dtype)
    return torch.cat((a * cosine - b * sine, a * sine + b * cosine), dim=-1)
