"""modify --split: clips of the packed data -> damaged if asked -> modified or repaired -> MIDI files and metrics.json.

What the original's ``modification`` does with a split of its data, for as many clips as wanted. The clips are the same
whatever the seed; what is done to one depends on the seed and its number alone. Several processes share the clips out;
the first one gathers what came of them for the figures.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.cli_clips import common_seed, free_fields, given, load_pipeline, sampling_of
from musediff.cli_corruption import damage_of
from musediff.cli_options import HELP
from musediff.cli_output import check_free, write
from musediff.cli_resume import check_same, json_in
from musediff.cli_split_run import Done, Run, as_written, common, how_much, report, save, with_notes
from musediff.clip import ROLES, Clip, Note
from musediff.data import store as packed
from musediff.data.choose import SPLITS, choose
from musediff.errors import BadMidi, BadRequest
from musediff.gather import joined
from musediff.job import Job, Sampling
from musediff.metrics.compare import by_name
from musediff.metrics.repair import note_f1
from musediff.metrics.similarity import msim, vectors
from musediff.midi.read import read
from musediff.midi.write import write as midi_bytes
from musediff.pipeline import MusePipeline
from musediff.ranks import from_environment

CLIPS = 50
TOLERANCE_TICKS = 12  # an engine's grid may move an onset by half a step: at most 11.25 ticks, 1/256 of a bar of 12/8
FILE_OPTIONS = ("track", "bars", "alone", "wav", "png", "meta_json", "chord_progression", *HELP)


def modify_split(args: argparse.Namespace) -> None:
    """Run the command; an interruption keeps what is done.

    Raises:
        BadRequest, BadData, BadCheckpoint: before any work, or if every single clip was refused.
    """
    check_options(args)
    ranks, way, sampling = from_environment(), damage_of(args), sampling_of(args)
    store = packed.load(args.data)
    rows = chosen(store, args).tolist()
    names = [f"{i:0{len(str(len(rows)))}}.mid" for i in range(1, len(rows) + 1)]
    seed = common_seed(sampling, args, args.out / "result" / names[0], ranks)
    pipeline = load_pipeline(args)
    run = Run(args, way, store, rows, names, starter(pipeline, args), sampling, seed, pipeline.engine_name)
    share = ranks.share(range(len(rows)))
    check_there(run, share)
    try:
        with joined(ranks) as gather:
            make(run, share, quiet=not ranks.first)
            parts = gather(run.done)
        run.done = sorted((done for part in parts for done in part), key=lambda done: done.index)
    finally:
        if ranks.first and run.changed:
            save(run)
    if not ranks.first:
        return
    if not run.changed:
        raise BadRequest(run.refused[0]["reason"])
    report(run)


def make(run: Run, share: Sequence[int], quiet: bool) -> None:
    with tqdm(share, unit="clip", file=sys.stderr, disable=quiet or None) as bar:
        for index in bar:
            run.done.append(work(run, index))


def check_there(run: Run, share: Sequence[int]) -> None:
    """Nothing is in the way, or with ``--resume`` only what this command would make again; folders are made.

    Raises:
        BadRequest: naming the file that is.
    """
    args, metrics = run.args, run.args.out / "metrics.json"
    check_free([run.path(kind, index) for kind in run.kinds for index in share] + [metrics], args.force or args.resume)
    if not args.resume:
        return
    other = f"is there, but of other settings or data: it cannot be resumed. Choose another --out, or move {args.out} away."
    there = json_in(metrics) if metrics.exists() else common(run)
    if any(there.get(name) != value for name, value in common(run).items()):
        raise BadRequest(f"{metrics} {other}")
    for index in share:
        clips = run.before(index) if any(run.path(kind, index).exists() for kind in run.kinds) else {}
        for kind in run.kinds[:-1] if clips else ():
            path = run.path(kind, index)
            if path.exists() and path.read_bytes() != midi_bytes(clips[kind]):
                raise BadRequest(f"{path} {other}")
        if run.path("result", index).exists():
            check_same(run.path("result", index), run.job(clips["damaged"], index).settings)


def check_options(args: argparse.Namespace) -> None:
    """Refuse what would be passed over in silence.

    Raises:
        BadRequest: an option that goes with a file, or not with the others.
    """
    if args.data is None:
        raise BadRequest("--split needs --data CLIPS.npz. Make one with: musediff data build")
    stray = given(args, FILE_OPTIONS) + ["first-bar"] * (args.first_bar != 1)
    if stray:
        raise BadRequest(f"--{stray[0]} goes with a MIDI file, not with --split.")
    if args.repair and (args.strength is not None or args.keep):
        raise BadRequest("--repair finds out itself what to change: leave --strength and --keep out, or take --sensitivity.")
    if args.sensitivity is not None and not args.repair:
        raise BadRequest("--sensitivity goes with --repair. Without it, --strength says how much changes.")


def chosen(store: packed.Store, args: argparse.Namespace) -> np.ndarray:
    """Rows of the clips, exactly as many as asked."""
    rows = choose(store, SPLITS[args.split], np.random.default_rng(0))
    if len(rows) < (args.num_samples or 1):
        raise BadRequest(f"{args.data}: the split {args.split} has {len(rows)} clips, {args.num_samples or 1} asked.")
    return rows[: args.num_samples or CLIPS]


def starter(pipeline: MusePipeline, args: argparse.Namespace) -> Callable[[Clip, Sampling], Job]:
    """A clip and its sampling -> the job that changes it."""
    amount, free = how_much(args), free_fields(args)
    if args.repair:
        return lambda clip, sampling: pipeline.start_repair(clip, sensitivity=amount, sampling=sampling)
    return lambda clip, sampling: pipeline.start_modify(clip, amount, fields=free, sampling=sampling)


def described(store: packed.Store, row: int) -> dict[str, Any]:
    """Where a clip is from."""
    first, bars = int(store.clip_bar[row]) + 1, int(store.clip_bars[row])
    song = str(store.song_name[store.clip_song[row]])
    return {"song": song, "first_bar": first, "bars": bars, "role": ROLES[store.clip_role[row]]}


def work(run: Run, index: int) -> Done:
    """One clip, to its files. A clip that the engine cannot take is noted, with the reason."""
    about = {"name": run.names[index], **described(run.store, run.rows[index])}
    clips = run.before(index)
    try:
        job = run.job(clips["damaged"], index)
    except BadRequest as error:
        return Done(index, {**about, "reason": str(error)}, {})
    for kind in run.kinds[:-1]:
        if not (run.args.resume and run.path(kind, index).exists()):
            write(run.path(kind, index), midi_bytes(clips[kind]), run.args.force)
    path, seconds = run.path("result", index), 0.0
    if run.args.resume and path.exists():
        notes = notes_in(path)
    else:
        result = job.run()
        notes, seconds = result.clips[0].tracks[0].notes, result.seconds
        write(path, result.midi(), run.args.force)
    clips["result"] = as_written(with_notes(clips["damaged"], notes))
    rows = [measured(clips["source"], clips[kind], when) for kind, when in (("damaged", "before"), ("result", "after"))]
    return Done(index, {**about, **rows[0], **rows[1]}, clips, seconds)


def notes_in(midi: Path) -> tuple[Note, ...]:
    """All notes of a result that was written earlier; a file without any is no MIDI file to others, but may be one of ours."""
    try:
        return tuple(note for track in read(midi.read_bytes(), str(midi)).tracks for note in track.notes)
    except BadMidi:
        return ()


def measured(source: Clip, clip: Clip, when: str) -> dict[str, Any]:
    """MSIM and note F1 of a clip to the one it was made from."""
    notes, truth = clip.tracks[0].notes, source.tracks[0].notes
    similarity = msim(vectors(truth, source), vectors(notes, clip))
    f1 = note_f1(notes, truth, tolerance_ticks=TOLERANCE_TICKS).f1
    return {f"notes_{when}": len(notes), f"msim_{when}": by_name(similarity), f"f1_{when}": round(f1, 4)}
