"""The figures of metrics.jsonl as TensorBoard scalars, where the package is installed. Training does without."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
NEEDS = "No TensorBoard here, the figures go to metrics.jsonl alone. For both: pip install tensorboard"


class Board:
    """Scalars under ``out/tensorboard``; nothing at all without the package, which is said once.

    Args:
        step: where the run goes on; what an earlier part had told of later steps is taken back.
    """

    def __init__(self, out: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print(NEEDS, flush=True)
            self._writer = None
        else:
            self._writer = SummaryWriter(str(out / FOLDER), purge_step=step + 1 if step else None)

    def add(self, line: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl; the groups in it become groups of scalars."""
        if self._writer is None:
            return
        for name, value in _scalars(line):
            self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _scalars(line: Mapping[str, Any]) -> list[tuple[str, float]]:
    """{"minutes": 1, "loss": 2, "valid": {"loss": 3}} -> minutes, train/loss, valid/loss"""
    found: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, Mapping):
            found += [(f"{name}/{part}", number) for part, number in value.items()]
        elif name != "step":
            found.append((name if name == "minutes" else f"train/{name}", value))
    return found
