"""Engines by name, and where their bundled weights lie. The only place that knows all of them."""

from pathlib import Path

from musediff.engines.slots.engine import SlotsEngine

ENGINES = {"slots": SlotsEngine}
WEIGHTS = Path(__file__).parents[2] / "assets" / "weights"
