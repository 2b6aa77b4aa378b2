"""Models and held-out songs -> figures of one role: by model, by corpus, by seed, with those of real clips beside them.

Every generated clip takes the metadata and chords of a held-out clip. The real clips beside them are of other songs (of the
training side) in the same mix of corpora. All seeds are fixed and each clip is made by itself, so that several processes,
which share them out, come to the same figures as one.

A role's report: ``clips``, ``songs``; ``corpora``: songs of each; ``groups``: "all" or a corpus -> "real clips" or a model
-> figure -> a value for every seed; ``told_by``: model -> what gives it away; ``strengths``: model -> share of notes changed at
each of ``STRENGTHS``; ``steps``: model -> number of steps -> figures of the first clips; ``notes``: what an engine refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from musediff.clip import ROLES, Clip
from musediff.data import store as packed
from musediff.gather import Gather
from musediff.metrics.classifier import Told
from musediff.metrics.copying import Index
from musediff.pipeline import MusePipeline, Sampling
from musediff.ranks import Ranks
from train.evaluate_choice import Real, Sample, alike, sample
from train.evaluate_edits import Row, changed, companion, curve, means, refilled, repaired, slipped
from train.evaluate_kept import Kept
from train.evaluate_sets import Figures, Measured, beside, copies, describe, inside

ALL, REAL = "all", "real clips"
FEWEST_SONGS = 5  # of a corpus: with fewer, sets are not compared
STEPS = (4, 8, 16, 32)
SEED_STEP = 2**20  # from the seeds of one round to those of the next
UNPAIRED = "other_"  # before the name of a figure: beside clips of other songs
Models = Mapping[str, MusePipeline]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure, for every role: ``clips`` are generated in each of ``seeds`` rounds, of the first ``repairs`` damaged ones are
    repaired and bars refilled, the first ``strengths`` are changed at ten strengths. ``step_clips`` are made with 4-32 steps, once."""

    clips: int = 200
    repairs: int = 60
    strengths: int = 12
    step_clips: int = 0
    seeds: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    corpora: tuple[str, ...] = ()
    roles: tuple[str, ...] = ROLES[:5]


@dataclass(frozen=True, slots=True)
class Work:
    """What one process, or all of them together, did in one round, by the number of the held-out clip."""

    made: dict[int, Clip] = field(default_factory=dict)
    edits: dict[int, list[Row]] = field(default_factory=dict)
    by_steps: dict[int, dict[int, Clip]] = field(default_factory=dict)  # steps -> clips


def evaluate_role(
    models: Models, store: packed.Store, role: str, settings: Settings, index: Index | None, ranks: Ranks, gather: Gather, kept: Kept
) -> dict[str, Any]:
    """The report on one role, on the first process, which alone needs the ``index`` of training songs; the others have nothing to say.

    Packed data without a held-out clip of the role give an empty report.
    """
    rounds = [sample(store, role, settings.clips, settings.corpora, seed) for seed in range(settings.seeds)]
    if not rounds[0].asked.clips:
        return {}
    shares = gather({
        name: [work(pipeline, of.asked, settings, seed, ranks, kept, f"{role}: {name}") for seed, of in enumerate(rounds)]
        for name, pipeline in models.items()
    })  # fmt: skip
    if not ranks.first:
        return {}
    assert index is not None
    done = {name: [together([share[name][seed] for share in shares]) for seed in range(settings.seeds)] for name in models}
    return report(rounds, done, index)


def work(pipeline: MusePipeline, asked: Real, settings: Settings, seed: int, ranks: Ranks, kept: Kept, label: str) -> Work:
    """This process's share of a round."""
    clips, songs, known = asked.clips, asked.songs.tolist(), (pipeline.engine_name, pipeline.weights)

    def shared(number: int, what: str) -> Iterable[tuple[int, Clip]]:
        return tqdm(ranks.share(list(enumerate(clips[:number]))), desc=f"{label}: {what}", leave=False, disable=not ranks.first or None)

    def sampled(i: int, way: Sampling = settings.sampling) -> Sampling:
        return replace(way, seed=seed * SEED_STEP + i)

    def generated(clip: Clip, way: Sampling) -> Clip:
        return kept.clip(lambda: pipeline.generate(clip.meta(), way).clips[0], "generate", *known, clip.meta(), way)

    def edited(what: str, edit: Callable[..., Row], clip: Clip, way: Sampling, *beside: Clip | None) -> Row:
        return kept.row(lambda: edit(pipeline, clip, *beside, way), what, *known, clip, *beside, way)

    done = Work({i: generated(clip, sampled(i)) for i, clip in shared(len(clips), "generate")})
    for i, clip in shared(settings.repairs, "repair and refill"):
        done.edits.setdefault(i, []).append(edited("repair", repaired, clip, sampled(i)))
        done.edits[i].append(edited("slips", slipped, clip, sampled(i)))
        done.edits[i].append(edited("refill", refilled, clip, sampled(i), companion(clips, songs, i)))
    for i, clip in shared(settings.strengths, "strengths"):
        done.edits.setdefault(i, []).append(edited("strengths", changed, clip, sampled(i)))
    for steps in STEPS if seed == 0 and settings.step_clips and pipeline.engine.usual_steps > 1 else ():
        some = shared(settings.step_clips, f"{steps} steps")
        stepped = replace(settings.sampling, steps=steps, sampler=pipeline.engine.stepped)
        done.by_steps[steps] = {i: generated(clip, sampled(i, stepped)) for i, clip in some}
    return done


def together(shares: Sequence[Work]) -> Work:
    """The work of all processes."""
    by_steps = {steps: in_order([share.by_steps[steps] for share in shares]) for steps in shares[0].by_steps}
    return Work(in_order([share.made for share in shares]), in_order([share.edits for share in shares]), by_steps)


def in_order(shares: Sequence[Mapping[int, Item]]) -> dict[int, Item]:
    """What each process has, by its number from 0 on, each of which is there once."""
    all_of_it = {i: value for share in shares for i, value in share.items()}
    assert len(all_of_it) == sum(map(len, shares)) and set(all_of_it) == set(range(len(all_of_it)))
    return {i: all_of_it[i] for i in range(len(all_of_it))}


def report(rounds: Sequence[Sample], done: Mapping[str, Sequence[Work]], index: Index) -> dict[str, Any]:
    """The figures of a role, see above."""
    found: dict[str, dict[str, list[Figures]]] = {}
    told: dict[str, Told] = {}
    for seed, of in enumerate(rounds):
        for name, (groups, by) in figures_of(of, {name: works[seed] for name, works in done.items()}, index).items():
            told |= {} if by is None or seed else {name: by}
            for group, figures in groups.items():
                found.setdefault(group, {}).setdefault(name, []).append(figures)
    asked = rounds[0].asked
    rows = {name: [row for work in works for row in all_rows(work)] for name, works in done.items()}
    return {
        "clips": len(asked.clips),
        "songs": len(set(asked.songs.tolist())),
        "corpora": {corpus: songs for of in reversed(rounds) for corpus, songs in songs_by_corpus(of.asked).items()},
        "groups": {group: {name: by_figure(of_seeds) for name, of_seeds in columns.items()} for group, columns in found.items()},
        "told_by": {name: [[trait, round(value, 3)] for trait, value in by.by] for name, by in told.items()},
        "strengths": {name: line for name, of in rows.items() if (line := curve([row.model for row in of]))},
        "steps": {name: by_steps(rounds[0], works[0]) for name, works in done.items() if works[0].by_steps},
        "notes": sorted({f"{name}: {row.refused}" for name, of in rows.items() for row in of if row.refused}),
    }


def figures_of(of: Sample, done: Mapping[str, Work], index: Index) -> dict[str, tuple[dict[str, Figures], Told | None]]:
    """One round: column -> figures by group, and what gives a model away. The real clips come first."""
    asked = Measured.of(of.asked.clips, of.asked.songs, of.asked.corpora)
    others = Measured.of(of.others.clips, of.others.songs, of.others.corpora) if of.others.clips else None
    groups = {ALL: np.ones(len(asked.songs), bool)} | {name: asked.corpora == name for name in songs_by_corpus(of.asked)}
    real = {group: real_figures(of.asked, asked, others, group, rows, done, index) for group, rows in groups.items()}
    columns: dict[str, tuple[dict[str, Figures], Told | None]] = {REAL: (real, None)}
    for name, work in done.items():
        clips = list(work.made.values())
        made, by = Measured.of(clips, asked.songs, asked.corpora), None
        groups_of_model: dict[str, Figures] = {}
        for group, rows in groups.items():
            chosen = np.flatnonzero(rows).tolist()
            figures = describe([clips[i] for i in chosen], [of.asked.clips[i] for i in chosen])
            figures |= copies(index, [clips[i] for i in chosen]) | inside(made.take(rows))
            figures |= means([row.model for i in chosen for row in work.edits.get(i, [])])
            if comparable(asked, group, rows):
                paired, told = beside(asked.take(rows), made.take(rows))
                by = by or told
                figures |= paired | unpaired(others, made.take(rows), group)
            groups_of_model[group] = figures
        columns[name] = groups_of_model, by
    return columns


def real_figures(
    clips: Real, asked: Measured, others: Measured | None, group: str, rows: np.ndarray, done: Mapping[str, Work], index: Index
) -> Figures:
    """The same figures of real clips: held-out clips as if they had been made, beside those of other songs."""
    chosen = np.flatnonzero(rows).tolist()
    held_out = [clips.clips[i] for i in chosen]
    figures = describe(held_out, held_out) | copies(index, held_out) | inside(asked.take(rows))
    for work in done.values():
        figures |= means([row.real for i in chosen for row in work.edits.get(i, [])])
    if comparable(asked, group, rows):
        to_others = unpaired(others, asked.take(rows), group)
        figures |= to_others | {name.removeprefix(UNPAIRED): value for name, value in to_others.items()}
    return figures


def comparable(asked: Measured, group: str, rows: np.ndarray) -> bool:
    """Whether there are enough clips and songs to compare sets."""
    return int(rows.sum()) >= 2 and (group == ALL or len(np.unique(asked.songs[rows])) >= FEWEST_SONGS)


def unpaired(others: Measured | None, of: Measured, group: str) -> Figures:
    """Clips beside real ones of other songs. A clip made from the chords of a real one is its neighbour in harmony: here it is not."""
    if others is None:
        return {}
    near = others if group == ALL else others.take(others.corpora == group)
    return {UNPAIRED + name: value for name, value in beside(near, of)[0].items()} if len(near.songs) >= 2 else {}


def by_steps(of: Sample, work: Work) -> dict[str, Figures]:
    """Figures of the first clips by number of steps, and the same of real clips under their own name."""
    number = len(next(iter(work.by_steps.values())))
    held_out, songs, corpora = of.asked.clips[:number], of.asked.songs[:number], of.asked.corpora[:number]
    asked, rows = Measured.of(held_out, songs, corpora), alike(corpora, of.others.corpora)
    found = {REAL: describe(held_out, held_out)}
    if number >= 2 and len(rows) >= 2:
        found[REAL] |= beside(Measured.of([of.others.clips[i] for i in rows], of.others.songs[rows], of.others.corpora[rows]), asked)[0]
    for steps, clips in work.by_steps.items():
        made = list(clips.values())
        found[str(steps)] = describe(made, held_out) | (beside(asked, Measured.of(made, songs, corpora))[0] if number >= 2 else {})
    return {name: {figure: round(value, 4) for figure, value in figures.items()} for name, figures in found.items()}


def songs_by_corpus(of: Real) -> dict[str, int]:
    return {str(name): len(np.unique(of.songs[of.corpora == name])) for name in np.unique(of.corpora)}


def all_rows(work: Work) -> list[Row]:
    return [row for rows in work.edits.values() for row in rows]


def by_figure(of_seeds: Sequence[Figures]) -> dict[str, list[float | None]]:
    """Figure -> its value for every seed, None where it could not be said."""
    names = dict.fromkeys(name for figures in of_seeds for name in figures)
    return {name: [round(figures[name], 4) if name in figures else None for figures in of_seeds] for name in names}
