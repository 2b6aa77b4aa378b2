"""The options that several commands share: metadata, sampling, source, output; and how their values are read."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from musediff.clip import CHOICES, RANGES
from musediff.errors import BadRequest

ANY = "any"
TINY = "tiny"
_YES, _NO = ("true", "yes", "y", "on", "1", "t"), ("false", "no", "n", "off", "0", "f")
_BARS = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
HELP = {
    "bpm": "quarters a minute",
    "audio_key": "key",
    "time_signature": "metre",
    "pitch_range": "range of the mean pitch",
    "num_measures": "bars",
    "inst": "instrument",
    "genre": "genre",
    "min_velocity": "softest note",
    "max_velocity": "loudest note",
    "track_role": "what the track is for",
    "rhythm": "straight or in triplets",
}


def add_meta(parser: argparse.ArgumentParser) -> None:
    """The 12 metadata, each optional. Left as text: the JSON file and the flags are read by the same code."""
    group = parser.add_argument_group("metadata", f"each may be left out or {ANY!r}")
    for name, text in HELP.items():
        values = ", ".join(CHOICES[name]) if name in CHOICES else "{}-{}".format(*RANGES[name])
        group.add_argument("--" + name.replace("_", "-"), metavar="X", help=f"{text}: {values}")
    chords = group.add_mutually_exclusive_group()
    chords.add_argument("--chords", dest="chord_progression", metavar="TEXT", help='"Am | F C | G7/B | N.C.", or "I–V–vi–IV" in the key')
    chords.add_argument("--chord-progression", metavar="TEXT", help="the original's form, one chord a half beat: Am-Am-Am-…")
    group.add_argument(
        "--meta-json", type=Path, metavar="FILE", help="metadata as JSON (musediff meta prints a template); flags win over it"
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the engine works. What is left out is the pipeline's own default."""
    group = parser.add_argument_group("sampling")
    seed = "the same seed gives the same bytes; drawn and printed if left out"
    group.add_argument("--seed", "--sample-seed", type=int, metavar="N", help=seed)
    group.add_argument("--steps", "--step", type=int, metavar="N", help="denoising steps; what slots writes in order has none")
    group.add_argument("--guidance", type=float, metavar="W", help="how strongly the metadata pull, 1 = no guidance")
    group.add_argument("--temperature", type=float, metavar="T", help="below 1 safer, above 1 bolder")
    group.add_argument("--density", type=float, metavar="D", help="fewer (-1) or more (1) notes than usual")
    sampler = (
        "slots: in-order (the default for new tracks: note by note) or any-order (in steps); "
        "muse: ddim (default), ancestral, dpm, or original, to compare with"
    )
    group.add_argument("--sampler", metavar="NAME", help=sampler)
    drafts = "slots, new tracks in order: one of so many is taken (default 8, fewer of long or many clips; 1: the first)"
    group.add_argument("--drafts", type=int, metavar="N", help=drafts)
    loose = "keep the muse engine's grammar out of the steps and tell what share was legal without it"
    group.add_argument("--no-grammar", dest="strict", action="store_const", const=False, help=loose)
    group.add_argument(
        "--engine", metavar="NAME", help="slots or muse (default: the one that made the weights, slots for the bundled ones)"
    )
    group.add_argument("--weights", type=Path, metavar="FOLDER", help="other weights than the bundled ones")
    group.add_argument("--model", choices=("bundled", TINY), default="bundled", help="tiny: a small random network, for a try")


def add_source(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The MIDI file that a command reads, and which part of it."""
    parser.add_argument("source", type=Path, metavar="IN.mid", nargs=nargs)
    parser.add_argument("--track", type=count, metavar="N", help="which track, counted from 1 (default: the most suitable one)")
    parser.add_argument("--first-bar", type=count, default=1, metavar="N", help="bar of the file where the clip starts, counted from 1")


def add_split(parser: argparse.ArgumentParser) -> None:
    """Clips of the packed data instead of a file, damaged first if asked: the original's settings by their names."""
    group = parser.add_argument_group(
        "evaluation", "clips of a split instead of IN.mid; --out DIR gets source/, damaged/, result/ and metrics.json"
    )
    group.add_argument("--split", choices=("train", "valid", "test"), help="which clips; test and valid are the same, as in the original")
    group.add_argument("--data", type=Path, metavar="CLIPS.npz", help="the packed data (musediff data build)")
    group.add_argument("--repair", action="store_true", help="repair the clips instead of modifying them")
    group.add_argument("--sensitivity", type=float, metavar="S", help="with --repair, as in musediff repair (default 0.5)")
    group.add_argument("--use-corruption", type=yes_or_no, nargs="?", const=True, metavar="yes|no", help="damage the clips first")
    group.add_argument("--corr-available", metavar="NAMES", help="ways to damage, of mt,mn,rn,rr (default: all)")
    group.add_argument("--corr-max", type=int, metavar="N", help="at most so many of them on a clip (default 4)")
    group.add_argument("--corr-p", type=float, metavar="P", help="each with this probability (default 0.5)")
    settings = """settings as JSON, by name or for all: '{"rn": {"p": 0.4}}' or '{"p": 0.4}'"""
    group.add_argument("--corr-kwargs", metavar="JSON", help=settings)


def add_change(parser: argparse.ArgumentParser, samples: str = "how many versions (default 1)") -> None:
    """Where a file may change, and how the result is written."""
    parser.add_argument("--bars", type=bars, metavar="3-4", help="only these bars of the clip, counted from 1: 3-4 or 1,3-4 (default: all)")
    parser.add_argument("--alone", action="store_true", help="leave the other tracks out (default: up to three go along unchanged)")
    parser.add_argument("--num-samples", type=count, metavar="N", help=samples)
    add_sampling(parser)
    add_output(parser, "--out OUT.mid or --out DIR", default=None)


def add_output(parser: argparse.ArgumentParser, usage: str, default: Path | None) -> None:
    """Where the clips go. Several clips into CLIP.mid become CLIP-1.mid, CLIP-2.mid …"""
    group = parser.add_argument_group("output", usage)
    group.add_argument("--out", "--out-dir", type=Path, default=default, required=default is None, metavar="PATH")
    group.add_argument("--wav", action="store_true", help="also the sound, beside each MIDI file")
    group.add_argument("--png", action="store_true", help="also the piano-roll, beside each MIDI file")
    group.add_argument("--force", action="store_true", help="replace files that exist")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of lines")


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def yes_or_no(text: str) -> bool:
    """The words that the original takes for true and false."""
    plain = text.strip().lower()
    if plain not in (*_YES, *_NO):
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return plain in _YES


def bars(text: str) -> frozenset[int]:
    """ "1,3-4" -> {0, 2, 3}: the user counts from 1, we from 0."""
    chosen: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = _BARS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            raise argparse.ArgumentTypeError(f"{part!r} is no bar and no range of bars: write 3-4 or 1,3-4, counted from 1")
        chosen.update(range(first - 1, last))
    return frozenset(chosen)


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        BadRequest: it cannot be read, or holds something else; with ``advice``.
    """
    try:
        said = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path}: no JSON ({error}). {advice}") from error
    if not isinstance(said, dict):
        raise BadRequest(f"{path}: no JSON object. {advice}")
    return said
