"""Figures of a run -> lines on the screen and in metrics.jsonl, and the same on the board. The first process tells them for all."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from musediff.whole_file import replace_whole
from train.board import Board
from train.states import writing

FIGURES = "metrics.jsonl"


class Log:
    """Goes on behind the lines up to ``step``; what an interrupted run had told of later steps is taken back.

    Raises:
        BadRequest: the folder cannot be written.
    """

    def __init__(self, out: Path, step: int) -> None:
        self._out, self._step = out, step
        self._board: Board | None = None  # begun behind the first whole line: its thread tells of a full disk in its own, long way
        with writing(out):
            take_back(out / FIGURES, step)
            self._file = (out / FIGURES).open("ab", buffering=0)  # what a full disk refuses is not tried again at the end

    def say(self, text: str) -> None:
        """On the screen alone."""
        print(text, flush=True)

    def note(self, text: str) -> None:
        """On the screen, if there is anything."""
        if text:
            self.say(f"note: {text}")

    def add(self, line: Mapping[str, Any]) -> None:
        """Everywhere.

        Raises:
            BadRequest: the folder cannot be written.
        """
        text = json.dumps(line)
        with writing(self._out):
            self.say(text)
            data = text.encode() + b"\n"
            while data:
                data = data[self._file.write(data) :]
            self._board = self._board or Board(self._out, self._step)
            self._board.add(line)

    def close(self) -> None:
        for part in (self._board, self._file):
            with suppress(OSError):  # told by ``add`` already
                if part is not None:
                    part.close()


class Silence:
    """The ``Log`` of the other processes."""

    def say(self, text: str) -> None:
        pass

    note = say

    def add(self, line: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def take_back(path: Path, step: int) -> None:
    """Leave the lines up to a step; what is cut off or no line of ours goes too."""
    lines = path.read_text("utf-8", "replace").splitlines(keepends=True) if path.exists() else []
    kept = [line for line in lines if line.endswith("\n") and 0 <= _step(line) <= step]
    if kept != lines:
        replace_whole(path, lambda part: part.write_text("".join(kept), "utf-8"))


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, LookupError):
        return -1


Window = dict[str, list[float]]


def collect(window: Window, named: Mapping[str, float]) -> None:
    """More values of each name."""
    for name, value in named.items():
        window.setdefault(name, []).append(value)


def means(windows: Iterable[Window]) -> dict[str, float]:
    """Means over the windows of all processes, rounded, by sorted names."""
    values: Window = {}
    for window in windows:
        for name, found in window.items():
            values.setdefault(name, []).extend(found)
    return {name: round(sum(found) / len(found), 3) for name, found in sorted(values.items())}
