"""The command line: arguments -> pipeline, corpora, trainer or page -> files, and an exit code.

0 done, 1 our own mistake (with a traceback), 2 what the user can mend (one line), 130 interrupted.
Only the parser is built here; torch and the rest are imported by the command that needs them.
"""

import argparse
import json
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from musediff import cli_options as options
from musediff.errors import BadRequest, MuseError

ROOT = Path(__file__).parents[1]
# Programs with arguments of their own: everything after the name is theirs.
PROGRAMS = {"train": "train a model (python -m train)", "evaluate": "measure clips, or a model on held-out songs", "app": "start the page"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code. A wrong argument leaves through ``SystemExit(2)``, as argparse does.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch: a waiting thread must not keep others from the processor
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in PROGRAMS:
        return guarded(lambda: run_program(words[0], words[1:]))
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for both, see app.py
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    return guarded(lambda: run_command(build_parser().parse_args(with_dashes(words))))


def guarded(run: Callable[[], int | None]) -> int:
    """The exit code of a program; what the user can mend is one line and 2, an interruption 130."""
    try:
        return run() or 0
    except MuseError as error:
        print(f"musediff: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("musediff: interrupted", file=sys.stderr)
        return 130


def with_dashes(words: list[str]) -> list[str]:
    """``--audio_key=aminor`` -> ``--audio-key=aminor``: the original's spelling works everywhere."""
    return [
        flag.replace("_", "-") + equals + value if flag.startswith("--") else word
        for word in words
        for flag, equals, value in [word.partition("=")]
    ]


def run_command(args: argparse.Namespace) -> int:
    if args.command == "meta":
        from musediff.meta_json import template

        print(json.dumps(template(), indent=2))
    elif args.command == "data":
        build_data(args)
    elif args.command == "convert-checkpoint":
        import_module("musediff.cli_convert").convert_checkpoint(args)
    else:
        import_module("musediff.cli_clips").COMMANDS[args.command](args)
    return 0


def build_data(args: argparse.Namespace) -> None:
    """``data build``: corpora -> one packed file and a table of what is in it.

    Raises:
        BadRequest: names and sources do not pair up, or the file exists.
    """
    from musediff.data.build import build, sources

    if len(args.corpus) != len(args.source) or len(set(args.corpus)) != len(args.corpus):
        raise BadRequest(f"{len(args.corpus)} --corpus and {len(args.source)} --source: give each corpus once, and its source with it.")
    corpora = dict(zip(args.corpus, args.source, strict=True)) | (sources(args.all) if args.all else {})
    if not corpora:
        raise BadRequest(
            f"{args.all}: no known archive in this folder."
            if args.all
            else "Say what to pack: --corpus NAME --source PATH, or --all FOLDER."
        )
    if args.out.exists() and not args.force:
        raise BadRequest(f"{args.out} exists already. Choose another --out or add --force to replace it.")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    build(corpora, args.out, args.processes or os.cpu_count() or 1)


def run_program(name: str, words: list[str]) -> int:
    """Hand over to the trainer, the evaluation or the page, as if they had been started themselves."""
    sys.path.insert(0, str(ROOT))  # started as the installed script, the checkout is not where Python looks
    if name == "app":
        sys.argv = [str(ROOT / "app.py"), *words]
        runpy.run_path(sys.argv[0], run_name="__main__")
        return 0
    return int(import_module(f"train.{name}").main(words) or 0)


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(prog="musediff", description="Compose and repair MIDI clips with diffusion.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    generate = commands.add_parser("generate", help="compose clips from metadata", allow_abbrev=False)
    options.add_meta(generate)
    context = "add a track to the main track of this file; its bars, key and chords hold"
    generate.add_argument("--context", type=Path, metavar="IN.mid", help=context)
    options.add_sampling(generate)
    generate.add_argument("--num-samples", type=options.count, default=1, metavar="N", help="how many clips, any number (default 1)")
    options.add_output(generate, "--out DIR or --out CLIP.mid", default=Path("outputs"))

    modify = commands.add_parser("modify", help="change a MIDI file as far as --strength says", allow_abbrev=False)
    options.add_source(modify, "?")
    modify.add_argument("--strength", type=float, metavar="S", help="share of the notes that change, 0 to 1 (default 0.4)")
    modify.add_argument("--keep", nargs="+", default=[], metavar="WHAT", help="leave this of every note as it is: rhythm, pitch, dynamics")
    options.add_split(modify)
    options.add_meta(modify)
    options.add_change(modify, "how many versions (default 1), or clips of a split (default 50, if there are so many)")

    repair = commands.add_parser("repair", help="find the wrong notes of a MIDI file and replace them", allow_abbrev=False)
    options.add_source(repair)
    sensitivity = "how readily a note is taken for wrong, 0 to 1 (default 0.5)"
    repair.add_argument("--sensitivity", type=float, default=0.5, metavar="S", help=sensitivity)
    options.add_change(repair)
    kept = "go on where the same command stopped: what is there stays, if it was made with the same settings"
    for command in (generate, modify, repair):
        command.add_argument("--resume", action="store_true", help=kept)

    analyze = commands.add_parser("analyze", help="infer the 12 metadata of a MIDI file", allow_abbrev=False)
    options.add_source(analyze)
    analyze.add_argument("--json", action="store_true", help="print one JSON object")

    commands.add_parser("meta", help="print a template for --meta-json", allow_abbrev=False)
    add_convert(commands.add_parser("convert-checkpoint", help="make a checkpoint of the original usable here", allow_abbrev=False))
    add_data(commands.add_parser("data", help="pack corpora for training", allow_abbrev=False))
    for name, text in PROGRAMS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def add_convert(convert: argparse.ArgumentParser) -> None:
    beside = "its settings (default: training_args.json beside the file)"
    convert.add_argument("original", type=Path, metavar="ORIGINAL.pt", help="model_*.pt or ema_*.pt")
    convert.add_argument("--training-args", "--model-config-json", type=Path, metavar="FILE", help=beside)
    convert.add_argument("--out", type=Path, required=True, metavar="DIR", help="for --weights of the other commands")
    which = "which copy of the embedding table counts where the file has two: the head's, as the original loads it, or both as they are"
    choices = ("original", "as_trained")
    convert.add_argument("--embedding", choices=choices, default=choices[0], help=which)
    convert.add_argument("--heads", type=options.count, default=12, metavar="N", help="attention heads, which no tensor shows (default 12)")
    convert.add_argument("--force", action="store_true", help="replace what is in the folder")
    convert.add_argument("--json", action="store_true", help="print one JSON object")


def add_data(data: argparse.ArgumentParser) -> None:
    build = data.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "build",
        help="corpora -> one .npz",
        allow_abbrev=False,
        description="Every --corpus NAME goes with the --source PATH of the same place.",
    )
    build.add_argument("--corpus", action="append", default=[], metavar="NAME", help="kind of the corpus; repeat for several")
    build.add_argument("--source", action="append", default=[], type=Path, metavar="PATH", help="its folder or archive")
    build.add_argument("--all", type=Path, metavar="FOLDER", help="every known archive in this folder instead")
    build.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    build.add_argument("--processes", type=options.count, metavar="N", help="default: one a core")
    build.add_argument("--force", action="store_true", help="replace the file")
