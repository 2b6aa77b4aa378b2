"""generate, modify, repair, analyze: arguments -> jobs of the pipeline -> files and a report."""

import argparse
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.cli_options import HELP, TINY, read_json
from musediff.cli_output import Report, Writer, beside, check_free, described, targets
from musediff.cli_resume import finished, seed_in
from musediff.clip import Clip, Meta
from musediff.engines.base import FIELDS
from musediff.engines.registry import DEFAULT_ENGINE
from musediff.errors import BadRequest
from musediff.job import MAX_VARIANTS, Job, Result, Sampling, Upload
from musediff.meta_json import parse_meta, to_dict
from musediff.pipeline import MusePipeline
from musediff.ranks import Ranks, from_environment

STRENGTH, SENSITIVITY = 0.4, 0.5
SAMPLING_FIELDS = ("steps", "guidance", "temperature", "density", "seed", "sampler", "strict", "drafts")
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
    """Check everything, load the weights, make this process's share of the batches and save each as soon as it is there."""
    ranks = from_environment()
    paths = targets(args.out, stem, args.num_samples or 1)
    sampling = sampling_of(args)
    seed = common_seed(sampling, args, paths[0], ranks)
    share = ranks.share(list(batches(paths, sampling, seed)))
    if not args.resume:
        check_free([file for batch in share for midi in batch.paths for file in beside(midi, args).values()], args.force)
    pipeline = load_pipeline(args)
    start = prepare(pipeline)
    if ranks.several and ranks.first:
        print(*(f"note: {note}" for note in notes), sep="\n", end="\n" * bool(notes), file=sys.stderr)
    report, left = Report(args.command, pipeline.engine_name, seed, notes=notes), []
    for batch in share:
        if args.resume and finished([beside(midi, args) for midi in batch.paths], start(batch.sampling).settings):
            report.files += described(batch.paths, args, batch.sampling.seed)
        else:
            left.append(batch)
    make(left, start, Writer(args), report, quiet=not ranks.first)
    report.files.sort(key=lambda file: file["midi"])
    report.print(args.json, ranks)


def make(left: Sequence["Batch"], start: Callable[[Sampling], Job], writer: Writer, report: Report, quiet: bool) -> None:
    """Run the jobs of these batches, and write their clips."""
    total, done = sum(len(batch.paths) for batch in left), 0
    layout = "{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]"
    with tqdm(total=total, unit="clip", file=sys.stderr, disable=quiet or None, bar_format=layout) as bar:
        for batch in left:
            result = follow(start(batch.sampling), done, len(batch.paths), bar)
            report.add(result, writer.save(result, batch.paths))
            done += len(batch.paths)
    report.synth = writer.synth


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


@dataclass(frozen=True, slots=True)
class Batch:
    """The clips of one job: the same ones, whichever process makes them."""

    paths: tuple[Path, ...]
    sampling: Sampling


def batches(paths: Sequence[Path], sampling: Sampling, seed: int) -> Iterator[Batch]:
    """As many clips a job as one takes, each job with a seed of its own."""
    for number, first in enumerate(range(0, len(paths), MAX_VARIANTS)):
        some = tuple(paths[first : first + MAX_VARIANTS])
        yield Batch(some, replace(sampling, variants=len(some), seed=derived_seed(seed, number)))


def derived_seed(seed: int, number: int) -> int:
    """Seed of one of a run's jobs: the run's own for the first, and never one twice.

    The others walk round the numbers below 2**31, from where and in what strides the run's seed decides; an odd stride meets
    each number once. torch looks at the lower 32 bits of a seed only, so these have to differ.
    """
    if number == 0:
        return seed
    start, stride = map(int, np.random.SeedSequence(seed).generate_state(2))
    place = (start + number * (stride | 1)) % 2**31
    return start % 2**31 if place == seed % 2**32 else place


def common_seed(sampling: Sampling, args: argparse.Namespace, first: Path, ranks: Ranks) -> int:
    """The seed that is asked for, that of the first clip if it is there to be resumed, else a new one.

    Raises:
        BadRequest: several processes, which would each draw their own.
    """
    if args.resume and args.force:
        raise BadRequest("--resume keeps what is there, --force replaces it: leave one of them out.")
    if sampling.seed is not None:
        return sampling.seed
    if ranks.several:
        raise BadRequest(f"{ranks.size} processes need a seed that they have in common: add --seed N.")
    there = seed_in(first) if args.resume else None
    return secrets.randbelow(2**31) if there is None else there


def asked(args: argparse.Namespace, source: Clip | None = None) -> tuple[Meta, list[str]]:
    """The metadata of the JSON file, overruled by the flags. Chords are read in the frame of the source, if there is one."""
    said = {} if args.meta_json is None else read_json(args.meta_json, "A template: musediff meta > meta.json")
    said |= {name: getattr(args, name) for name in (*HELP, "chord_progression") if getattr(args, name) is not None}
    if source is not None and said:
        said = {"audio_key": source.key, "time_signature": source.time_signature, "num_measures": source.num_measures} | said
    meta, notes = parse_meta(said)
    return meta, list(notes)


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
