"""Results -> files, lines and JSON. Nothing that exists is replaced without ``--force``."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musediff.clip import Clip
from musediff.errors import BadRequest
from musediff.job import Result

MIDI_SUFFIXES = (".mid", ".midi")


@dataclass(slots=True)
class Report:
    """What a command did, collected for the last lines it prints."""

    command: str
    engine: str
    seed: int | None = None
    seconds: float = 0.0
    synth: str | None = None
    notes: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Result, files: list[dict[str, Any]]) -> None:
        """One batch: the seed of the first is the seed of the run."""
        self.seed = result.seed if self.seed is None else self.seed
        self.seconds += result.seconds
        self.notes += [note for note in result.notes if note not in self.notes]
        self.files += files

    def print(self, as_json: bool) -> None:
        """One JSON object, or a line per fact and file, on standard output."""
        if as_json:
            described = {name: getattr(self, name) for name in self.__slots__}
            print(json.dumps(described | {"seconds": round(self.seconds, 3)}, ensure_ascii=False))
            return
        for note in self.notes:
            print(f"note: {note}")
        print(f"seed {self.seed}, {self.engine}, {self.seconds:.1f} s" + (f", played by {self.synth}" if self.synth else ""))
        for file in self.files:
            print(*(file[kind] for kind in ("midi", "wav", "png") if kind in file))


def targets(out: Path, stem: str, number: int) -> list[Path]:
    """Where each clip goes. CLIP.mid for one, CLIP-1.mid … for several; a folder gets STEM-1.mid …"""
    single = out.suffix.lower() in MIDI_SUFFIXES
    if single and number == 1:
        return [out]
    folder, name, suffix = (out.parent, out.stem, out.suffix) if single else (out, stem, ".mid")
    width = len(str(number))  # so that a listing is in order
    return [folder / f"{name}-{i:0{width}}{suffix}" for i in range(1, number + 1)]


def beside(midi: Path, args: argparse.Namespace) -> dict[str, Path]:
    """The files that belong to one clip: kind -> path."""
    return {"midi": midi} | {kind: midi.with_suffix("." + kind) for kind in ("wav", "png") if getattr(args, kind)}


def check_free(files: Sequence[Path], force: bool) -> None:
    """Fail before the work, not after it; make the folders.

    Raises:
        BadRequest: a file exists and ``--force`` was not given, or a folder cannot be made.
    """
    for path in files:
        if path.exists() and not force:
            raise BadRequest(f"{path} exists already. Choose another --out or add --force to replace it.")
    for folder in {path.parent for path in files}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadRequest(f"{folder}: cannot be made ({error.strerror}). Choose another --out.") from error


def write(path: Path, data: bytes, force: bool) -> None:
    """Whole file or a clear message.

    Raises:
        BadRequest: it appeared meanwhile, or the disk does not take it.
    """
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(data)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be written ({error.strerror}).") from error


class Writer:
    """Writes the clips of a result with the sound and picture that were asked for; the synthesizer is loaded once."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.synth: str | None = None  # what played, once something did
        self._sound = self._player() if args.wav else None

    def _player(self) -> Callable[[Clip], bytes]:
        from musediff.render.audio import Synthesizer, to_wav

        synthesizer = Synthesizer()

        def sound(clip: Clip) -> bytes:
            audio = synthesizer.render(clip)
            self.synth = audio.synth
            return to_wav(audio)

        return sound

    def save(self, result: Result, paths: Sequence[Path], before: Clip | None = None) -> list[dict[str, Any]]:
        """Write every clip of the result; the dictionaries are what the report says of each."""
        described = []
        for i, (midi, clip) in enumerate(zip(paths, result.clips, strict=True)):
            files = beside(midi, self.args)
            write(midi, result.midi(i), self.args.force)
            if self._sound is not None:
                write(files["wav"], self._sound(clip), self.args.force)
            if "png" in files:
                from musediff.render.pianoroll import save_png

                save_png(clip, files["png"], before=before)
            described.append({kind: str(path) for kind, path in files.items()} | {"seed": result.seed, "variant": i})
        return described
