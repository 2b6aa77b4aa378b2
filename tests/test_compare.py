"""The comparison of the engines: what is lost is not shown, both engines get the same, the table has every figure."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from musediff import checkpoint
from musediff.engines.muse.engine import MuseEngine
from musediff.engines.registry import WEIGHTS
from musediff.pipeline import MusePipeline, Sampling
from musediff.tokens import vocab
from musediff.tokens.damage import CORRUPTIONS
from tests.slots.conftest import make_clip
from train import bundle, compare, priors
from train.compare import damaged, main, mend, systems


@pytest.mark.parametrize("way", CORRUPTIONS)
def test_damage_says_what_is_lost_and_is_silent_about_the_rest(way: str) -> None:
    clip = make_clip(1, bars=8, per_bar=12)
    case, notes = damaged(clip, way, 3), clip.tracks[0].notes
    assert case.clip != clip
    if way in ("rn", "rr"):
        assert case.wrong is None and case.left == case.clip.tracks[0].notes
        return
    assert case.wrong is not None
    assert set(case.left) <= set(notes) and len(case.left) == len(notes) - len(case.wrong)
    shown = case.clip.tracks[0].notes
    assert {note for i, note in enumerate(shown) if i not in case.wrong} == set(case.left)
    share = sum(map(len, case.wrong.values())) / (4 * len(notes))
    assert share == pytest.approx(CORRUPTIONS[way].defaults["p"], abs=0.1)
    assert {len(values) for values in case.wrong.values()} >= ({4} if way == "mn" else {1, 2, 3})


@pytest.mark.parametrize("engine", ["slots", "muse"])
def test_what_a_lost_value_was_decides_nothing(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, clip = MusePipeline.tiny(engine), make_clip(2, bars=2, per_bar=6)
    case = damaged(clip, "mt", 1)
    assert case.wrong is not None
    silent = {i: frozenset({"velocity"}) for i in case.wrong}
    track = clip.tracks[0]
    found = []
    for filler in (1, 127):
        notes = tuple(n._replace(velocity=filler) if i in silent else n for i, n in enumerate(track.notes))
        shown = replace(clip, tracks=(replace(track, notes=notes),))
        found.append(pipeline.repair(shown, wrong=silent, sampling=Sampling(seed=1, steps=3)).clips[0])
    assert [n.pitch for n in found[0].tracks[0].notes] == [n.pitch for n in track.notes]
    assert found[0] == found[1]


def test_every_system_mends_the_same_clips() -> None:
    chosen = systems({name: MusePipeline.tiny(name) for name in ("slots", "muse")}, 4)
    assert list(chosen) == ["slots", "muse, 20 steps", "muse, the original's sampler, 4 steps"]
    clips = [make_clip(seed, bars=2) for seed in range(2)]
    found = mend(chosen, clips, "mn", "main_melody")
    assert set(found) == {"left", *chosen}
    assert all(0 < value < 1 for value in found.values())


def test_the_command_prints_a_table_of_bundled_and_trained_weights(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    muse = MuseEngine.tiny()
    about = {"schedule": {"steps": 200}, "readable": True}
    network = {name: getattr(muse.network.config, name) for name in type(muse.network.config).__dataclass_fields__}
    checkpoint.save(tmp_path / "run", "muse", network, vocab.fingerprint(), muse.network.state_dict(), about)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["bundle", str(tmp_path / "run"), "--data", str(data), "--out", str(tmp_path / "muse")])
        bundle.main()
    words = [
        "--roles",
        "bass",
        "main_melody",
        "--clips",
        "2",
        "--repairs",
        "1",
        "--original-steps",
        "3",
        "--processes",
        "2",
        "--out",
        str(tmp_path / "new" / "r.json"),
    ]
    capsys.readouterr()
    main(["--data", str(data), "--weights", str(WEIGHTS / "slots"), "--weights", str(tmp_path / "muse"), *words])
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "new" / "r.json").read_text())
    assert set(report) == {"bass", "main_melody"}
    columns = ["real clips", "slots", "muse, 20 steps", "muse, the original's sampler, 3 steps"]
    assert all(list(report[role]) == columns for role in report)
    assert [cell.strip() for cell in printed.splitlines()[0].split("|")[2:-1]] == columns
    assert report["bass"]["muse, 20 steps"]["raw_legal"] is not None and report["bass"]["slots"]["raw_legal"] is None
    tones = np.mean([report[role]["slots"]["chord_tones"] for role in report])
    line = next(line for line in printed.splitlines() if line.startswith("| chord tones"))
    assert line.split("|")[3].strip() == f"{tones:.3f}"
    for way in CORRUPTIONS:
        assert f"MSIM after {way}" in printed


def test_two_weights_of_one_engine_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would share a column."""
    with pytest.raises(SystemExit) as left:
        main(["--data", str(data), *["--weights", str(WEIGHTS / "slots")] * 2])
    assert left.value.code == 2 and "two weights of the engine slots" in capsys.readouterr().err


def test_priors_and_counts_come_from_training_songs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["priors", "--data", str(data), "--out", str(tmp_path), "--per-group", "2", "--counts", "5"])
    priors.main()
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["bass"] and all(len(row) == 8 for rows in counts.values() for row in rows)
    assert all([sum(row) for row in rows] == sorted(map(sum, rows)) for rows in counts.values())
    assert len(json.loads((tmp_path / "priors.json").read_text())) > 3


def test_the_calibration_rises() -> None:
    pairs = bundle.calibrate(MusePipeline.tiny(), [make_clip(1, bars=4, per_bar=8)])
    assert pairs[0] == (0.0, 0.0) and pairs[-1] == (1.0, 1.0)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


def test_nothing_is_calibrated_without_held_out_clips(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle, "held_out", lambda *_: [])
    monkeypatch.setattr("sys.argv", ["bundle", str(WEIGHTS / "slots"), "--data", str(data), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        bundle.main()
    assert left.value.code == 2 and "no held-out clip" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_cannot_be_said_of_silence_is_left_out() -> None:
    clip = make_clip(1, bars=2, per_bar=4)
    silent = replace(clip, tracks=(replace(clip.tracks[0], notes=()),))
    found = compare._described([silent] * 2, [clip] * 2, [clip] * 2)
    assert all(found[name] is None for name in ("cp", "cv", "chord_tones")) and found["legal"] == 0


def test_the_mean_leaves_out_what_no_role_has() -> None:
    report = {"bass": {"x": {"raw_legal": None}}, "pad": {"x": {"raw_legal": 0.5}}}
    assert compare._mean(report, "x", "raw_legal", form=str) == "0.5"
    assert compare._mean({"bass": report["bass"]}, "x", "raw_legal", form=str, missing="–") == "–"
