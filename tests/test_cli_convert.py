"""convert-checkpoint as a user runs it, and what it makes in the other commands."""

import json
from pathlib import Path

import pytest
import torch

from musediff.clip import Clip, Note, Track
from musediff.midi.read import read
from musediff.midi.write import write
from tests.command import run
from tests.test_muse_convert import SETTINGS, layout

POSITIONS = 200
HEADS = ["--heads", "4"]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A tiny checkpoint as the original leaves it, with room for a few bars."""
    weights = layout()
    weights["position_embeddings.weight"] = torch.randn(POSITIONS, 16, generator=torch.Generator().manual_seed(1))
    weights["position_ids"] = torch.arange(POSITIONS)[None]
    folder = tmp_path / "original"
    folder.mkdir()
    torch.save(weights, folder / "ema_0.9999_000010.pt")
    (folder / "training_args.json").write_text(json.dumps(SETTINGS | {"seq_len": POSITIONS}))
    return folder / "ema_0.9999_000010.pt"


def test_a_converted_checkpoint_generates_modifies_and_repairs(original, tmp_path, capsys):
    out, song = tmp_path / "weights", tmp_path / "song.mid"
    code, text, _ = run(["convert-checkpoint", str(original), "--out", str(out), "--json", *HEADS], capsys)
    report = json.loads(text)
    assert code == 0 and report["command"] == "convert-checkpoint"
    assert report["network"]["seq_len"] == POSITIONS and report["network"]["layers"] == 2 and report["schedule"]["name"] == "cosine"
    assert report["embedding"] == "original" and report["source"] == original.name
    song.write_bytes(write(Clip(2, (Track(tuple(Note(i * 480, 60 + i, 480, 70) for i in range(8)), name="Tune"),))))
    common = ["--weights", str(out), "--step", "3", "--sample_seed", "1", "--json"]
    generate = ["generate", "--num_measures", "2", "--time_signature", "4/4", "--num_samples", "3", "--out_dir", str(tmp_path / "made")]
    code, text, err = run([*generate, *common], capsys)
    assert code == 0, err
    report = json.loads(text)
    assert report["engine"] == "muse" and report["seed"] == 1 and len(report["files"]) == 3, "the weights say which engine"
    assert all(max(n.onset_ticks for t in read(Path(f["midi"]).read_bytes()).tracks for n in t.notes) < 3840 for f in report["files"])
    for words in (["modify", str(song), "--strength", "0.75"], ["repair", str(song), "--engine", "muse"]):
        code, text, err = run([*words, "--out", str(tmp_path / f"{words[0]}.mid"), *common], capsys)
        assert code == 0 and json.loads(text)["engine"] == "muse", err
        assert read((tmp_path / f"{words[0]}.mid").read_bytes()).tracks


def test_human_output_says_what_it_is_and_how_to_use_it(original, tmp_path, capsys):
    code, text, _ = run(["convert-checkpoint", str(original), "--out", str(tmp_path / "w"), "--embedding", "as_trained", *HEADS], capsys)
    assert code == 0 and "2 layers of width 16" in text and "cosine" in text and f"--weights {tmp_path / 'w'}" in text


def test_nothing_is_overwritten_without_force(original, tmp_path, capsys):
    out = tmp_path / "weights"
    out.mkdir()
    words = ["convert-checkpoint", str(original), "--out", str(out), *HEADS]
    (out / "mine.txt").write_text("mine")
    code, _, err = run(words, capsys)
    assert code == 2 and "--force" in err and [path.name for path in out.iterdir()] == ["mine.txt"]
    assert run([*words, "--force"], capsys)[0] == 0 and (out / "config.json").exists()
    file = tmp_path / "file"
    file.write_text("mine")
    code, _, err = run(["convert-checkpoint", str(original), "--out", str(file), "--force", *HEADS], capsys)
    assert code == 2 and str(file) in err and file.read_text() == "mine"
    code, _, err = run(["convert-checkpoint", str(original), "--out", str(file / "inside"), *HEADS], capsys)
    assert code == 2 and "cannot be written" in err


def spoil(original: Path, what: str) -> None:
    if what == "shape":
        weights = torch.load(original, weights_only=True)
        weights["time_embed.0.weight"] = torch.zeros(24, 7)
        torch.save(weights, original)
    elif what == "cut":
        original.write_bytes(original.read_bytes()[:1000])
    elif what == "settings":
        (original.parent / "training_args.json").unlink()
    elif what == "file":
        original.unlink()


@pytest.mark.parametrize(
    ("what", "more", "part"),
    [
        ("shape", HEADS, "time_embed.0.weight: has shape (24, 7), the settings ask for (24, 6)"),
        ("cut", HEADS, "damaged"),
        ("settings", HEADS, "training_args.json"),
        ("settings", [*HEADS, "--training-args", "elsewhere.json"], "elsewhere.json"),
        ("file", HEADS, "no such file"),
        ("heads", ["--heads", "5"], "5 heads"),
        ("embedding", ["--embedding", "mine"], "mine"),
    ],
)
def test_what_does_not_fit_is_one_clear_line_and_leaves_nothing(original, what, more, part, tmp_path, capsys):
    spoil(original, what)
    code, out, err = run(["convert-checkpoint", str(original), "--out", str(tmp_path / "w"), *more], capsys)
    assert code == 2 and out == "" and not (tmp_path / "w").exists()
    assert err.splitlines()[-1].startswith("musediff") and part in err and "Traceback" not in err


def test_weights_of_the_original_are_not_taken_for_ours(original, tmp_path, capsys):
    code, _, err = run(["generate", "--weights", str(original), "--out", str(tmp_path / "x.mid")], capsys)
    assert code == 2 and "convert-checkpoint" in err
    code, _, err = run(["generate", "--weights", str(tmp_path / "none"), "--out", str(tmp_path / "x.mid")], capsys)
    assert code == 2 and "config.json" in err


def test_weights_of_another_engine_are_refused(original, tmp_path, capsys):
    out = tmp_path / "w"
    assert run(["convert-checkpoint", str(original), "--out", str(out), *HEADS], capsys)[0] == 0
    code, _, err = run(["generate", "--engine", "slots", "--weights", str(out), "--out", str(tmp_path / "x.mid")], capsys)
    assert code == 2 and "muse" in err and "slots" in err
    code, _, err = run(["generate", "--engine", "vae", "--out", str(tmp_path / "x.mid")], capsys)
    assert code == 2 and "slots, muse" in err
