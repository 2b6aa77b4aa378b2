"""States of a run on the disk, state-000500.pt and so on: the newest whole one -> what a run goes on with, and back.

A file is whole or not there. The last few are kept, and the one with the best held-out loss.
"""

import errno
import math
import re
import struct
import sys
import zipfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from musediff.errors import BadCheckpoint, BadRequest
from musediff.whole_file import replace_whole

FORMAT = 3
NAME = re.compile(r"state-(\d+)\.pt")
OLD = "state.pt"  # of versions that kept one state
DAMAGE = (zipfile.BadZipFile, UnpicklingError, EOFError, OSError, RuntimeError, ValueError, LookupError, struct.error)

State = dict[str, Any]


def in_folder(out: Path) -> dict[int, Path]:
    """The states of a run by their steps, the first one first.

    Raises:
        BadCheckpoint: it is a run of another version.
    """
    if (out / OLD).exists():
        raise BadCheckpoint(f"{out / OLD}: written by another version, which can go on with it. Here choose another --out.")
    names = ((NAME.fullmatch(path.name), path) for path in (out.iterdir() if out.is_dir() else ()))
    return dict(sorted((int(match[1]), path) for match, path in names if match))


def find(out: Path, resume: str, again: bool = False) -> State:
    """The state that a run in ``out`` goes on with; nothing if it is to begin.

    Args:
        resume: auto: from the newest in ``out`` if there is one. no: there must be none. Else a state, or the folder of a run,
            from which a run goes on in an ``out`` that has none yet.
        again: a launcher has started the same processes before: what is in ``out`` is this run's own.

    Raises:
        BadRequest: there is a state, or there is none, against what is asked for.
        BadCheckpoint: all states are damaged, or they are of another version.
    """
    there = in_folder(out)
    if resume == "no" and there and not again:
        raise BadRequest(
            f"--resume no: {out} holds a run of {max(there)} steps. Take it away, choose another --out, or leave --resume out."
        )
    if resume in ("auto", "no"):
        return newest(there.values()) if there else {}
    path = Path(resume)
    asked = in_folder(path) if path.is_dir() else {0: path}
    if not any(each.is_file() for each in asked.values()):
        raise BadRequest(f"--resume {resume}: there is no state. Give auto, no, a file state-….pt or the folder of a run.")
    if path.resolve() in [older.resolve() for older in list(there.values())[:-1]]:
        raise BadRequest(f"--resume {resume}: {out} has gone on from there to step {max(there)}. To go back choose another --out.")
    if there:
        return newest(there.values())
    return newest(asked.values()) | {"best": {"step": -1, "loss": math.inf}}  # what was better lies in the other folder


def newest(paths: Iterable[Path]) -> State:
    """The last one that is whole; a note says if it is not the last.

    Raises:
        BadCheckpoint: none is, or it is of another version.
    """
    error: BadCheckpoint | None = None
    for path in reversed([*paths]):
        try:
            state = read(path)
        except BadCheckpoint as damage:
            error = error or damage
            continue
        if error is not None:
            print(f"note: {error} Going on from {path.name}.", file=sys.stderr, flush=True)
        if state.get("format") != FORMAT:
            raise BadCheckpoint(f"{path}: written by another version, which can go on with it. Here choose another --out.")
        return state
    assert error is not None
    raise BadCheckpoint(f"{error} Take it away, or choose another --out.")


def read(path: Path) -> State:
    """What a file holds, on the CPU.

    Raises:
        BadCheckpoint: it is damaged.
        BadRequest: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadRequest(f"{path} cannot be read ({error.strerror}).") from error
    with file:
        try:
            with zipfile.ZipFile(file) as whole:  # torch itself does not look whether the numbers are those that were written
                spoilt = whole.testzip()
            file.seek(0)
            state = None if spoilt else torch.load(file, map_location="cpu", weights_only=True)
        except DAMAGE as error:
            raise BadCheckpoint(f"{path} is damaged ({str(error).splitlines()[0] if str(error) else 'empty'}).") from error
    if not isinstance(state, dict):
        raise BadCheckpoint(f"{path} is damaged ({spoilt or 'it holds no state'}).")
    return state


def write(state: State, out: Path, keep: int) -> None:
    """Under its step; then those before the last ``keep`` go, but for the best.

    Raises:
        OSError: it cannot be written. Nothing is lost.
    """
    step = state["step"]
    replace_whole(out / f"state-{step:06}.pt", lambda path: _save(state, path))
    there = in_folder(out)
    before = [each for each in there if each <= step]  # what lies behind it was damaged: the run would have gone on from there
    for other in there.keys() - {*before[-keep:], state["best"]["step"]}:
        there[other].unlink()
    for part in out.glob("state-*.pt.part"):  # of a run that was killed
        part.unlink()


def _save(state: State, path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # one of torch's own checks; what the file said stands behind it
        why = error.__context__
        raise why if isinstance(why, OSError) else OSError(errno.EIO, str(error).splitlines()[0]) from error


@contextmanager
def writing(out: Path) -> Generator[None, None, None]:
    """Around whatever writes into the folder of a run.

    Raises:
        BadRequest: it cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        saved = "What was saved there before is whole: the same command goes on from it."
        raise BadRequest(f"{out} cannot be written ({why}). {saved}") from error
