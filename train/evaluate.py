"""Figures and pictures: python -m train.evaluate, or musediff evaluate

CLIPS …            clips of folders of MIDI files, single files or packed data (.npz): MSIM, 1NNC, CP, CV, each set against the first
--data FILE.npz    weights on held-out songs: what they make and repair, role by role
--plots DIR        pictures: losses of the run, and the token embeddings of muse weights
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # see app.py

from musediff.cli import main as command
from musediff.cli_options import count
from musediff.cli_output import check_free
from musediff.clip import ROLES
from musediff.data import store as packed
from musediff.data.choose import SPLITS
from musediff.errors import BadRequest
from musediff.metrics.table import table as figures_table
from musediff.pipeline import MusePipeline, Sampling
from train.evaluate_clips import Choice, measure, report_of
from train.evaluate_model import Settings, evaluate_role, table

CLIPS = {"model": 200, "sets": 1000}


def main(arguments: list[str] | None = None) -> None:
    """Do what is asked.

    Raises:
        MuseError: what the user can mend.
    """
    args = build_parser().parse_args(arguments)
    if not (args.sets or args.data or args.plots):
        raise BadRequest("What shall be measured? Give folders of MIDI files or packed data, --data for weights, or --plots DIR.")
    if args.sets and args.data:
        raise BadRequest("--data goes with weights; packed clips are compared by naming the file like a folder, without --data.")
    unknown = [role for role in args.roles or () if role not in ROLES]
    if unknown:
        raise BadRequest(f"--roles: {unknown[0]!r} is not known. Choose from {', '.join(ROLES)}.")
    if args.out is not None:
        check_free([args.out], args.force)
    if args.sets:
        of_sets(args)
    elif args.data:
        of_model(args)
    if args.plots:
        from train.evaluate_plots import draw  # brings matplotlib

        for path in draw(args.plots, args.weights, args.run, args.force):
            print(path, file=sys.stderr if args.json else sys.stdout)


def of_sets(args: argparse.Namespace) -> None:
    """Each set, and beside the first one."""
    roles = tuple(args.roles or ())
    found = measure(args.sets, Choice(SPLITS[args.split], args.clips or CLIPS["sets"], roles, tuple(args.corpora or ())))
    report = report_of(found)
    if args.out is not None:
        save(args.out, report)
    if args.json:
        print(json.dumps(report, ensure_ascii=False))
        return
    for note in found.notes:
        print(f"note: {note}")
    print(figures_table(found.figures, found.reference))


def of_model(args: argparse.Namespace) -> None:
    """Role by role; the report on disk grows with it."""
    said = {name: getattr(args, name) for name in ("steps", "guidance", "temperature") if getattr(args, name) is not None}
    roles = tuple(args.roles or Settings().roles)
    settings = Settings(args.clips or CLIPS["model"], args.repairs, Sampling(**said), tuple(args.corpora or ()), roles)
    pipeline, store = MusePipeline.load(args.weights, args.engine), packed.load(args.data)
    report: dict[str, Any] = {}
    for role in settings.roles:
        report[role] = evaluate_role(pipeline, store, role, settings)
        if args.out is not None:
            save(args.out, report)
    print(json.dumps(report) if args.json else table(report))


def save(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def names(text: str) -> list[str]:
    """ "a,b" -> a, b"""
    return [name.strip() for name in text.split(",") if name.strip()]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="musediff evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("sets", nargs="*", type=Path, metavar="CLIPS", help="a folder of MIDI files, a MIDI file or packed data")
    parser.add_argument("--data", type=Path, metavar="FILE.npz", help="packed data with the held-out songs for the weights")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="default: the bundled ones")
    parser.add_argument("--engine", metavar="NAME", help="default: the one that made the weights, slots for the bundled ones")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write the pictures there")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder with metrics.jsonl (default: the one with the weights in it)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures there too")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    which = parser.add_argument_group("which clips", "of packed data")
    which.add_argument("--split", choices=tuple(SPLITS), default="valid", help="of packed sets (default valid, which is test)")
    which.add_argument("--clips", type=count, metavar="N", help="at most so many of a packed set (default 1000), or of a role (200)")
    which.add_argument("--roles", type=names, metavar="A,B", help=f"{', '.join(ROLES)} (default: all of a set, all but riff of a model)")
    which.add_argument("--corpora", type=names, metavar="A,B", help="default: all, but not groove for a model")
    model = parser.add_argument_group("how the weights are used")
    model.add_argument("--repairs", type=int, default=Settings().repairs, metavar="N", help="clips of a role to damage and repair")
    model.add_argument("--steps", "--step", type=int, metavar="N", help="denoising steps")
    model.add_argument("--guidance", type=float, metavar="W")
    model.add_argument("--temperature", type=float, metavar="T")
    return parser


if __name__ == "__main__":
    sys.exit(command(["evaluate", *sys.argv[1:]]))  # with its exit codes
