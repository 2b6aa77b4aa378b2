"""Size of the ar network; stored beside the weights."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ArConfig:
    """As ``slots.network.NetworkConfig``."""

    width: int = 256
    layers: int = 6
    heads: int = 4
    dropout: float = 0.1
    distances: int = 64  # between two tokens of notes that are told apart; those beyond are one

    @staticmethod
    def tiny() -> "ArConfig":
        return ArConfig(width=32, layers=2, heads=2, dropout=0.0, distances=16)
