"""Sets of clips, from folders of MIDI files or packed data -> figures, each set beside the first one.

What was asked of a clip stands in the settings that MuseDiff writes into its files. For the rest, a file counts as made
from the one of the same name in the first set, and what that one is like was asked.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.cli_output import MIDI_SUFFIXES
from musediff.clip import ROLES, Clip, Meta, Track
from musediff.data import store as packed
from musediff.data.choose import choose
from musediff.data.clips import clip_at
from musediff.errors import BadMidi, BadRequest
from musediff.meta_json import parse_meta
from musediff.metrics.compare import Figures, compare, describe
from musediff.midi import smf
from musediff.midi.analyze import analyze
from musediff.midi.read import read
from musediff.pipeline import SETTINGS_PREFIX

MEASURED = ("pitch_range", "min_velocity", "max_velocity")  # the metadata that CP and CV look at


@dataclass(frozen=True, slots=True)
class Choice:
    """Which clips of packed data. No roles or corpora: all."""

    split: int
    clips: int
    roles: tuple[str, ...] = ()
    corpora: tuple[str, ...] = ()


@dataclass(slots=True)
class ClipSet:
    """``names`` of files, without suffix and folder of the set; none of packed clips. ``said``: what their settings asked."""

    clips: list[Clip] = field(default_factory=list)
    said: list[Meta] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, clip: Clip, said: Meta, name: str | None) -> None:
        self.clips.append(clip)
        self.said.append(said)
        self.names.append(name)


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures by set; ``reference`` is the first of them. ``notes``: sentences on what was left out."""

    reference: str
    figures: dict[str, Figures]
    notes: list[str]


def measure(paths: Sequence[Path], choice: Choice) -> Measured:
    """Read and measure.

    Raises:
        BadRequest, BadData, BadMidi: a set is given twice, missing, empty, or no file of it can be read.
    """
    if len(set(paths)) < len(paths):
        raise BadRequest("The same set is given twice.")
    sets = {str(path): read_set(path, choice) for path in paths}
    (reference, first), *others = sets.items()
    figures = {reference: describe(first.clips, first.said)}
    place = {name: i for i, name in enumerate(first.names) if name is not None}
    for name, other in others:
        partner = {i: place[key] for i, key in enumerate(other.names) if key is not None and key in place}
        asked = [first.clips[partner[i]].meta().but(said) if i in partner else said for i, said in enumerate(other.said)]
        figures[name] = compare(other.clips, asked, first.clips, partner)
    return Measured(reference, figures, [note for found in sets.values() for note in found.notes])


def report_of(found: Measured) -> dict[str, Any]:
    """For JSON."""
    sets = {name: figures.to_dict() for name, figures in found.figures.items()}
    return {"command": "evaluate", "reference": found.reference, "sets": sets, "notes": found.notes}


def read_set(path: Path, choice: Choice) -> ClipSet:
    """All clips of a folder or file, or a choice of packed ones."""
    if path.suffix == ".npz":
        return read_packed(path, choice)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in MIDI_SUFFIXES and file.is_file())
        root = path
    else:
        files, root = [path] if path.is_file() else [], path.parent
    if not files:
        raise BadRequest(f"{path}: no MIDI file there (.mid or .midi), and no packed data (.npz).")
    found, refused = ClipSet(), []
    for file in tqdm(files, desc=path.name, unit="file", disable=None, leave=False):
        try:
            found.add(*read_file(file), file.relative_to(root).with_suffix("").as_posix())
        except BadMidi as error:
            refused.append(str(error))
    if not found.clips:
        raise BadMidi(refused[0])
    if refused:
        found.notes.append(f"{path}: {len(refused)} of {len(files)} files left out, the first because: {refused[0]}")
    return found


def read_file(path: Path) -> tuple[Clip, Meta]:
    """The clip of a file's most suitable track, and what its settings asked. A file without notes is an empty clip.

    Raises:
        BadMidi: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadMidi(f"{path} cannot be read ({error.strerror}).") from error
    try:
        score = read(data, str(path))
    except BadMidi:
        if any(event.status & 0xF0 == smf.NOTE_ON for track in smf.parse(data, str(path)).tracks for event in track.events):
            raise
        return Clip(1, (Track(()),)), Meta()
    busiest = max(range(len(score.tracks)), key=lambda i: len(score.tracks[i].notes))
    clip = analyze(score, [busiest] if all(track.is_drum for track in score.tracks) else None).clip
    return clip, next(asked_in(score.texts), Meta())


def asked_in(texts: Sequence[str]) -> Iterator[Meta]:
    """The metadata in the settings that a file of ours carries."""
    for text in texts:
        if text.startswith(SETTINGS_PREFIX):
            try:
                said = json.loads(text[len(SETTINGS_PREFIX) :])["meta"]
                yield parse_meta({name: said[name] for name in MEASURED if name in said})[0]
            except (ValueError, TypeError, KeyError, RecursionError, BadRequest):
                continue  # someone else's text, or edited: then nothing is known to have been asked


def read_packed(path: Path, choice: Choice) -> ClipSet:
    """Clips of packed data, one of each song first. Their labels follow from their notes, so nothing was asked of them."""
    store = packed.load(path)
    roles = [ROLES.index(role) for role in choice.roles]
    rows = choose(store, choice.split, np.random.default_rng(0), roles, corpora=choice.corpora)
    if not len(rows):
        raise BadRequest(f"{path}: no clip of this split, these roles and corpora.")
    found = ClipSet()
    if len(rows) > choice.clips:
        found.notes.append(f"{path}: {choice.clips} of {len(rows)} clips, one of each song first; --clips takes more.")
    for row in rows[: choice.clips].tolist():
        found.add(clip_at(store, [row]), Meta(), None)
    return found
