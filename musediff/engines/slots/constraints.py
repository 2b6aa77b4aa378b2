"""What a field may be, whatever the network thinks: masks on logits."""

import torch
from torch import Tensor

from musediff.clip import Track
from musediff.engines.finishing import velocity_limits
from musediff.engines.slots import vocab

FORBIDDEN = -1e9


def allowed(tracks: tuple[Track, ...], bar_ticks: int, device: torch.device | None = None) -> list[Tensor]:
    """Per field a table (K, V), 0 where a class is allowed and ``FORBIDDEN`` where not: onsets inside the bar,
    velocities whose class touches the asked limits."""
    tables = [torch.zeros(len(tracks), size) for size in vocab.SIZES]
    tables[vocab.POSITION][:, bar_ticks // vocab.POSITION_TICKS :] = FORBIDDEN
    classes = torch.arange(vocab.SIZES[vocab.VELOCITY]) * vocab.VELOCITY_STEP
    for k, track in enumerate(tracks):
        low, high = velocity_limits(track)
        tables[vocab.VELOCITY][k, (classes + vocab.VELOCITY_STEP - 1 < low) | (classes > high)] = FORBIDDEN
    return [table.to(device) for table in tables]
