"""Results -> files, lines and JSON. Nothing that exists is replaced without ``--force``, and no file is ever half there."""

import argparse
import errno
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musediff.clip import Clip
from musediff.errors import BadRequest
from musediff.job import Result
from musediff.ranks import Ranks
from musediff.whole_file import replace_whole

MIDI_SUFFIXES = (".mid", ".midi")


@dataclass(slots=True)
class Report:
    """What a command did, collected for the last lines it prints."""

    command: str
    engine: str
    seed: int
    seconds: float = 0.0
    synth: str | None = None
    notes: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Result, files: list[dict[str, Any]]) -> None:
        """One batch."""
        self.seconds += result.seconds
        self.notes += [note for note in result.notes if note not in self.notes]
        self.files += files

    def print(self, as_json: bool, ranks: Ranks) -> None:
        """One JSON object, or a line per fact and file, on standard output.

        Of several processes each says one short line about its share: longer ones would get into each other.
        """
        if ranks.several:
            about = {"command": self.command, "engine": self.engine, "seed": self.seed, "seconds": round(self.seconds, 3)}
            share = {"rank": ranks.rank, "ranks": ranks.size, "clips": len(self.files)}
            text = f"process {ranks.rank + 1} of {ranks.size}: {len(self.files)} clips, {self._facts()}"
            sys.stdout.write((json.dumps(about | share) if as_json else text) + "\n")
        elif as_json:
            described = {name: getattr(self, name) for name in self.__slots__}
            print(json.dumps(described | {"seconds": round(self.seconds, 3)}, ensure_ascii=False))
        else:
            lines = [f"note: {note}" for note in self.notes] + [self._facts()]
            lines += [" ".join(file[kind] for kind in ("midi", "wav", "png") if kind in file) for file in self.files]
            print("\n".join(lines))

    def _facts(self) -> str:
        return f"seed {self.seed}, {self.engine}, {self.seconds:.1f} s" + (f", played by {self.synth}" if self.synth else "")


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
    """``fill`` with these bytes."""
    fill(path, lambda part: part.write_bytes(data), force)


def fill(path: Path, make: Callable[[Path], object], force: bool) -> None:
    """Whole file, also if the process is killed meanwhile, or a clear message: ``make`` writes it under another name first.

    Raises:
        BadRequest: it appeared meanwhile, or the disk does not take it.
    """
    try:
        if path.exists() and not force:
            raise FileExistsError(errno.EEXIST, "it exists already")
        replace_whole(path, make, durable=False)
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
        """Write every clip of the result, the MIDI file first; with ``--resume`` what is there stays.

        Returns:
            What the report says of each clip.
        """
        for i, (midi, clip) in enumerate(zip(paths, result.clips, strict=True)):
            files = beside(midi, self.args)
            for kind, path in files.items():
                if not (self.args.resume and path.exists()):
                    fill(path, self._maker(kind, result, i, clip, before), self.args.force)
        return described(paths, self.args, result.seed)

    def _maker(self, kind: str, result: Result, index: int, clip: Clip, before: Clip | None) -> Callable[[Path], object]:
        """What writes a file of this kind."""
        if kind == "midi":
            return lambda part: part.write_bytes(result.midi(index))
        if kind == "wav":
            assert self._sound is not None
            sound = self._sound(clip)
            return lambda part: part.write_bytes(sound)
        from musediff.render.pianoroll import save_png

        return lambda part: save_png(clip, part, before=before)


def described(paths: Sequence[Path], args: argparse.Namespace, seed: int | None) -> list[dict[str, Any]]:
    """The files of each clip of a batch, and how to make it again."""
    return [{kind: str(path) for kind, path in beside(midi, args).items()} | {"seed": seed, "variant": i} for i, midi in enumerate(paths)]
