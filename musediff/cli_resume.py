"""--resume: what an earlier start of the same command left behind, told by the settings that every MIDI file carries."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musediff.cli_output import check_free
from musediff.errors import BadMidi, BadRequest
from musediff.midi import smf
from musediff.pipeline import SETTINGS_PREFIX

_TEXT = 0x01


def finished(files: Sequence[Mapping[str, Path]], settings: str) -> bool:
    """Whether the clips of a batch are there, with all that belongs to each (kind -> path).

    Raises:
        BadRequest: a file of that name is there, but no clip of these settings.
    """
    for clip in files:
        if clip["midi"].exists():
            check_same(clip["midi"], settings)
        else:
            check_free(list(clip.values()), force=False)
    return all(path.exists() for clip in files for path in clip.values())


def check_same(midi: Path, settings: str) -> None:
    """The file was made with these settings.

    Raises:
        BadRequest: with others, or not by MuseDiff.
    """
    there, wanted = settings_in(midi), json.loads(settings)
    if there == wanted:
        return
    other = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
    how = f"with other settings ({', '.join(other)})" if there else "not by this command"
    raise BadRequest(f"{midi} is there, but made {how}: it cannot be resumed. Choose another --out, or move the file away.")


def settings_in(midi: Path) -> dict[str, Any]:
    """The settings that a file of ours carries; of any other, nothing."""
    try:
        tracks = smf.parse(midi.read_bytes(), str(midi)).tracks
        texts = [event.text for track in tracks[:1] for event in track.events if event.status == smf.META and event.first == _TEXT]
        said = [json.loads(text[len(SETTINGS_PREFIX) :]) for text in texts if text.startswith(SETTINGS_PREFIX.encode())]
    except (OSError, BadMidi, ValueError, RecursionError):
        return {}
    return said[0] if said and isinstance(said[0], dict) else {}


def json_in(path: Path) -> dict[str, Any]:
    """The object in a JSON file; of any other, nothing."""
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def seed_in(midi: Path) -> int | None:
    """The seed that a file of ours was made with."""
    sampling = settings_in(midi).get("sampling")
    seed = sampling.get("seed") if isinstance(sampling, dict) else None
    return seed if type(seed) is int else None
