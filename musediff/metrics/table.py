"""Figures of several sets of clips -> a Markdown table, one column a set."""

import math
from collections.abc import Callable, Mapping, Sequence

from musediff.metrics.compare import Figures
from musediff.metrics.control import Count
from musediff.metrics.similarity import COMPONENTS

Row = tuple[str, Callable[[Figures], str]]


def table(sets: Mapping[str, Figures], reference: str) -> str:
    """Rows that are empty for every set are left out. ``reference``: what the sets are compared with, in a word or two."""
    rows: list[Row] = [
        ("clips (without notes)", lambda f: f"{f.clips} ({f.empty})"),
        ("notes per clip", lambda f: number(f.notes, 1)),
        ("CP: mean pitch not in the asked range", lambda f: missed(f.pitch)),
        ("CV: velocities not within the asked limits", lambda f: missed(f.velocity)),
        ("chord tones", lambda f: number(f.chord_tones)),
        ("MSIM inside the set, all pairs", lambda f: number(f.msim_within)),
        (f"MSIM to {reference}, all pairs", lambda f: number(f.msim_across)),
        (f"MSIM to {reference}, each to its own", lambda f: f"{number(f.msim_pairs.product)} ({f.pairs})" if f.pairs else ""),
        *((f"1NNC against {reference}, {name}", lambda f, name=name: number(getattr(f.nearest, name), 2)) for name in COMPONENTS),
        ("1NNC: clips of each side", lambda f: str(f.nearest_clips or "")),
    ]
    return markdown(["", *sets], [[label, *map(show, sets.values())] for label, show in rows])


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned for a terminal; rows with nothing but a label are left out."""
    lines = [head, *(row for row in rows if any(row[1:]))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def number(value: float, places: int = 3) -> str:
    """Nothing for nan."""
    return "" if math.isnan(value) else f"{value:.{places}f}"


def missed(count: Count) -> str:
    """Share and counts, nothing if nothing was asked."""
    return f"{count.share:.1%} ({count.wrong} of {count.total:,})" if count.total else ""
