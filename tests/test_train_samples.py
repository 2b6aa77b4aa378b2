"""Every evaluation makes clips of the same requests; what is not installed costs them, not the run."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musediff.midi.read import read
from train.recipes import ar_tiny, muse_tiny, slots_tiny
from train.samples import PARTS, PICTURE, Samples, requests
from train.train import train

TINY = {"slots": slots_tiny(), "muse": muse_tiny(), "ar": ar_tiny()}


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.slot_clips.HELD_OUT_CLIPS", 4)
    monkeypatch.setattr("train.muse_task.HELD_OUT_CLIPS", 16)


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in (out / "samples").rglob("*") if path.is_file())


@pytest.mark.parametrize("engine", TINY)
def test_an_evaluation_makes_clips_and_a_picture_and_changes_nothing_else(engine: str, data: Path, tmp_path: Path) -> None:
    recipe = replace(TINY[engine], steps=4, evaluate_every=2, tokens=200, minutes=1e9, network=replace(TINY[engine].network, dropout=0.1))
    with_, without = tmp_path / "with", tmp_path / "without"
    train(replace(recipe, samples=2), data, with_, "cpu")
    train(replace(recipe, samples=0), data, without, "cpu")
    names = ["1-main_melody.mid", "2-accompaniment.mid", PICTURE]
    assert files(with_) == [f"samples/{step}/{name}" for step in ("000002", "000004") for name in names] and not files(without)
    for name in names[:2]:
        score = read((with_ / "samples" / "000004" / name).read_bytes(), name)
        assert any(track.notes for track in score.tracks)
    assert (with_ / "samples" / "000004" / PICTURE).read_bytes()[:4] == b"\x89PNG"
    ends = [torch.load(out / "state-000004.pt", weights_only=True)["network"] for out in (with_, without)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_the_requests_leave_nothing_open() -> None:
    asked = requests(5)
    assert all(getattr(meta, name) is not None for meta in asked for name in meta.__slots__)
    assert [meta.track_role for meta in asked[:4]] == ["main_melody", "accompaniment", "bass", "main_melody"] and len(PARTS) == 3


def test_what_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    samples = Samples(tmp_path, 1)
    assert samples.make(tmp_path / "none", 1).startswith("no samples: ") and samples.make(tmp_path / "none", 2) == ""
    assert Samples(tmp_path, 0).make(tmp_path / "none", 1) == "" and not (tmp_path / "samples").exists()


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
from musediff.cli import main
sys.exit(main({words!r}))
"""


@pytest.mark.parametrize(
    ("missing", "note", "made"),
    [
        (["matplotlib"], "note: the samples are MIDI files only: for a picture pip install matplotlib", 2),
        (["matplotlib", "mido", "symusic", "gradio", "fluidsynth", "sklearn"], "note: no samples: mido is not installed", 0),
    ],
)
def test_training_needs_torch_numpy_safetensors_and_tqdm(
    missing: list[str], note: str, made: int, data: Path, tmp_path: Path, root: Path
) -> None:
    words = f"train slots-tiny --data {data} --out {tmp_path} --steps 2 --eval-interval 1 --tokens 200 --samples 1".split()
    code = WITHOUT.format(missing=missing, words=words)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines().count(note) == 1 and len(files(tmp_path)) == made


def test_a_sheet_has_room_for_the_widest(tmp_path: Path) -> None:
    from matplotlib.image import imread

    from musediff.clip import Clip, Note, Track
    from musediff.render.sheet import save_sheet

    clips = [Clip(bars, (Track((Note(0, 60, 480, 80),)),)) for bars in (2, 8)]
    for shown in (clips[:1], clips[1:], clips):
        save_sheet(shown, tmp_path / f"{len(list(tmp_path.iterdir()))}.png")
    one, other, both = (np.asarray(imread(tmp_path / f"{i}.png")).shape for i in range(3))
    assert both[0] == one[0] + other[0] and both[1] == other[1] > one[1]
