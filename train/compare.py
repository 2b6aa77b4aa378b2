"""The engines beside each other on held-out songs: python -m train.compare --data clips.npz

Every engine gets the same clips in the same run: the metadata and chords of one clip of each held-out song to compose from,
and the clip itself to mend after each of the four damages of ``tokens.damage``; blank where an engine only composes. The muse
engine runs a second time with the sampler of the original. Prints one Markdown table, the mean over the roles; ``--out`` keeps
the figures of each role.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # see app.py

import numpy as np
from tqdm import tqdm

from musediff.checkpoint import read_config
from musediff.cli import guarded
from musediff.cli_options import count
from musediff.cli_output import check_free, write
from musediff.clip import ROLES, Clip, Note
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.base import VALUES
from musediff.errors import BadRequest
from musediff.metrics.compare import Figures, by_name, compare
from musediff.metrics.similarity import COMPONENTS, msim, vectors
from musediff.metrics.table import markdown
from musediff.pipeline import MusePipeline, Sampling
from musediff.tokens.damage import CORRUPTIONS, damage, damage_clip
from train.evaluate_choice import pick, same_mix, songs_of
from train.evaluate_sets import legal

ORIGINAL_STEPS = 100  # its default
USUAL_ROLES = ("main_melody", "accompaniment", "bass", "pad")
Wrong = Mapping[int, frozenset[str]]


@dataclass(frozen=True, slots=True)
class System:
    """Weights and how they are sampled."""

    pipeline: MusePipeline
    sampling: Sampling

    @property
    def helped(self) -> bool:
        """Whether a grammar, if the engine has one, takes part in the steps."""
        return self.sampling.sampler is None

    def but(self, seed: int, strict: bool = True) -> Sampling:
        return replace(self.sampling, seed=seed, strict=strict)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A clip to mend. ``wrong``: what is known to be lost; None: nothing is told. ``left``: the notes that one has without mending."""

    clip: Clip
    wrong: Wrong | None
    left: tuple[Note, ...]


def systems(pipelines: Mapping[str, MusePipeline], original_steps: int = ORIGINAL_STEPS) -> dict[str, System]:
    """Every pipeline as it usually works; the muse engine also with the original's sampler."""
    found = {pipe.with_steps(name): System(pipe, Sampling()) for name, pipe in pipelines.items()}
    if "muse" in pipelines:
        original = Sampling(sampler="original", steps=original_steps)
        found[f"muse, the original's sampler, {original_steps} steps"] = System(pipelines["muse"], original)
    return found


def damaged(clip: Clip, way: str, seed: int) -> Damaged:
    """``mt`` and ``mn`` lose tokens and notes, and as in the original it is known which; ``rn`` and ``rr`` are silent.

    What a lost value was must not be seen by the engine, so it is replaced by anything.
    """
    rng = np.random.default_rng(seed)
    if way not in ("mt", "mn"):
        broken = damage_clip(clip, rng, way=partial(damage, available=(way,), most=1, p=1.0))
        return Damaged(broken, None, broken.tracks[0].notes)
    track, share = clip.tracks[0], CORRUPTIONS[way].defaults["p"]
    lost = rng.random((len(track.notes), len(VALUES) if way == "mt" else 1)) < share
    lost = np.broadcast_to(lost, (len(track.notes), len(VALUES)))
    scrambled = [_scrambled(note, row, clip, rng) for note, row in zip(track.notes, lost, strict=True)]
    order = sorted(range(len(scrambled)), key=lambda i: scrambled[i])
    names = [frozenset(name for name, gone in zip(VALUES, lost[i], strict=True) if gone) for i in order]
    left = tuple(note for note, row in zip(track.notes, lost, strict=True) if not row.any())
    broken = replace(clip, tracks=(replace(track, notes=tuple(scrambled[i] for i in order)),))
    return Damaged(broken, {i: values for i, values in enumerate(names) if values}, left)


def _scrambled(note: Note, lost: np.ndarray, clip: Clip, rng: np.random.Generator) -> Note:
    """The note with anything for its lost values; it stays in its bar."""
    bar = note.onset_ticks - note.onset_ticks % clip.bar_ticks
    onset = bar + int(rng.integers(clip.bar_ticks)) if lost[0] else note.onset_ticks
    length = int(rng.integers(1, clip.bar_ticks)) if lost[2] else note.duration_ticks
    pitch, velocity = (int(rng.integers(1, 128)) if gone else value for gone, value in zip(lost[1::2], note[1::2], strict=True))
    return Note(onset, pitch, min(length, clip.end_ticks - onset), velocity)


def mend(systems: Mapping[str, System], clips: Sequence[Clip], way: str, role: str) -> dict[str, float]:
    """Mean MSIM to the whole clip: of what is ``left``, and of the repair of each system that does not refuse any."""
    able = dict(systems)
    found: dict[str, list[float]] = {"left": [], **{name: [] for name in systems}}
    for seed, clip in enumerate(tqdm(clips, desc=f"{role}: {way}", leave=False)):
        case, whole = damaged(clip, way, seed), vectors(clip.tracks[0].notes, clip)
        found["left"].append(msim(whole, vectors(case.left, clip)).product)
        for name, system in list(able.items()):
            try:
                mended = system.pipeline.repair(case.clip, wrong=case.wrong, sampling=system.but(seed)).clips[0]
            except BadRequest as error:  # no figure, rather than one of fewer clips
                print(f"note: {role}: {name} is left out after {way}: {error}", file=sys.stderr)
                del able[name], found[name]
                continue
            found[name].append(msim(whole, vectors(mended.tracks[0].notes, clip)).product)
    return {name: float(np.mean(values)) for name, values in found.items()}


def compose(systems: Mapping[str, System], asked: Sequence[Clip], role: str) -> dict[str, dict[str, Any]]:
    """Clips of each system from the metadata of ``asked``, one after another so that all feel the machine alike."""
    found: dict[str, dict[str, Any]] = {name: {"clips": [], "seconds": [], "raw": []} for name in systems}
    for seed, clip in enumerate(tqdm(asked, desc=f"{role}: generate", leave=False)):
        for name, system in systems.items():
            result = system.pipeline.generate(clip.meta(), system.but(seed))
            of = found[name]
            of["clips"].append(result.clips[0])
            of["seconds"].append(result.seconds)
            if result.raw_legal is not None:
                loose = system.helped and system.pipeline.generate(clip.meta(), system.but(seed, strict=False))
                of["raw"].append((loose or result).raw_legal)
    return found


def compare_role(systems: Mapping[str, System], store: packed.Store, role: str, clips: int, repairs: int) -> dict[str, dict[str, Any]]:
    """Figures of each system and of real clips of other songs, at most one clip of a song."""
    rng = np.random.default_rng(7)
    rows = pick(store, packed.VALID, role, (), rng)
    rows = rows[: min(clips, songs_of(store, rows))]
    others = same_mix(store, rows, pick(store, packed.TRAIN, role, (), rng))
    real, elsewhere = ([clip_at(store, [int(row)]) for row in which] for which in (rows, others))
    report: dict[str, dict[str, Any]] = {"real clips": _described(elsewhere, elsewhere, real)}
    for name, made in compose(systems, real, role).items():
        raw = float(np.mean(made["raw"])) if made["raw"] else None
        report[name] = _described(made["clips"], real, real) | {"raw_legal": raw, "seconds": float(np.median(made["seconds"]))}
    for way in CORRUPTIONS:
        for name, value in mend(systems, real[:repairs], way, role).items():
            report["real clips" if name == "left" else name][f"msim_{way}"] = value
    return report


def _described(clips: Sequence[Clip], asked: Sequence[Clip], real: Sequence[Clip]) -> dict[str, Any]:
    figures: Figures = compare(clips, [clip.meta() for clip in asked], real, {})
    said = {"cp": 1 - figures.pitch.share, "cv": 1 - figures.velocity.share, "chord_tones": figures.chord_tones}
    return {
        "clips": len(clips),
        "legal": float(np.mean([bool(clip.tracks[0].notes) and legal(clip) for clip in clips])),
        "1nnc": by_name(figures.nearest),
        **{name: None if math.isnan(value) else value for name, value in said.items()},
    }


def table(report: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Role -> system -> figures, as means over the roles."""
    names = list(next(iter(report.values())))
    share = partial(_mean, report, form=lambda v: f"{v:.1%}")
    plain = partial(_mean, report, form=lambda v: f"{v:.3f}")
    rows = [
        ["legal before the grammar", *(share(n, "raw_legal", missing="–") for n in names)],
        ["legal clips", *(share(n, "legal") for n in names)],
        *([f"1NNC, {c}", *(_mean(report, n, "1nnc", c, form=lambda v: f"{v:.2f}") for n in names)] for c in COMPONENTS),
        ["CP, as the original counts it", *(share(n, "cp") for n in names)],
        ["CV: velocities in the asked limits", *(share(n, "cv") for n in names)],
        ["chord tones", *(plain(n, "chord_tones") for n in names)],
        *([f"MSIM after {way}", *(plain(n, f"msim_{way}") for n in names)] for way in CORRUPTIONS),
        ["seconds a clip, median", *(_mean(report, n, "seconds", form=lambda v: f"{v:.2f}") for n in names)],
    ]
    return markdown(["", *names], rows)


def _mean(report: Mapping[str, Any], system: str, *path: str, form: Any, missing: str = "") -> str:
    """Mean over the roles; ``missing`` where no role has a figure."""
    values = []
    for of_role in report.values():
        value = of_role[system]
        for key in path:
            value = value.get(key) if value is not None else None
        values += [] if value is None else [value]
    return form(float(np.mean(values))) if values else missing


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz", help="packed data with the held-out songs")
    parser.add_argument("--weights", type=Path, action="append", metavar="FOLDER", help="repeat for several (default: the bundled ones)")
    parser.add_argument("--roles", nargs="+", choices=ROLES, default=USUAL_ROLES, metavar="ROLE")
    parser.add_argument("--clips", type=count, default=60, metavar="N", help="of each role to compose, one a song (default 60)")
    parser.add_argument("--repairs", type=count, default=40, metavar="N", help="of them to damage and mend in four ways (default 40)")
    parser.add_argument("--original-steps", type=count, default=ORIGINAL_STEPS, metavar="N", help=f"default {ORIGINAL_STEPS}, as it has")
    parser.add_argument("--processes", type=count, default=1, metavar="N", help="roles that are measured at once (default 1)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures of each role there, as they come")
    args = parser.parse_args(arguments)
    engines = [read_config(folder)["engine"] for folder in args.weights or ()]
    for engine in engines:
        if engines.count(engine) > 1:
            parser.error(f"--weights: two weights of the engine {engine}. Beside each other they are put by: musediff evaluate")
    if args.out is not None:
        check_free([args.out], force=True)  # a folder that cannot be made is told before the work
    report = {}
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as processes:
        for role, found in zip(args.roles, processes.map(partial(of_role, args), args.roles), strict=True):
            report[role] = found
            if args.out is not None:
                write(args.out, (json.dumps(report, indent=1) + "\n").encode(), force=True)
    print(table(report))


def of_role(args: argparse.Namespace, role: str) -> dict[str, dict[str, Any]]:
    """What one process does."""
    loaded = [MusePipeline.load(folder) for folder in args.weights] if args.weights else MusePipeline.bundled().values()
    chosen = systems({pipeline.engine_name: pipeline for pipeline in loaded}, args.original_steps)
    return compare_role(chosen, packed.load(args.data), role, args.clips, args.repairs)


if __name__ == "__main__":
    sys.exit(guarded(main))
