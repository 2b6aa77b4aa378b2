"""The clips of modify --split: how each is made, what became of them -> metrics.json and a table."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from musediff.cli_clips import SENSITIVITY, STRENGTH, derived_seed
from musediff.cli_corruption import Damage
from musediff.cli_output import write
from musediff.clip import Clip, Note
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.job import Job, Sampling
from musediff.metrics.compare import Figures, compare
from musediff.metrics.table import table
from musediff.midi.write import playable
from musediff.tokens.damage import damage_clip


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a clip: its row of figures and the clip of each kind, or without clips why the engine cannot take it."""

    index: int
    row: dict[str, Any]
    clips: dict[str, Clip]
    seconds: float = 0.0


@dataclass(slots=True)
class Run:
    """What the clips have in common, and what became of them so far. ``rows`` of the packed data; ``names`` of the files."""

    args: argparse.Namespace
    way: Damage | None
    store: packed.Store
    rows: list[int]
    names: list[str]
    start: Callable[[Clip, Sampling], Job]
    sampling: Sampling
    seed: int
    engine: str
    done: list[Done] = field(default_factory=list)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The folders that are written."""
        return ("source", "result") if self.way is None else ("source", "damaged", "result")

    @property
    def changed(self) -> list[Done]:
        return [done for done in self.done if done.clips]

    @property
    def refused(self) -> list[dict[str, Any]]:
        return [done.row for done in self.done if not done.clips]

    def path(self, kind: str, index: int) -> Path:
        return self.args.out / kind / self.names[index]

    def before(self, index: int) -> dict[str, Clip]:
        """A clip as it is in the data, and as it is given to the engine."""
        source = as_written(clip_at(self.store, [self.rows[index]]))
        damage = None if self.way is None else damage_clip(source, np.random.default_rng((self.seed, index)), 0, self.way)
        return {"source": source, "damaged": source if damage is None else as_written(damage)}

    def job(self, damaged: Clip, index: int) -> Job:
        return self.start(damaged, replace(self.sampling, seed=derived_seed(self.seed, index)))


def as_written(clip: Clip) -> Clip:
    """Without notes that no file can hold, so that what is measured is what is in the files."""
    return with_notes(clip, playable(clip.tracks[0].notes))


def with_notes(clip: Clip, notes: tuple[Note, ...]) -> Clip:
    return replace(clip, tracks=(replace(clip.tracks[0], notes=notes),))


def how_much(args: argparse.Namespace) -> float:
    """The sensitivity of a repair, else the strength."""
    said, usual = (args.sensitivity, SENSITIVITY) if args.repair else (args.strength, STRENGTH)
    return usual if said is None else said


def figures(run: Run) -> dict[str, Figures]:
    """Of the damaged clips, if there are any, and of the results, beside the sources and their metadata."""
    source = [done.clips["source"] for done in run.changed]
    asked, partner = [clip.meta() for clip in source], {i: i for i in range(len(source))}
    return {kind: compare([done.clips[kind] for done in run.changed], asked, source, partner) for kind in run.kinds[1:]}


def f1(run: Run) -> dict[str, float]:
    """Mean note F1 to the source, before and after."""
    return {name: float(np.mean([done.row[name] for done in run.changed])) for name in ("f1_before", "f1_after")}


def summary(run: Run) -> dict[str, Any]:
    """The figures of all clips together, for JSON."""
    means = {name: round(value, 4) for name, value in f1(run).items()}
    return {**means, **{kind: found.to_dict() for kind, found in figures(run).items()}}


def common(run: Run) -> dict[str, Any]:
    """What metrics.json says of all clips."""
    names = ("split", "steps", "guidance", "temperature", "density", "keep", "corr_available", "corr_max", "corr_p", "corr_kwargs")
    said = {name: getattr(run.args, name) for name in names if getattr(run.args, name) not in (None, [])}
    amount = {"sensitivity" if run.args.repair else "strength": how_much(run.args)}
    settings = {"data": run.args.data.name, "repair": run.args.repair, "damaged": run.way is not None, **amount, **said}
    return {"engine": run.engine, "seed": run.seed, "settings": settings}


def save(run: Run) -> None:
    """metrics.json: settings, summary, a row per clip."""
    whole = {**common(run), "summary": summary(run), "clips": [done.row for done in run.changed], "refused": run.refused}
    data = (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()
    write(run.args.out / "metrics.json", data, run.args.force or run.args.resume)


def report(run: Run) -> None:
    """One JSON object, or a table, on standard output."""
    notes = [f"{len(run.refused)} clips were refused, the first because: {run.refused[0]['reason']}"] if run.refused else []
    seconds, clips = sum(done.seconds for done in run.done), len(run.changed)
    if run.args.json:
        about = {"command": "modify", "engine": run.engine, "seed": run.seed, "seconds": round(seconds, 3), "notes": notes}
        print(json.dumps(about | {"out": str(run.args.out), "clips": clips, "summary": summary(run)}, ensure_ascii=False))
        return
    for note in notes:
        print(f"note: {note}")
    print(f"seed {run.seed}, {run.engine}, {seconds:.1f} s, {clips} clips in {run.args.out}")
    print(table(figures(run), "the source"))
    print("note F1 to the source: {f1_before:.3f} before, {f1_after:.3f} after".format(**f1(run)))
