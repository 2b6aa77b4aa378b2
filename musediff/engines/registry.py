"""Engines by name, and where their bundled weights lie. The only place that knows all of them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from musediff.engines.ar.engine import ArEngine
from musediff.engines.base import Engine
from musediff.engines.muse.engine import MuseEngine
from musediff.engines.slots.engine import SlotsEngine


class Loadable(Protocol):
    """How an engine comes to be."""

    def load(self, folder: Path) -> Engine:
        """From a checkpoint folder; raises BadCheckpoint."""
        ...

    def tiny(self) -> Engine:
        """With few random weights, for tests."""
        ...


ENGINES: Mapping[str, Loadable] = MappingProxyType({"slots": SlotsEngine, "muse": MuseEngine, "ar": ArEngine})
DEFAULT_ENGINE = "slots"
WEIGHTS = Path(__file__).parents[2] / "assets" / "weights"


def bundled() -> list[str]:
    """Engines whose weights are shipped, the default one first."""
    return [name for name in ENGINES if (WEIGHTS / name / "config.json").exists()]
