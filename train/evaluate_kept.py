"""What an evaluation has made, kept clip by clip: one that was stopped goes on, and one with more clips or models has less to do.

Each process appends to a file of its own, a line for every clip it is done with: what was asked, as a hash, and what came of it. The
same question has the same answer, whoever asks: so any number of processes may go on, and nothing of other weights, settings or code is
taken.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import musediff
from musediff.clip import Clip, Note, Track
from musediff.errors import BadRequest
from musediff.ranks import Ranks
from train import evaluate_edits
from train.evaluate_edits import Row

Made = TypeVar("Made", Clip, Row)
FOLDER = "made"  # in that of the report


class Kept:
    """Nothing is kept without a folder. What earlier starts left there counts if it is to ``resume``."""

    def __init__(self, folder: Path | None, ranks: Ranks, resume: bool) -> None:
        self._file = None if folder is None else folder / f"{ranks.rank}.jsonl"
        self._there: dict[str, Any] = {}
        if folder is None:
            return
        self._code = _code()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if resume:
                self._there = dict(row for path in sorted(folder.glob("*.jsonl")) for row in _read(path))
        except OSError as error:
            raise _refused(error, folder) from error

    def clip(self, make: Callable[[], Clip], *asked: object) -> Clip:
        """What ``make`` gives. ``asked``: all that decides it, with a ``repr`` that says so.

        Raises:
            BadRequest: the disk does not take it.
        """
        return self._once(make, _clip, asked)

    def row(self, make: Callable[[], Row], *asked: object) -> Row:
        """As ``clip``."""
        return self._once(make, lambda said: Row(**said), asked)

    def _once(self, make: Callable[[], Made], known: Callable[[dict[str, Any]], Made], asked: tuple[object, ...]) -> Made:
        if self._file is None:
            return make()
        key = hashlib.sha256(repr((self._code, *asked)).encode()).hexdigest()[:24]
        if key in self._there:
            return known(self._there[key])
        made = make()
        line = json.dumps((key, asdict(made)), separators=(",", ":"))
        try:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}")  # behind what a process that was killed has left of its last line
        except OSError as error:
            raise _refused(error, self._file) from error
        return made


def forget(folder: Path) -> None:
    """Delete what was kept there, if anything.

    Raises:
        BadRequest: the disk does not allow it.
    """
    try:
        for path in folder.glob("*.jsonl"):
            path.unlink()
    except OSError as error:
        raise BadRequest(f"{folder}: cannot be emptied ({error.strerror}). Choose another --report.") from error


def _code() -> str:
    """What tells this code from every other version of it."""
    files = [*sorted(Path(musediff.__file__).parent.rglob("*.py")), Path(evaluate_edits.__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _read(path: Path) -> list[tuple[str, Any]]:
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            key, made = json.loads(line)
        except ValueError:
            continue  # a part of one
        rows.append((key, made))
    return rows


def _clip(said: dict[str, Any]) -> Clip:
    own = dict(said)
    own["tracks"] = tuple(_track(dict(track)) for track in said["tracks"])
    own["chords"] = said["chords"] and tuple(said["chords"])
    return Clip(**own)


def _track(said: dict[str, Any]) -> Track:
    said["notes"] = tuple(Note(*note) for note in said["notes"])
    return Track(**said)


def _refused(error: OSError, path: Path) -> BadRequest:
    return BadRequest(f"{path}: cannot be read or written ({error.strerror}). What is done stays: mend that and go on with --resume.")
