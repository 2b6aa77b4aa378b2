"""The pictures of a run: which there are, and that they show what is in the log and the weights."""

import errno
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from musediff import checkpoint
from musediff.cli import main
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.engines.slots import vocab as slots_vocab
from musediff.engines.slots.engine import SlotsEngine
from musediff.errors import BadRequest
from musediff.tokens import vocab
from train import evaluate_plots
from train.evaluate_plots import by_quarter, draw, embeddings, losses, read_log

PNG = b"\x89PNG"
LINES = (
    {"step": 0, "minutes": 0.1, "loss": 3.0, "mse": 2.0, "mse_q0": 0.5, "mse_q3": 4.0, "norm": 1.5},
    {"step": 10, "minutes": 0.2, "loss": 0.2, "mse": 0.1, "mse_q0": 0.01, "mse_q3": 0.4, "norm": math.nan},
    {"step": 10, "minutes": 0.2, "valid": {"loss": 0.3, "mse": 0.15, "mse_q0": 0.02}},
    {"step": 20, "eval_loss": 0.25, "loss": 0.21, "note": "text", "resumed": True},
)  # fmt: skip


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of the trainer with tiny muse weights; the log was cut off in its last line."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, LINES)) + '\n{"step": 30, "lo')
    network = MuseNetwork(MuseConfig.tiny())
    about = {"schedule": asdict(ScheduleConfig(steps=50)), "readable": True}
    checkpoint.save(run / "weights", "muse", asdict(network.config), vocab.fingerprint(), network.state_dict(), about)
    return run


def slots_weights(folder: Path) -> Path:
    network = SlotsEngine.tiny().network
    checkpoint.save(folder, "slots", asdict(network.config), slots_vocab.fingerprint(), network.state_dict(), {})
    return folder


def test_the_log_becomes_curves(run_folder):
    curves = read_log(run_folder / "metrics.jsonl")
    assert set(curves) == {"loss", "mse", "mse_q0", "mse_q3", "norm"}
    assert curves["loss"] == {"training": ([0, 10, 20], [3.0, 0.2, 0.21]), "held out": ([10, 20], [0.3, 0.25])}
    panels = by_quarter(curves)
    assert set(panels) == {"mse, training", "mse, held out"}
    assert panels["mse, training"] == {"clean quarter": ([0, 10], [0.5, 0.01]), "noisiest quarter": ([0, 10], [4.0, 0.4])}
    figure = losses({name: lines for name, lines in curves.items() if "_q" not in name})
    assert [axes.get_title() for axes in figure.axes] == ["loss", "mse", "norm"]
    (training, held_out) = figure.axes[0].lines
    assert training.get_ydata().tolist() == [3.0, 0.2, 0.21] and held_out.get_label() == "held out"
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]


def test_every_picture_of_a_run(run_folder, tmp_path, monkeypatch, capsys):
    mapped: list[Path] = []  # the map itself takes seconds and is tested below
    monkeypatch.setattr(evaluate_plots, "embeddings", lambda folder: mapped.append(folder) or losses({"a": {"b": ([0], [1.0])}}))
    words = ["evaluate", "--plots", str(tmp_path / "plots"), "--weights", str(run_folder / "weights")]
    assert main(words) == 0
    written = capsys.readouterr().out.split()
    assert [Path(name).name for name in written] == ["losses.png", "losses-by-time.png", "embeddings.png"]
    assert all(Path(name).read_bytes()[:4] == PNG for name in written) and len(list((tmp_path / "plots").iterdir())) == 3
    assert mapped == [run_folder / "weights"]
    assert main(words) == 2 and "--force" in capsys.readouterr().err


def test_the_map_shows_every_token_in_the_colour_of_its_kind(run_folder):
    (axes,) = embeddings(run_folder / "weights", rounds=250).axes
    shown = {dots.get_label().split()[0]: np.asarray(dots.get_offsets()) for dots in axes.collections}
    assert {name.upper() for name in shown} == {kind.name for kind in vocab.Kind}
    assert {name: len(dots) for name, dots in shown.items()} == {kind.name.lower(): int((kind == vocab.KIND).sum()) for kind in vocab.Kind}
    assert all(np.isfinite(dots).all() for dots in shown.values())
    assert len({tuple(dots.get_facecolor()[0]) for dots in axes.collections}) == len(vocab.Kind)


def test_without_scikit_learn_the_losses_are_drawn_and_the_rest_is_said(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    code = main(["evaluate", "--plots", str(tmp_path / "plots"), "--weights", str(run_folder / "weights")])
    err = capsys.readouterr().err
    assert code == 2 and "pip install scikit-learn" in err and "Traceback" not in err
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["losses-by-time.png", "losses.png"]


def test_a_full_disk_is_told_and_leaves_no_half_picture(run_folder, tmp_path, monkeypatch):
    def full(figure: Figure, file: Path, **_: object) -> None:
        Path(file).write_bytes(PNG)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(BadRequest, match="No space left"):
        draw(tmp_path / "plots", None, run_folder, force=False)
    assert list((tmp_path / "plots").iterdir()) == []


def test_slots_weights_have_losses_only(run_folder, tmp_path):
    weights = slots_weights(run_folder / "slots")
    (run_folder / "metrics.jsonl").write_text('{"step": 1, "pitch": 2.0}\n')
    assert [path.name for path in draw(tmp_path / "plots", weights, None, False)] == ["losses.png"]
    assert [path.name for path in draw(tmp_path / "plots", None, run_folder, True)] == ["losses.png"]


def test_nothing_to_draw_is_said(run_folder, tmp_path):
    with pytest.raises(BadRequest, match="Nothing to draw"):
        draw(tmp_path / "plots", slots_weights(tmp_path / "alone" / "slots"), None, False)
    with pytest.raises(BadRequest, match=r"no metrics\.jsonl"):
        draw(tmp_path / "plots", None, tmp_path, False)
    (run_folder / "metrics.jsonl").write_text('\n[1]\n{"step": "x", "loss": 1}\n')
    with pytest.raises(BadRequest, match="no line"):
        draw(tmp_path / "plots", None, run_folder, False)
    assert not (tmp_path / "plots").exists()
