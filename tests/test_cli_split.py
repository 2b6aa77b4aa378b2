"""modify --split: clips of the packed data, damaged, changed and measured, with both engines."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from musediff.cli import build_parser
from musediff.cli_corruption import corruption_settings, damage_of
from musediff.cli_options import yes_or_no
from musediff.clip import Note
from musediff.data.choose import choose
from musediff.data.store import VALID, load
from musediff.errors import BadRequest
from musediff.job import Job
from musediff.midi.read import read
from tests.command import run

TINY = ["--model", "tiny", "--steps", "2", "--seed", "1"]


def split(data: Path, out: Path, *more: str) -> list[str]:
    return ["modify", "--split", "test", "--data", str(data), "--out", str(out), *TINY, *more]


def notes_of(path: Path) -> list[Note]:
    return [note for track in read(path.read_bytes()).tracks for note in track.notes]


@pytest.mark.parametrize("engine", ["slots", "muse"])
def test_clips_are_damaged_changed_and_measured(engine, data, tmp_path, capsys):
    corruption = ["--use_corruption", "true", "--corr_available", "rn,rr", "--corr_max", "1", "--corr_p", "1", "--strength", "0.5"]
    words = split(data, tmp_path / "out", "--engine", engine, "--num_samples", "4", *corruption, "--json")
    code, text, err = run(words, capsys)
    assert code == 0, err
    said, saved = json.loads(text), json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert said["engine"] == saved["engine"] == engine and said["summary"] == saved["summary"]
    assert saved["settings"]["strength"] == 0.5 and saved["settings"]["corr_available"] == "rn,rr" and saved["seed"] == 1
    assert len(saved["clips"]) == said["clips"] == 4 and saved["refused"] == []
    for kind in ("source", "damaged", "result"):
        assert [path.name for path in sorted((tmp_path / "out" / kind).iterdir())] == [f"{i}.mid" for i in range(1, 5)]
    for row in saved["clips"]:
        source, damaged, result = (notes_of(tmp_path / "out" / kind / row["name"]) for kind in ("source", "damaged", "result"))
        assert source != damaged and damaged != result
        assert len(damaged) == row["notes_before"] and len(result) == row["notes_after"] and len(source) - 2 <= len(damaged) <= len(source)
        assert 0 <= row["f1_after"] <= 1 and row["msim_before"]["product"] < 1
    damaged = saved["summary"]["damaged"]
    assert damaged["msim_pairs"]["product"] == pytest.approx(np.mean([r["msim_before"]["product"] for r in saved["clips"]]), abs=1e-3)
    assert saved["summary"]["result"]["cv"]["total"] == sum(row["notes_after"] for row in saved["clips"])
    assert len({row["song"] + str(row["first_bar"]) + row["role"] for row in saved["clips"]}) == 4


def test_the_seed_decides_the_damage_but_not_the_clips(data, tmp_path, capsys):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        words = split(data, tmp_path / name, "--corr-p", "1", "--num-samples", "2")
        assert run([*words, "--seed", seed], capsys)[0] == 0
    a, b, c = ({path.relative_to(tmp_path / n): path.read_bytes() for path in (tmp_path / n).rglob("*.mid")} for n in "abc")
    assert a == b and len(a) == 6
    same = {path.parts[0]: a[path] == c[path] for path in a}
    assert same == {"source": True, "damaged": False, "result": False}


def test_clean_clips_are_repaired_and_printed_as_a_table(data, tmp_path, capsys):
    words = split(data, tmp_path / "out", "--repair", "--sensitivity", "0.3", "--num-samples", "2")
    code, text, err = run(words, capsys)
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert code == 0, err
    assert "MSIM to the source, each to its own" in text and "1NNC" in text and "note F1" in text
    assert not (tmp_path / "out" / "damaged").exists() and "damaged" not in saved["summary"]
    assert saved["settings"]["repair"] and saved["settings"]["sensitivity"] == 0.3 and "strength" not in saved["settings"]
    assert all(row["f1_before"] == 1 and row["msim_before"]["product"] == pytest.approx(1, abs=1e-3) for row in saved["clips"])


def test_strength_nought_gives_the_source_back(data, tmp_path, capsys):
    assert run(split(data, tmp_path / "out", "--strength", "0", "--num-samples", "2", "--use-corruption", "no"), capsys)[0] == 0
    rows = json.loads((tmp_path / "out" / "metrics.json").read_text())["clips"]
    assert [row["f1_after"] for row in rows] == [1, 1]
    assert notes_of(tmp_path / "out" / "source" / "1.mid") == notes_of(tmp_path / "out" / "result" / "1.mid")


def test_clips_that_lose_all_their_notes_are_no_accident(data, tmp_path, capsys):
    settings = ["--corr-available", "mn", "--corr-p", "1", "--corr-kwargs", '{"mn": {"p": 1}}']
    for engine in ("slots", "muse"):
        words = split(data, tmp_path / engine, "--engine", engine, "--num-samples", "2", *settings)
        assert run(words, capsys)[0] == 0
        saved = json.loads((tmp_path / engine / "metrics.json").read_text())
        assert saved["summary"]["damaged"]["empty"] == 2 and [row["notes_before"] for row in saved["clips"]] == [0, 0]


def test_an_interruption_keeps_what_is_done(data, tmp_path, monkeypatch, capsys):
    jobs: list[Job] = []
    to_the_end = Job.run

    def interrupted(job):
        jobs.append(job)
        if len(jobs) == 3:
            raise KeyboardInterrupt
        return to_the_end(job)

    monkeypatch.setattr(Job, "run", interrupted)
    assert run(split(data, tmp_path / "out", "--num-samples", "5", "--corr-p", "1"), capsys)[0] == 130
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [row["name"] for row in saved["clips"]] == ["1.mid", "2.mid"] and saved["summary"]["result"]["clips"] == 2


def test_clips_that_the_engine_refuses_are_told(data, tmp_path, monkeypatch, capsys):
    begin = Job.__init__

    def refuse_eight_bars(job, engine, name, request, *rest):
        if request.clip.num_measures == 8:
            raise BadRequest("eight bars are too many")
        begin(job, engine, name, request, *rest)

    monkeypatch.setattr(Job, "__init__", refuse_eight_bars)
    code, text, _ = run(split(data, tmp_path / "out", "--num-samples", "12"), capsys)
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert code == 0 and "clips were refused" in text and len(saved["clips"]) + len(saved["refused"]) == 12
    assert {row["bars"] for row in saved["refused"]} == {8} and {row["bars"] for row in saved["clips"]} <= {4, 16}
    monkeypatch.setattr(Job, "__init__", lambda *_: (_ for _ in ()).throw(BadRequest("nothing works")))
    code, _, err = run(split(data, tmp_path / "none"), capsys)
    assert code == 2 and "nothing works" in err and not (tmp_path / "none" / "metrics.json").exists()


def test_nothing_is_overwritten_without_force(data, tmp_path, capsys):
    words = split(data, tmp_path / "out", "--num-samples", "1")
    assert run(words, capsys)[0] == 0
    assert run(words, capsys)[0] == 2 and run([*words, "--force"], capsys)[0] == 0
    for path in (tmp_path / "out" / "source").iterdir():
        path.unlink()
    code, _, err = run(words, capsys)
    assert code == 2 and "--force" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("modify --out x", "--split test --data"),
        ("modify --split test --out x", "--data"),
        ("modify --split test --data missing.npz --out x", "missing.npz"),
        ("modify --split dev --data DATA --out x", "dev"),
        ("modify some.mid --split test --data DATA --out x", "some.mid"),
        ("modify some.mid --corr-p 0 --out x", "--corr-p goes with --split"),
        ("modify some.mid --repair --out x", "--repair goes with --split"),
        ("modify --split test --data DATA --bars 2 --out x", "--bars"),
        ("modify --split test --data DATA --first-bar 2 --out x", "--first-bar"),
        ("modify --split test --data DATA --bpm 90 --out x", "--bpm"),
        ("modify --split test --data DATA --wav --out x", "--wav"),
        ("modify --split test --data DATA --repair --strength 1 --out x", "--strength"),
        ("modify --split test --data DATA --sensitivity 1 --out x", "--repair"),
        ("modify --split test --data DATA --strength 2 --out x --model tiny", "strength"),
        ("modify --split test --data DATA --num-samples 1000000 --out x", "1000000 asked"),
        ("modify --split test --data DATA --keep tempo --out x --model tiny", "tempo"),
        ("modify --split test --data DATA --step 0 --out x", "steps"),
        ("modify --split test --data DATA --use-corruption perhaps --out x", "perhaps"),
        ("modify --split test --data DATA --corr-available mt,xx --out x", "xx"),
        ("modify --split test --data DATA --corr-p 2 --out x", "probability"),
        ("modify --split test --data DATA --corr-max -1 --out x", "-1"),
        ("modify --split test --data DATA --corr-kwargs {'p':0.4} --out x", "double quotes"),
        ("modify --split test --data DATA --corr-kwargs dict(p=0.4) --out x", "JSON"),
        ("modify --split test --data DATA --corr-kwargs [1] --out x", "by name"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(words, part, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run([str(data) if word == "DATA" else word for word in words.split()], capsys)
    assert code == 2 and out == "" and not list(tmp_path.rglob("*.mid"))
    assert err.splitlines()[-1].startswith("musediff") and part in err and "Traceback" not in err


def test_settings_of_corruptions_are_json():
    every = ("mt", "mn", "rn", "rr")
    assert corruption_settings('{"rn": {"p": 0.4}}', every) == {"rn": {"p": 0.4}}
    assert corruption_settings('{"p": 0.4}', every) == {name: {"p": 0.4} for name in ("mt", "mn", "rn")}
    assert corruption_settings('{"p": 0.4, "rn": {"p": 0.1}}', ("rn", "rr")) == {"rn": {"p": 0.1}}
    for text in ('{"rn": {"p": NaN}}', '{"rn": {"p": true}}', '{"rn": {"p": "1"}}', '{"q": 1}', '{"p": null}', '{"count": 1e999}'):
        with pytest.raises(BadRequest, match="corr-kwargs"):
            corruption_settings(text, every)


def arguments(*words: str) -> Namespace:
    return build_parser().parse_args(["modify", "--split", "test", "--out", "x", *words])


def test_any_setting_switches_the_damage_on_and_no_switches_it_off():
    assert damage_of(arguments()) is None and damage_of(arguments("--use-corruption", "false", "--corr-p", "1")) is None
    assert damage_of(arguments("--use-corruption")) and damage_of(arguments("--corr-max", "2"))
    assert [yes_or_no(text) for text in ("true", "1", "YES", "false", "0", "no")] == [True] * 3 + [False] * 3
    none = damage_of(arguments("--corr-max", "0"))
    ids, noised = np.arange(2, 60), np.ones(58, bool)
    assert none is not None and (none(ids, noised, np.random.default_rng(0)) == ids).all()


def test_rows_are_of_their_split_and_one_of_each_song_comes_first(data):
    store = load(data)
    rows = choose(store, VALID, np.random.default_rng(0))
    songs = store.clip_song[rows]
    different = len(np.unique(songs))
    assert len(rows) > 20 and (store.song_split[songs] == VALID).all() and len(np.unique(rows)) == len(rows)
    assert len(np.unique(songs[:different])) == different
    of_roles = choose(store, VALID, np.random.default_rng(0), roles=(0, 3))
    assert set(store.clip_role[of_roles]) == {0, 3} and not np.isin(np.setdiff1d(rows, of_roles), of_roles).any()
    train = choose(store, 0, np.random.default_rng(0), bars=8, corpora=("pop909",))
    assert len(train) and set(store.clip_bars[train]) == {8} and not set(train) & set(rows)
    assert len(choose(store, VALID, np.random.default_rng(0), without=("pop909",))) == 0
