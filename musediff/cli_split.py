"""modify --split: clips of the packed data -> damaged if asked -> modified or repaired -> MIDI files and metrics.json.

What the original's ``modification`` does with a split of its data, for as many clips as wanted. The clips are the same
whatever the seed; what is done to one depends on the seed and its number alone.
"""

import argparse
import json
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.cli_clips import SENSITIVITY, STRENGTH, derived_seed, free_fields, given, load_pipeline, sampling_of
from musediff.cli_corruption import Damage, damage_of
from musediff.cli_options import HELP
from musediff.cli_output import check_free, write
from musediff.clip import ROLES, Clip
from musediff.data import store as packed
from musediff.data.choose import SPLITS, choose
from musediff.data.clips import clip_at
from musediff.errors import BadRequest
from musediff.job import Job, Sampling
from musediff.metrics.compare import Figures, by_name, compare
from musediff.metrics.repair import note_f1
from musediff.metrics.similarity import msim, vectors
from musediff.metrics.table import table
from musediff.midi.write import playable
from musediff.midi.write import write as midi_bytes
from musediff.pipeline import MusePipeline
from musediff.tokens.damage import damage_clip

CLIPS = 50
TOLERANCE_TICKS = 12  # an engine's grid may move an onset by half a step: at most 11.25 ticks, 1/256 of a bar of 12/8
FILE_OPTIONS = ("track", "bars", "alone", "wav", "png", "meta_json", "chord_progression", *HELP)


@dataclass(slots=True)
class Run:
    """What the clips have in common, and what became of them so far: one row and one clip of each kind per clip that is done."""

    args: argparse.Namespace
    way: Damage | None
    start: Callable[[Clip, Sampling], Job]
    sampling: Sampling
    engine: str
    seed: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    clips: dict[str, list[Clip]] = field(default_factory=lambda: {"source": [], "damaged": [], "result": []})
    seconds: float = 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """The folders that are written."""
        return ("source", "result") if self.way is None else ("source", "damaged", "result")


def modify_split(args: argparse.Namespace) -> None:
    """Run the command; an interruption keeps what is done.

    Raises:
        BadRequest, BadData, BadCheckpoint: before any work, or if every single clip was refused.
    """
    check_options(args)
    way, sampling = damage_of(args), sampling_of(args)
    store = packed.load(args.data)
    rows = chosen(store, args)
    width = len(str(len(rows)))
    names = [f"{i:0{width}}.mid" for i in range(1, len(rows) + 1)]
    pipeline = load_pipeline(args)
    seed = secrets.randbelow(2**31) if sampling.seed is None else sampling.seed
    run = Run(args, way, starter(pipeline, args), sampling, pipeline.engine_name, seed)
    check_free([args.out / kind / name for kind in run.kinds for name in names] + [args.out / "metrics.json"], args.force)
    try:
        with tqdm(total=len(rows), unit="clip", file=sys.stderr, disable=None) as bar:
            for i, (row, name) in enumerate(zip(rows.tolist(), names, strict=True)):
                work(run, i, name, described(store, row), as_written(clip_at(store, [row])), bar)
    finally:
        if run.rows:
            save(run)
    if not run.rows:
        raise BadRequest(run.refused[0]["reason"])
    report(run)


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


def how_much(args: argparse.Namespace) -> float:
    """The sensitivity of a repair, else the strength."""
    said, usual = (args.sensitivity, SENSITIVITY) if args.repair else (args.strength, STRENGTH)
    return usual if said is None else said


def described(store: packed.Store, row: int) -> dict[str, Any]:
    """Where a clip is from."""
    first, bars = int(store.clip_bar[row]) + 1, int(store.clip_bars[row])
    song = str(store.song_name[store.clip_song[row]])
    return {"song": song, "first_bar": first, "bars": bars, "role": ROLES[store.clip_role[row]]}


def work(run: Run, index: int, name: str, about: dict[str, Any], source: Clip, bar: Any) -> None:
    """One clip, to its files. A clip that the engine cannot take is noted, with the reason."""
    damaged = source if run.way is None else as_written(damage_clip(source, np.random.default_rng((run.seed, index)), 0, run.way))
    try:
        job = run.start(damaged, replace(run.sampling, seed=derived_seed(run.seed, index)))
    except BadRequest as error:
        run.refused.append({"name": name, **about, "reason": str(error)})
        bar.update()
        return
    result = job.run()
    bar.update()
    run.seconds += result.seconds
    clips = {"source": source, "damaged": damaged, "result": result.clips[0]}
    for kind in run.kinds:
        data = result.midi() if kind == "result" else midi_bytes(clips[kind])
        write(run.args.out / kind / name, data, run.args.force)
    for kind, clip in clips.items():
        run.clips[kind].append(clip)
    run.rows.append({"name": name, **about, **measured(source, damaged, "before"), **measured(source, result.clips[0], "after")})


def as_written(clip: Clip) -> Clip:
    """Without notes that no file can hold, so that what is measured is what is in the files."""
    part = clip.tracks[0]
    return replace(clip, tracks=(replace(part, notes=playable(part.notes)),))


def measured(source: Clip, clip: Clip, when: str) -> dict[str, Any]:
    """MSIM and note F1 of a clip to the one it was made from."""
    notes, truth = clip.tracks[0].notes, source.tracks[0].notes
    similarity = msim(vectors(truth, source), vectors(notes, clip))
    f1 = note_f1(notes, truth, tolerance_ticks=TOLERANCE_TICKS).f1
    return {f"notes_{when}": len(notes), f"msim_{when}": by_name(similarity), f"f1_{when}": round(f1, 4)}


def figures(run: Run) -> dict[str, Figures]:
    """Of the damaged clips, if there are any, and of the results, beside the sources and their metadata."""
    source = run.clips["source"]
    asked, partner = [clip.meta() for clip in source], {i: i for i in range(len(source))}
    return {kind: compare(run.clips[kind], asked, source, partner) for kind in run.kinds[1:]}


def summary(run: Run) -> dict[str, Any]:
    """The figures of all clips together, for JSON."""
    f1 = {name: round(float(np.mean([row[name] for row in run.rows])), 4) for name in ("f1_before", "f1_after")}
    return {**f1, **{kind: found.to_dict() for kind, found in figures(run).items()}}


def save(run: Run) -> None:
    """metrics.json: settings, summary, a row per clip."""
    names = ("split", "steps", "guidance", "temperature", "density", "keep", "corr_available", "corr_max", "corr_p", "corr_kwargs")
    said = {name: getattr(run.args, name) for name in names if getattr(run.args, name) not in (None, [])}
    amount = {"sensitivity" if run.args.repair else "strength": how_much(run.args)}
    settings = {"data": run.args.data.name, "repair": run.args.repair, "damaged": run.way is not None, **amount, **said}
    whole = {
        "engine": run.engine,
        "seed": run.seed,
        "settings": settings,
        "summary": summary(run),
        "clips": run.rows,
        "refused": run.refused,
    }
    write(run.args.out / "metrics.json", (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode(), run.args.force)


def report(run: Run) -> None:
    """One JSON object, or a table, on standard output."""
    notes = [f"{len(run.refused)} clips were refused, the first because: {run.refused[0]['reason']}"] if run.refused else []
    if run.args.json:
        about = {"command": "modify", "engine": run.engine, "seed": run.seed, "seconds": round(run.seconds, 3), "notes": notes}
        print(json.dumps(about | {"out": str(run.args.out), "clips": len(run.rows), "summary": summary(run)}, ensure_ascii=False))
        return
    for note in notes:
        print(f"note: {note}")
    print(f"seed {run.seed}, {run.engine}, {run.seconds:.1f} s, {len(run.rows)} clips in {run.args.out}")
    print(table(figures(run), "the source"))
    print(f"note F1 to the source: {np.mean([row['f1_before'] for row in run.rows]):.3f} before, "
          f"{np.mean([row['f1_after'] for row in run.rows]):.3f} after")  # fmt: skip
