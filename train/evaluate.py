"""Figures and pictures: python -m train.evaluate, or musediff evaluate

CLIPS …            clips of folders of MIDI files, single files or packed data (.npz): MSIM, 1NNC, CP, CV, each set against the first
--data FILE.npz    weights on held-out songs: what they make, change and repair, role by role, beside real clips
--report DIR       the same as one folder to read and listen to: tables, curves, clips of ten fixed requests
--plots DIR        pictures: losses of the run, and the token embeddings of muse weights

Under torchrun the processes share out the clips of --data; all else is the first one's work.
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
from musediff.cli_output import check_free, write
from musediff.clip import ROLES
from musediff.data import store as packed
from musediff.data.choose import SPLITS
from musediff.engines.registry import DEFAULT_ENGINE
from musediff.errors import BadRequest
from musediff.gather import joined
from musediff.metrics.table import table as figures_table
from musediff.pipeline import MusePipeline, Sampling
from musediff.ranks import Ranks, from_environment
from train.evaluate_clips import Choice, measure, report_of
from train.evaluate_kept import FOLDER, Kept, forget
from train.evaluate_model import STEPS, Settings, evaluate_role
from train.evaluate_sets import training_runs
from train.evaluate_tables import tables
from train.report_document import to_markdown

CLIPS = {"model": 200, "sets": 1000}
STEP_CLIPS = 40
FIGURES = "figures.json"
FILES = (FIGURES, "report.md", "report.html")


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
    if args.report and not args.data:
        raise BadRequest("--report is about weights on held-out songs: give them with --data FILE.npz.")
    if args.plots and len(args.weights or ()) > 1:
        raise BadRequest("--plots is about one run: give one --weights.")
    ranks = from_environment()
    if ranks.several and not args.data:
        if not ranks.first:
            return
        print("note: one process does this; the others are not needed.", file=sys.stderr)
    if args.resume and (args.report is None or args.force):
        raise BadRequest("--resume goes on in the folder of --report, and keeps what was made there: --force makes it anew.")
    check_free([args.out] if args.out else [], args.force)
    check_free([args.report / name for name in (*FILES, FOLDER)] if args.report else [], args.force or args.resume)
    if args.sets:
        of_sets(args)
    elif args.data:
        of_model(args, ranks)
    if args.plots and ranks.first:
        from train.evaluate_plots import draw  # brings matplotlib

        for path in draw(args.plots, args.weights[0] if args.weights else None, args.run, args.force):
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


def of_model(args: argparse.Namespace, ranks: Ranks) -> None:
    """Role by role; the report on disk grows with it. No process begins before all have found their way clear."""
    settings, store = settings_of(args), packed.load(args.data)
    models = {name: MusePipeline.load(folder, args.engine) for name, folder in models_of(args).items()}
    about = {name: model.with_steps(model.description) for name, model in models.items()}
    said = {"clips": settings.clips, "seeds": settings.seeds, "repairs": settings.repairs, "strengths": settings.strengths}
    report: dict[str, Any] = {"command": "evaluate", "data": args.data.name, "models": about, "settings": said, "roles": {}}
    files = [path for path in (args.out, args.report and args.report / FIGURES) if path is not None]
    made = args.report and args.report / FOLDER
    if ranks.first and args.force and made is not None:
        forget(made)  # the others look into it after all have met
    with joined(ranks) as gather:
        kept = Kept(made, ranks, args.resume)
        index = training_runs(store) if ranks.first else None
        for role in settings.roles:
            found = evaluate_role(models, store, role, settings, index, ranks, gather, kept)
            if found and ranks.first:
                report["roles"][role] = found
                for path in files:
                    save(path, report)
    if not ranks.first:
        return
    if not report["roles"]:
        raise BadRequest(f"{args.data}: no held-out clip of 8 bars in these roles and corpora.")
    if args.report is not None:
        from train.report import write_report  # brings matplotlib and the synthesizer

        print(write_report(args.report, report, models), file=sys.stderr)
    print(json.dumps(report) if args.json else to_markdown(tables(report["roles"])))


def models_of(args: argparse.Namespace) -> dict[str, Path | None]:
    """Folders of weights by the names of their columns.

    Raises:
        BadRequest: one is given twice.
    """
    folders = args.weights or [None]
    if len(set(folders)) < len(folders):
        raise BadRequest("--weights: the same folder is given twice.")
    return {f"bundled {args.engine or DEFAULT_ENGINE}" if folder is None else str(folder): folder for folder in folders}


def settings_of(args: argparse.Namespace) -> Settings:
    sampling = {name: getattr(args, name) for name in ("steps", "guidance", "temperature") if getattr(args, name) is not None}
    return Settings(
        clips=args.clips or CLIPS["model"], repairs=args.repairs, strengths=args.strengths,
        step_clips=args.step_clips if args.report else 0, seeds=args.seeds, sampling=Sampling(**sampling),
        corpora=tuple(args.corpora or ()), roles=tuple(args.roles or Settings().roles),
    )  # fmt: skip


def save(path: Path, report: dict[str, Any]) -> None:
    write(path, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode(), force=True)


def from_zero(text: str) -> int:
    """Any number of clips, none included."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def names(text: str) -> list[str]:
    """ "a,b" -> a, b"""
    return [name.strip() for name in text.split(",") if name.strip()]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="musediff evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("sets", nargs="*", type=Path, metavar="CLIPS", help="a folder of MIDI files, a MIDI file or packed data")
    parser.add_argument("--data", type=Path, metavar="FILE.npz", help="packed data with the held-out songs for the weights")
    several = "default: the bundled ones; repeat it for several beside each other, as a baseline"
    parser.add_argument("--weights", type=Path, action="append", metavar="FOLDER", help=several)
    parser.add_argument("--engine", metavar="NAME", help="default: the one that made the weights, slots for the bundled ones")
    report = "write report.md, report.html and all that belongs to them into this folder"
    parser.add_argument("--report", type=Path, metavar="DIR", help=report)
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write the pictures there")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder with metrics.jsonl (default: the one with the weights in it)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures there too")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    goes_on = "go on where the same --report was stopped, or give it more clips, rounds or weights: what was made is not made again"
    parser.add_argument("--resume", action="store_true", help=goes_on)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    which = parser.add_argument_group("which clips", "of packed data")
    which.add_argument("--split", choices=tuple(SPLITS), default="valid", help="of packed sets (default valid, which is test)")
    which.add_argument("--clips", type=count, metavar="N", help="at most so many of a packed set (default 1000), or of a role (200)")
    which.add_argument("--roles", type=names, metavar="A,B", help=f"{', '.join(ROLES)} (default: all of a set, all but riff of a model)")
    which.add_argument("--corpora", type=names, metavar="A,B", help="default: all, but not groove for a model")
    model = parser.add_argument_group("how weights are measured", "with --data")
    usual = Settings()
    rounds = "rounds with other clips and other noise: mean and spread (default 1)"
    model.add_argument("--seeds", type=count, default=usual.seeds, metavar="N", help=rounds)
    repairs = f"clips of a role to damage and repair, and to refill bars of (default {usual.repairs})"
    model.add_argument("--repairs", type=from_zero, default=usual.repairs, metavar="N", help=repairs)
    strengths = f"clips of a role to change at ten strengths (default {usual.strengths})"
    model.add_argument("--strengths", type=from_zero, default=usual.strengths, metavar="N", help=strengths)
    curve = f"with --report: clips of a role to make with {', '.join(map(str, STEPS))} steps (default {STEP_CLIPS})"
    model.add_argument("--step-clips", type=from_zero, default=STEP_CLIPS, metavar="N", help=curve)
    model.add_argument("--steps", "--step", type=int, metavar="N", help="denoising steps")
    model.add_argument("--guidance", type=float, metavar="W")
    model.add_argument("--temperature", type=float, metavar="T")
    return parser


if __name__ == "__main__":
    sys.exit(command(["evaluate", *sys.argv[1:]]))  # with its exit codes
