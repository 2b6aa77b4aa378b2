"""Recipes: a function returns everything that decides a run. Saved beside the weights."""

from dataclasses import dataclass, field, replace

from musediff.engines.slots.network import NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of one training run. ``steps`` or ``minutes`` ends it; the learning rate follows whichever is nearer."""

    network: NetworkConfig
    tokens: int = 5000  # of one batch, padding included
    count_every: int = 3  # steps between batches that train the counts
    steps: int = 1_000_000
    minutes: float = 60.0
    learning_rate: float = 1e-3  # AdamW, for embeddings and heads
    muon_rate: float = 0.02  # Muon, for the matrices of the blocks; 0: everything AdamW
    warm_up: int = 100
    last_rate: float = 0.02  # share of the learning rate that is left at the end
    weight_decay: float = 0.02
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 1
    tracks_share: float = 0.3
    corpus_weight: dict[str, float] = field(default_factory=lambda: {"pop909": 2.0, "groove": 0.3})
    evaluate_every: int = 500


def slots_tiny() -> Recipe:
    """Two minutes on two cores: shows that everything works, makes no music."""
    return Recipe(network=NetworkConfig.tiny(), tokens=1000, steps=200, minutes=2, evaluate_every=100, warm_up=20, ema=0.97)


def slots_small() -> Recipe:
    """5.6 M parameters, for about two hours on two CPU cores."""
    return Recipe(network=NetworkConfig(width=256, layers=6, heads=4), minutes=120)


def slots_base() -> Recipe:
    """13 M parameters, for a GPU."""
    return replace(slots_small(), network=NetworkConfig(width=384, layers=7, heads=6, dropout=0.05), tokens=200_000, minutes=9)


RECIPES = {"slots-tiny": slots_tiny, "slots-small": slots_small, "slots-base": slots_base}
