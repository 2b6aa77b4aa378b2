"""Weights and the log of their run -> pictures: the losses, the losses by quartile of the time, the map of the token embeddings."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from musediff.checkpoint import read_config
from musediff.cli_output import check_free, fill
from musediff.engines.muse.engine import MuseEngine
from musediff.errors import BadRequest
from musediff.tokens import vocab

LOG = "metrics.jsonl"
NOT_LOSSES = (
    *("step", "minutes", "seconds", "samples", "tokens", "rank", "epoch"),
    *("lr", "tokens_per_s", "waiting", "of_peak", "eta_minutes", "skipped"),
)
NOT_HELD_OUT = ("ema",)  # an object that is no evaluation of one model
QUARTILE = re.compile(r"(?P<name>.+)_q(?P<quarter>[0-3])")
QUARTERS = ("clean quarter", "second", "third", "noisiest quarter")
PERPLEXITY = 30.0
Curve = tuple[list[float], list[float]]  # steps, values
NEEDS = "The map of the embeddings needs scikit-learn, which is not installed: pip install scikit-learn"


def draw(folder: Path, weights: Path | None, run: Path | None, force: bool) -> list[Path]:
    """Write every picture that can be made; returns their paths.

    Raises:
        BadRequest: there is nothing to draw, a picture exists or cannot be written, or scikit-learn is missing.
        BadCheckpoint: the weights cannot be read.
    """
    if weights is None and run is None:
        raise BadRequest("--plots needs --weights FOLDER, or --run FOLDER for the losses alone.")
    engine = None if weights is None else read_config(weights)["engine"]
    log = find_log(weights, run)
    if log is None and engine != MuseEngine.name:
        raise BadRequest(
            f"Nothing to draw: no {LOG} beside the weights, and a map of embeddings is made of {MuseEngine.name} weights only."
        )
    curves = {} if log is None else read_log(log)
    plain = {name: lines for name, lines in curves.items() if not QUARTILE.fullmatch(name)}
    pictures = {"losses.png": losses(plain)} if plain else {}
    if len(plain) < len(curves):
        pictures["losses-by-time.png"] = losses(by_quarter(curves))
    last = {"embeddings.png"} if engine == MuseEngine.name else set()
    check_free([folder / name for name in {*pictures, *last}], force)
    for name, figure in pictures.items():
        save(figure, folder / name, force)
    if last:
        assert weights is not None
        save(embeddings(weights), folder / "embeddings.png", force)
    return [folder / name for name in (*pictures, *sorted(last))]


def save(figure: Figure, path: Path, force: bool) -> None:
    fill(path, lambda part: figure.savefig(part, format="png", dpi=120), force)


def find_log(weights: Path | None, run: Path | None) -> Path | None:
    """The log of the run; a run that is named must have one."""
    if run is not None:
        if not (run / LOG).is_file():
            raise BadRequest(f"{run}: no {LOG} there. Give the folder that python -m train --out wrote.")
        return run / LOG
    assert weights is not None
    return next((place / LOG for place in (weights, weights.resolve().parent) if (place / LOG).is_file()), None)


def read_log(path: Path) -> dict[str, dict[str, Curve]]:
    """Name of a figure -> "training" or "held out" -> curve. Lines that are cut off are left out."""
    curves: dict[str, dict[str, Curve]] = defaultdict(lambda: defaultdict(lambda: ([], [])))
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            for name, kind, value in values_of(line):
                steps, values = curves[name][kind]
                steps.append(line["step"])
                values.append(value)
    if not curves:
        raise BadRequest(f"{path}: no line with a step and a figure in it.")
    return {name: dict(lines) for name, lines in curves.items()}


def values_of(line: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Figures of one line: those inside an object of their own ("valid") and those called eval_… are of held-out songs."""
    for name, value in line.items():
        if isinstance(value, dict) and name not in NOT_HELD_OUT:
            yield from ((inner, "held out", figure) for inner, figure in value.items() if is_figure(inner, figure))
        elif is_figure(name, value):
            yield name.removeprefix("eval_"), "held out" if name.startswith("eval_") else "training", value


def is_figure(name: str, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and name not in NOT_LOSSES


def by_quarter(curves: Mapping[str, Mapping[str, Curve]]) -> dict[str, dict[str, Curve]]:
    """ "mse_q3" -> a line of the panel "mse", for each kind."""
    found: dict[str, dict[str, Curve]] = defaultdict(dict)
    for name, lines in sorted(curves.items()):
        match = QUARTILE.fullmatch(name)
        for kind, curve in lines.items() if match else ():
            assert match is not None
            found[f"{match['name']}, {kind}"][QUARTERS[int(match["quarter"])]] = curve
    return dict(found)


def losses(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """A panel for every figure, over the steps; held-out songs are dotted lines."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3 * rows), layout="constrained")
    for place, (name, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        for label, (steps, values) in lines.items():
            axes.plot(steps, values, marker="o" if label == "held out" or len(steps) == 1 else "", markersize=3, linewidth=1, label=label)
        spread(axes, np.concatenate([values for _, values in lines.values()]))
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        axes.legend(fontsize=8)
    return figure


def spread(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis where values span more than a factor of ten."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 10 * finite.min():
        axes.set_yscale("log")


def embeddings(weights: Path, rounds: int = 1000) -> Figure:
    """Map of the embedding table (t-SNE, van der Maaten & Hinton 2008), coloured by what the tokens are."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise BadRequest(NEEDS) from error
    table_VD = MuseEngine.load(weights).network.table_VD.numpy()
    spot_V2 = TSNE(2, perplexity=PERPLEXITY, init="pca", random_state=0, max_iter=rounds).fit_transform(table_VD)
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.add_subplot()
    kinds = vocab.KIND[: len(table_VD)]
    for kind in vocab.Kind:
        x, y = spot_V2[kinds == kind].T
        single = len(x) == 1
        axes.scatter(
            x, y, s=90 if single else 14, marker="*" if single else "o", color=f"C{int(kind)}", label=f"{kind.name.lower()} ({len(x)})"
        )
    axes.set_title(f"{len(table_VD)} token embeddings of width {table_VD.shape[1]}, t-SNE")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
