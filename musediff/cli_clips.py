"""generate, modify, repair, analyze: arguments -> jobs of the pipeline -> files and a report."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.cli_options import HELP, TINY
from musediff.cli_output import Report, Writer, beside, check_free, targets
from musediff.clip import Clip, Meta
from musediff.engines.base import FIELDS
from musediff.engines.registry import DEFAULT_ENGINE
from musediff.errors import BadRequest
from musediff.job import MAX_VARIANTS, Job, Result, Sampling, Upload
from musediff.meta_json import parse_meta, to_dict
from musediff.pipeline import MusePipeline

STRENGTH, SENSITIVITY = 0.4, 0.5
SAMPLING_FIELDS = ("steps", "guidance", "temperature", "density", "seed")
SPLIT_OPTIONS = ("data", "repair", "sensitivity", "use_corruption", "corr_available", "corr_max", "corr_p", "corr_kwargs")


def generate(args: argparse.Namespace) -> None:
    meta, notes = asked(args)
    data = None if args.context is None else read_source(args.context)

    def start(pipeline: MusePipeline) -> Callable[[Sampling], Job]:
        if data is None:
            return lambda sampling: pipeline.start_generate(meta, sampling)
        upload = pipeline.open(data, args.context.name)
        notes.extend(upload.notes)
        return lambda sampling: pipeline.start_generate(meta, sampling, upload.clip)

    run(args, "clip", notes, start)


def modify(args: argparse.Namespace) -> None:
    if split_asked(args):
        import_module("musediff.cli_split").modify_split(args)
        return
    free, strength = free_fields(args), STRENGTH if args.strength is None else args.strength
    data = read_source(args.source)
    notes: list[str] = []

    def start(pipeline: MusePipeline) -> Callable[[Sampling], Job]:
        clip = open_source(pipeline, data, args, notes).clip
        meta, said = asked(args, clip)
        notes.extend(said)
        return lambda sampling: pipeline.start_modify(clip, strength, meta=meta, bars=args.bars, fields=free, sampling=sampling)

    run(args, args.source.stem, notes, start)


def split_asked(args: argparse.Namespace) -> bool:
    """Whether clips of a split are to be modified instead of a file.

    Raises:
        BadRequest: neither is named, both are, or an option of the one goes with the other.
    """
    if args.split is not None:
        if args.source is not None:
            raise BadRequest(f"Either {args.source} or --split {args.split} can be modified, not both.")
        return True
    if args.source is None:
        raise BadRequest("What shall be modified? Give a MIDI file, or --split test --data CLIPS.npz for clips of the packed data.")
    stray = given(args, SPLIT_OPTIONS)
    if stray:
        raise BadRequest(f"--{stray[0]} goes with --split only.")
    return False


def given(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Those of the options that were used, as they are written."""
    return [name.replace("_", "-") for name in names if getattr(args, name) is not None and getattr(args, name) is not False]


def free_fields(args: argparse.Namespace) -> frozenset[str]:
    """What of a note may change."""
    unknown = set(args.keep) - set(FIELDS)
    if unknown:
        raise BadRequest(f"--keep {' '.join(sorted(unknown))}: not known. Choose from {', '.join(FIELDS)}.")
    return frozenset(FIELDS) - set(args.keep)


def repair(args: argparse.Namespace) -> None:
    notes: list[str] = []
    data = read_source(args.source)

    def start(pipeline: MusePipeline) -> Callable[[Sampling], Job]:
        upload = open_source(pipeline, data, args, notes)
        return lambda sampling: pipeline.start_repair(upload.clip, bars=args.bars, sensitivity=args.sensitivity, sampling=sampling)

    run(args, args.source.stem, notes, start)


def analyze(args: argparse.Namespace) -> None:
    from musediff.midi.analyze import analyze as infer
    from musediff.midi.read import read

    score = read(read_source(args.source), args.source.name)
    found = infer(score, None if args.track is None else [args.track - 1], args.first_bar - 1)
    meta = to_dict(found.clip.meta())
    tracks = [
        {"track": i, "name": t.name, "program": t.program, "drums": t.is_drum, "notes": len(t.notes)} for i, t in enumerate(score.tracks, 1)
    ]
    notes = [*score.notes, *found.notes]
    if args.json:
        print(json.dumps({"command": "analyze", "meta": meta, "tracks": tracks, "notes": notes}, ensure_ascii=False))
        return
    for name, value in meta.items():
        print(f"{name:<18} {value}")
    for track in tracks:
        kind = "drums" if track["drums"] else f"program {track['program']}"
        print(f"track {track['track']:<12} {track['name'] or 'without a name'}, {kind}, {track['notes']} notes")
    for note in notes:
        print(f"note: {note}")


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "generate": generate,
    "modify": modify,
    "repair": repair,
    "analyze": analyze,
}


def run(args: argparse.Namespace, stem: str, notes: list[str], prepare: Callable[[MusePipeline], Callable[[Sampling], Job]]) -> None:
    """Check everything, load the weights, work batch by batch and save each as soon as it is there."""
    number = args.num_samples or 1
    paths = targets(args.out, stem, number)
    check_free([file for midi in paths for file in beside(midi, args).values()], args.force)
    sampling, pipeline = sampling_of(args), load_pipeline(args)
    start = prepare(pipeline)
    writer, report = Writer(args), Report(args.command, pipeline.engine_name, notes=notes)
    done = 0
    with tqdm(
        total=len(paths), unit="clip", file=sys.stderr, disable=None, bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]"
    ) as bar:
        for batch, size in enumerate(batches(number)):
            settings = replace(sampling, variants=size, seed=sampling.seed if report.seed is None else derived_seed(report.seed, batch))
            result = follow(start(settings), done, size, bar)
            report.add(result, writer.save(result, paths[done : done + size]))
            done += size
    report.synth = writer.synth
    report.print(args.json)


def sampling_of(args: argparse.Namespace) -> Sampling:
    """What was said of the sampling; the rest is the pipeline's own default."""
    return Sampling(**{name: getattr(args, name) for name in SAMPLING_FIELDS if getattr(args, name) is not None})


def load_pipeline(args: argparse.Namespace) -> MusePipeline:
    """The model that --engine, --weights and --model name.

    Raises:
        BadCheckpoint, BadRequest: there is no such model.
    """
    if args.weights is not None and args.weights.is_file():
        raise BadRequest(f"{args.weights} is no folder. A checkpoint of the original becomes one with: musediff convert-checkpoint")
    return MusePipeline.tiny(args.engine or DEFAULT_ENGINE) if args.model == TINY else MusePipeline.load(args.weights, args.engine)


def follow(job: Job, first: int, size: int, bar: Any) -> Result:
    """Run a job to its end; the bar counts clips, and each step is a share of this batch."""
    for progress in job:
        bar.n = first + size * progress.step / progress.steps
        bar.refresh()
    return job.result()


def batches(number: int) -> Iterator[int]:
    """9 -> 8, 1: sizes that one job takes, and exactly the number asked for."""
    for first in range(0, number, MAX_VARIANTS):
        yield min(MAX_VARIANTS, number - first)


def derived_seed(seed: int, batch: int) -> int:
    """Seed of a later batch: fixed by the run's seed, and unlike that of a run with seed + 1."""
    return int(np.random.SeedSequence([seed, batch]).generate_state(1)[0] >> 1)


def asked(args: argparse.Namespace, source: Clip | None = None) -> tuple[Meta, list[str]]:
    """The metadata of the JSON file, overruled by the flags. Chords are read in the frame of the source, if there is one."""
    said = {} if args.meta_json is None else read_json(args.meta_json)
    said |= {name: getattr(args, name) for name in (*HELP, "chord_progression") if getattr(args, name) is not None}
    if source is not None and said:
        said = {"audio_key": source.key, "time_signature": source.time_signature, "num_measures": source.num_measures} | said
    meta, notes = parse_meta(said)
    return meta, list(notes)


def read_json(path: Path) -> dict[str, Any]:
    advice = "A template: musediff meta > meta.json"
    try:
        said = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path}: no JSON ({error}). {advice}") from error
    if not isinstance(said, dict):
        raise BadRequest(f"{path}: no JSON object. {advice}")
    return said


def read_source(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}).") from error


def open_source(pipeline: MusePipeline, data: bytes, args: argparse.Namespace, notes: list[str]) -> Upload:
    """The clip with the chosen track first; what was changed on the way in is added to the notes."""
    tracks = None if args.track is None else [args.track - 1]
    upload = pipeline.open(data, args.source.name, tracks, args.first_bar - 1, args.alone)
    notes += upload.notes
    return upload
