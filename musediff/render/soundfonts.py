"""Where a General MIDI soundfont may lie on this machine -> the fonts that are there, best first, with their licences.

Nothing is fetched: a font is the user's, the project's, the system's or part of an installed wheel.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from musediff.errors import BadSoundfont

VARIABLE = "SOUNDFONT"
SUFFIXES = (".sf2", ".sf3")
# Beside the package in a checkout, which is also where `pip install -e .` points.
PROJECT_FOLDER = Path(__file__).parents[2] / "soundfonts"
SHIPPED = "FluidR3Mono_MuseDiff.sf3"
UNKNOWN_LICENCE = "licence not known to MuseDiff"
FLUID_LICENCE = "MIT (Frank Wen, Michael Cowgill and others)"


@dataclass(frozen=True, slots=True)
class Soundfont:
    """A file that exists, where it came from, and its licence."""

    path: Path
    origin: str
    licence: str = UNKNOWN_LICENCE


# Paths of Debian and Ubuntu, licences from the packages' copyright files.
SYSTEM = (
    Soundfont(Path("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3"), "system", FLUID_LICENCE),
    Soundfont(Path("/usr/share/sounds/sf3/default-GM.sf3"), "system"),
    Soundfont(Path("/usr/share/sounds/sf2/default-GM.sf2"), "system"),
)


def asked_for(path: Path | None = None) -> Soundfont | None:
    """The font named by the caller, else by the ``SOUNDFONT`` variable, else None.

    Raises:
        BadSoundfont: the named file does not exist or is no .sf2 or .sf3.
    """
    variable = os.environ.get(VARIABLE)
    if path is None and not variable:
        return None
    found, origin = (path, "chosen") if path is not None else (Path(variable or ""), f"{VARIABLE} variable")
    if not found.is_file() or found.suffix.lower() not in SUFFIXES:
        what = "does not exist" if not found.is_file() else "is not an .sf2 or .sf3 file"
        raise BadSoundfont(f"The soundfont {found} ({origin}) {what}. Name another one, or none to have one found.")
    return Soundfont(found, origin)


def installed(folder: Path = PROJECT_FOLDER, system: Sequence[Soundfont] = SYSTEM) -> tuple[Soundfont, ...]:
    """The fonts that exist: the project's folder (the user's own before ours), the system's, the one in the pretty_midi wheel."""
    own = sorted((p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES), key=lambda p: (p.name == SHIPPED, p.name))
    project = (Soundfont(p, "project", FLUID_LICENCE if p.name == SHIPPED else UNKNOWN_LICENCE) for p in own)
    return tuple(font for font in (*project, *system, *in_wheel()) if font.path.is_file())


def in_wheel() -> tuple[Soundfont, ...]:
    """TimGM6mb.sf2 of an installed pretty_midi, which is not imported for it. May be used, not shipped: GPL 2."""
    spec = find_spec("pretty_midi")
    if spec is None or spec.origin is None:
        return ()
    return (Soundfont(Path(spec.origin).parent / "TimGM6mb.sf2", "pretty_midi", "GPL-2.0 (Tim Brechbill)"),)
