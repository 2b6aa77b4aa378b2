"""Reports on roles -> pictures: the main figures beside those of real clips, the strength slider, quality by number of steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from train.evaluate_edits import STRENGTHS
from train.evaluate_model import ALL, REAL
from train.evaluate_tables import LINES, mean, models_of

Reports = Mapping[str, Mapping[str, Any]]  # by role
# What is drawn, with what is aimed at.
MAIN = {"1nnc": 0.55, "oa": 0.89, "c2st": 0.65, "chord_tones": None, "repaired_msim": None, "copied_13": None}
BY_STEPS = ("1nnc", "oa", "c2st", "chord_tones")
REAL_COLOUR = "#777777"


def pictures(roles: Reports) -> dict[str, Figure]:
    """File name -> picture, of all that was measured."""
    found = {"overview.png": overview(roles)}
    if any(report["strengths"] for report in roles.values()):
        found["strengths.png"] = strengths(roles)
    if any(report["steps"] for report in roles.values()):
        found["steps.png"] = steps(roles)
    return found


def overview(roles: Reports) -> Figure:
    """A panel for each main figure: a dot for real clips and each model in every role, bars from the lowest seed to the highest."""
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    names = [REAL, *models_of(roles)]
    for axes, (wanted, aim) in zip(panels, MAIN.items(), strict=True):
        for k, name in enumerate(names):
            columns = [report["groups"][ALL].get(name, {}).get(wanted, ()) for report in roles.values()]
            place = np.arange(len(columns)) + 0.12 * (k - (len(names) - 1) / 2)
            middle = np.array([mean(values) for values in columns])
            ends = np.array([_ends(values) for values in columns]).T
            axes.errorbar(place, middle, np.abs(ends - middle), fmt="o", color=_colour(k), label=name, capsize=3)
        if aim is not None:
            axes.axhline(aim, color="#b00020", linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(roles)), [role.replace("_", "\n") for role in roles], fontsize=8)
        axes.set_title(title_of(wanted), fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names), fontsize=8)
    return figure


def strengths(roles: Reports) -> Figure:
    """The share of notes that change by the place of the slider, a panel for every role."""
    figure = Figure(figsize=(2.6 * max(2, len(roles)), 3), layout="constrained")
    panels = figure.subplots(1, len(roles), squeeze=False)[0]
    for axes, (role, report) in zip(panels, roles.items(), strict=True):
        axes.plot((0, 1), (0, 1), color=REAL_COLOUR, linewidth=0.8, linestyle=":")
        for k, name in enumerate(models_of(roles), 1):
            if name in report["strengths"]:
                axes.plot(STRENGTHS, report["strengths"][name], "o-", markersize=3, color=_colour(k), label=name)
        axes.set_title(role, fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8)
    figure.supxlabel("strength", fontsize=9)
    figure.supylabel("share of notes changed", fontsize=9)
    return figure


def steps(roles: Reports) -> Figure:
    """Quality by the number of steps: a row for every role, a line for every model, dotted the figure of real clips."""
    measured = {role: report for role, report in roles.items() if report["steps"]}
    figure = Figure(figsize=(12, 2.4 * len(measured)), layout="constrained")
    rows = figure.subplots(len(measured), len(BY_STEPS), squeeze=False)
    for row, (role, report) in zip(rows, measured.items(), strict=True):
        for axes, wanted in zip(row, BY_STEPS, strict=True):
            for k, name in enumerate(models_of(roles), 1):
                if name in report["steps"]:
                    _steps_line(axes, report["steps"][name], wanted, name, _colour(k))
            axes.set_title(f"{role}: {title_of(wanted)}", fontsize=9)
    figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside upper center", fontsize=8)
    figure.supxlabel("steps", fontsize=9)
    return figure


def title_of(wanted: str) -> str:
    return next(line.label for line in LINES if line.name == wanted)


def _steps_line(axes: Axes, by_steps: Mapping[str, Mapping[str, float]], wanted: str, name: str, colour: str) -> None:
    numbers = [steps for steps in by_steps if steps != REAL and wanted in by_steps[steps]]
    axes.plot(numbers, [by_steps[steps][wanted] for steps in numbers], "o-", markersize=3, color=colour, label=name)
    if wanted in by_steps[REAL]:
        axes.axhline(by_steps[REAL][wanted], color=REAL_COLOUR, linewidth=0.8, linestyle=":")


def _ends(values: Sequence[float | None]) -> tuple[float, float]:
    said = [value for value in values if value is not None]
    return (min(said), max(said)) if said else (np.nan, np.nan)


def _colour(k: int) -> str:
    """Of a column; real clips come first."""
    return REAL_COLOUR if k == 0 else f"C{k - 1}"
