"""Reports on roles -> tables: what is aimed at, every figure by role, the main ones by corpus.

A cell is the mean over the seeds, and behind ± their standard deviation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from musediff.metrics.similarity import COMPONENTS
from train.evaluate_model import ALL, REAL, UNPAIRED
from train.evaluate_sets import NEAREST
from train.report_document import Block, Heading, Items, Table, Text

Report = Mapping[str, Any]  # of one role, see evaluate_model
Values = Sequence[float | None]
MISSED = "✗"


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the tables. ``main``: by corpus too."""

    label: str
    name: str
    form: str = ".3f"
    main: bool = False


_NEAREST = tuple(zip(COMPONENTS, NEAREST, strict=True))
LINES = (
    Line("legal clips", "valid", ".1%"),
    Line("bars exact", "bars", ".1%"),
    Line("CP: mean pitch in the asked range", "cp", ".1%", True),
    Line("CV: velocities in the asked limits", "cv", ".1%"),
    Line("clips with all velocities inside", "cv_clips", ".1%"),
    Line("CH: notes in chord or key", "ch", ".1%", True),
    Line("chord tones", "chord_tones", main=True),
    Line("notes per clip", "notes", ".0f", True),
    Line("groove of neighbouring bars", "groove"),
    Line("entropy of pitch classes, bits", "entropy", ".2f"),
    Line("MSIM inside the set", "msim_within"),
    *(Line(f"1NNC, {part}", name, ".2f", part == "product") for part, name in _NEAREST),
    *(Line(f"1NNC to other songs, {part}", UNPAIRED + name, ".2f", part == "product") for part, name in _NEAREST),
    Line("overlapped area", "oa", main=True),
    Line("… to other songs", UNPAIRED + "oa"),
    Line("overlapped area of distances (mgeval)", "oa_distances"),
    Line("Frechet distance", "fd", ".2f", True),
    Line("… to other songs", UNPAIRED + "fd", ".2f"),
    Line("C2ST, AUC", "c2st", ".2f", True),
    Line("… to other songs", UNPAIRED + "c2st", ".2f"),
    *(Line(f"copied: {run} notes of a training song", f"copied_{run}", ".1%", run == 13) for run in (9, 13, 17)),
    Line("wrong notes found, F1", "found_f1", main=True),
    Line("… precision", "found_precision"),
    Line("… recall", "found_recall"),
    Line("pitches that slipped found, recall", "slips_recall"),
    Line("… precision", "slips_precision"),
    Line("MSIM repaired (real: damaged)", "repaired_msim", main=True),
    Line("share of a clean clip touched", "clean_changed", ".1%"),
    Line("bars refilled, note F1 (real: another song)", "refilled_f1"),
    Line("… chroma (real: another song)", "refilled_chroma"),
    Line("… nothing outside changed", "refilled_outside", ".1%"),
    Line("strength: Spearman of ten levels", "strength", main=True),
    Line("… of single clips", "strength_clip"),
    Line("… mean error of the share changed", "strength_error"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at. ``met``: from the means of a model and of real clips; None if it cannot be said."""

    label: str
    name: str
    met: Callable[[float, float], bool | None]
    form: str = ".2f"
    roles: tuple[str, ...] = ()  # none: all


def at_least(limit: float, value: float, real: float) -> bool:
    return value >= limit


def at_most(limit: float, value: float, real: float) -> bool:
    return value <= limit


def at_most_times_real(factor: float, value: float, real: float) -> bool | None:
    return None if math.isnan(real) else value <= factor * real


def near_real(distance: float, value: float, real: float) -> bool | None:
    return None if math.isnan(real) else abs(value - real) <= distance


TARGETS = (
    Target("legal clips 100 %", "valid", partial(at_least, 1.0), ".1%"),
    Target("1NNC ≤ .55", "1nnc", partial(at_most, 0.55)),
    Target("1NNC to other songs ≤ .55", UNPAIRED + "1nnc", partial(at_most, 0.55)),
    *(Target(f"1NNC by {part} ≤ .58", name, partial(at_most, 0.58)) for part, name in _NEAREST[1:]),
    *(Target(f"1NNC to other songs by {part} ≤ .58", UNPAIRED + name, partial(at_most, 0.58)) for part, name in _NEAREST[1:]),
    Target("overlapped area ≥ .89", "oa", partial(at_least, 0.89), ".3f"),
    Target("overlapped area to other songs ≥ .89", UNPAIRED + "oa", partial(at_least, 0.89), ".3f"),
    Target("Frechet distance ≤ 2 × real", "fd", partial(at_most_times_real, 2.0)),
    Target("Frechet distance to other songs ≤ 2 × real", UNPAIRED + "fd", partial(at_most_times_real, 2.0)),
    Target("C2ST ≤ .65", "c2st", partial(at_most, 0.65)),
    Target("C2ST to other songs ≤ .65", UNPAIRED + "c2st", partial(at_most, 0.65)),
    Target("CP ≥ 97 %", "cp", partial(at_least, 0.97), ".1%"),
    Target("CV 100 %", "cv", partial(at_least, 1.0), ".1%"),
    Target("CH ≥ 99 %", "ch", partial(at_least, 0.99), ".1%"),
    Target("chord tones within .03 of real", "chord_tones", partial(near_real, 0.03), ".3f"),
    Target("repaired melody MSIM ≥ .85", "repaired_msim", partial(at_least, 0.85), ".3f", ("main_melody",)),
    Target("repaired accompaniment MSIM ≥ .93", "repaired_msim", partial(at_least, 0.93), ".3f", ("accompaniment",)),
    Target("wrong notes found, F1 ≥ .9", "found_f1", partial(at_least, 0.9), ".3f"),
    Target("clean clip touched ≤ 3 %", "clean_changed", partial(at_most, 0.03), ".1%"),
    Target("strength, Spearman ≥ .99", "strength", partial(at_least, 0.99), ".3f"),
    Target("copied 13 notes ≤ 1.5 × real", "copied_13", partial(at_most_times_real, 1.5), ".1%"),
)


def tables(roles: Mapping[str, Report]) -> list[Block]:
    """All of them, with headings."""
    blocks: list[Block] = [Heading(2, "Aims"), Text(AIMS)]
    for name in models_of(roles):
        blocks += [Heading(3, name), targets(roles, name)]
        if any(len(report["corpora"]) > 1 for report in roles.values()):
            blocks += [Text(BY_CORPUS), missed(roles, name)]
    for role, report in roles.items():
        blocks += [Heading(2, f"{role}, clips: {report['clips']}, held-out songs: {report['songs']}"), of_role(report)]
        if len(report["corpora"]) > 1:
            blocks += [Heading(3, f"{role} by corpus"), of_corpora(report)]
        said = [f"{name}: what gives it away: {traits(by)}" for name, by in report["told_by"].items()] + list(report["notes"])
        blocks += [Items(said)] if said else []
    return blocks


AIMS = (
    f"In brackets the figure of real clips beside other real clips; {MISSED}: the aim is missed. "
    "Figures of small samples have a wide spread, also those of real clips."
)


BY_CORPUS = "By corpus, where it misses an aim. Few songs stand behind some of these figures: how many is said in the tables by corpus."


def targets(roles: Mapping[str, Report], model: str) -> Table:
    """A row for every aim, a column for every role."""
    rows = [[target.label, *(cell_of_target(target, role, report, model) for role, report in roles.items())] for target in TARGETS]
    return Table(["", *roles], rows, MISSED)


def cell_of_target(target: Target, role: str, report: Report, model: str) -> str:
    value, real = figures(target, role, report, model, ALL)
    if math.isnan(value):
        return ""
    beside = "" if math.isnan(real) else f" ({real:{target.form}})"
    return f"{value:{target.form}}{beside}{' ' + MISSED if target.met(value, real) is False else ''}"


def missed(roles: Mapping[str, Report], model: str) -> Table:
    """A row for every aim that a corpus misses, a column for every role."""
    rows = [[target.label, *(corpora_that_miss(target, role, report, model) for role, report in roles.items())] for target in TARGETS]
    return Table(["missed by", *roles], [row for row in rows if any(row[1:])])


def corpora_that_miss(target: Target, role: str, report: Report, model: str) -> str:
    """ "lieder 0.71 (0.52)" """
    found = []
    for corpus in report["corpora"]:
        value, real = figures(target, role, report, model, corpus)
        if not math.isnan(value) and target.met(value, real) is False:
            found.append(f"{corpus} {value:{target.form}}" + ("" if math.isnan(real) else f" ({real:{target.form}})"))
    return ", ".join(found)


def figures(target: Target, role: str, report: Report, model: str, group: str) -> tuple[float, float]:
    """What is aimed at, of a model and of real clips; nan where nothing is."""
    columns = report["groups"][group]
    value, real = (mean(columns[name].get(target.name, ())) for name in (model, REAL))
    return (math.nan if target.roles and role not in target.roles else value), real


def of_role(report: Report) -> Table:
    """A row for every figure, a column for real clips and for every model."""
    found, names = report["groups"][ALL], columns(report)
    return Table(["", *names], [[line.label, *(cell(line, found[name]) for name in names)] for line in LINES])


def of_corpora(report: Report) -> Table:
    """The main figures, a row for every corpus."""
    names, rows = columns(report), []
    for line in (line for line in LINES if line.main):
        for corpus, songs in report["corpora"].items():
            cells = [cell(line, report["groups"][corpus][name]) for name in names]
            rows += [[f"{line.label}: {corpus} ({songs})", *cells]]
    return Table(["figure: corpus (songs)", *names], rows)


def columns(report: Report) -> list[str]:
    """Real clips and the models."""
    return list(report["groups"][ALL])


def models_of(roles: Mapping[str, Report]) -> list[str]:
    return list(dict.fromkeys(name for report in roles.values() for name in columns(report) if name != REAL))


def cell(line: Line, figures: Mapping[str, Values]) -> str:
    """ ".58 ± .02", "" for nothing"""
    values = [value for value in figures.get(line.name, ()) if value is not None]
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):{line.form}}" if len(values) > 1 else ""
    return f"{np.mean(values):{line.form}}{spread}"


def mean(values: Values) -> float:
    """Over the seeds; nan of nothing."""
    said = [value for value in values if value is not None]
    return float(np.mean(said)) if said else math.nan


def traits(by: Sequence[tuple[str, float]]) -> str:
    """ "more step 0 (.71), less groove (.22)" """
    return ", ".join(f"{'more' if value > 0.5 else 'less'} {name} ({value:.2f})" for name, value in by)
