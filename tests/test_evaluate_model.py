"""Weights on held-out songs: which clips are taken, what is measured of them, and the tables of several weights."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from musediff import checkpoint
from musediff.cli import main
from musediff.clip import Clip, Note
from musediff.data import store as packed
from musediff.engines.slots import vocab
from musediff.engines.slots.engine import SlotsEngine
from musediff.errors import BadRequest
from musediff.metrics.copying import Index
from musediff.pipeline import MusePipeline, Sampling
from musediff.ranks import Ranks
from tests.slots.conftest import make_clip
from train.evaluate_choice import alike, sample
from train.evaluate_edits import REFILLED, STRENGTHS, changed, companion, curve, means, refilled, repaired
from train.evaluate_kept import Kept
from train.evaluate_model import ALL, REAL, Settings, evaluate_role
from train.evaluate_sets import Measured, beside, copies, describe, one_of_each_song, training_runs
from train.evaluate_tables import LINES, TARGETS, cell, missed, of_corpora, of_role, targets

SEED = Sampling(seed=0)
ALONE = Ranks(), lambda value: [value], Kept(None, Ranks(), resume=False)


@pytest.fixture(scope="module")
def store(data: Path) -> packed.Store:
    """The three sample songs twice, the second time as another corpus, so that there are two of everything."""
    one = packed.load(data)
    twice = {name: np.concatenate((getattr(one, name), getattr(one, name))) for name in ("song_split", "song_genre")}
    twice["song_name"] = np.concatenate((one.song_name, np.char.add(one.song_name, " again")))
    twice["song_corpus"] = np.concatenate((one.song_corpus, np.full(one.songs, "others")))
    lengths = {name: len(getattr(one, name)) for name in packed.DTYPES}
    found: dict[str, np.ndarray] = {}
    for name in packed.DTYPES:
        column = getattr(one, name)
        if name.endswith("_offset"):
            found[name] = np.concatenate((column, column[1:] + column[-1]))
        elif name in ("clip_song", "clip_track"):
            found[name] = np.concatenate((column, column + (one.songs if name == "clip_song" else lengths["track_instrument"])))
        else:
            found[name] = twice.get(name, np.concatenate((column, column)))
    return packed.Store(**found)


class Stub:
    """A pipeline that answers with what the test says."""

    def __init__(self, edit: Any) -> None:
        self.edit = edit

    def __getattr__(self, name: str) -> Any:
        return lambda clip, *args, **named: cast("Any", type("Result", (), {"clips": [self.edit(clip, *args)]}))


def with_notes(clip: Clip, notes: Sequence[Note]) -> Clip:
    return replace(clip, tracks=(replace(clip.tracks[0], notes=tuple(sorted(notes))),))


def pipeline(edit: Any) -> MusePipeline:
    return cast("MusePipeline", Stub(edit))


# --- which clips


def test_held_out_clips_and_clips_of_other_songs_in_the_same_mix(store: packed.Store) -> None:
    found = sample(store, "accompaniment", 6, (), 0)
    assert len(found.asked.clips) == 6 == len(found.others.clips)
    assert not set(found.asked.songs.tolist()) & set(found.others.songs.tolist())
    assert {int(store.song_split[song]) for song in found.asked.songs} == {packed.VALID}
    assert {int(store.song_split[song]) for song in found.others.songs} == {packed.TRAIN}
    assert sorted(found.asked.corpora.tolist()) == sorted(found.others.corpora.tolist())
    assert len(set(found.asked.songs[:2].tolist())) == 2, "one of each song first"
    again, other = sample(store, "accompaniment", 6, (), 0), sample(store, "accompaniment", 6, (), 1)
    assert again.asked.clips == found.asked.clips and other.asked.clips != found.asked.clips
    assert set(sample(store, "accompaniment", 6, ("others",), 0).asked.corpora) == {"others"}


def test_as_many_of_each_corpus() -> None:
    wanted, there = np.array(["a", "b", "a", "c"]), np.array(["b", "a", "a", "a", "b"])
    assert sorted(alike(wanted, there).tolist()) == [0, 1, 2]
    assert alike(wanted, there[:0]).tolist() == []


def test_1nnc_takes_one_clip_of_a_song_and_as_many_of_a_corpus() -> None:
    clips = [make_clip(seed, bars=2, per_bar=4) for seed in range(8)]
    a = Measured.of(clips[:5], np.array([1, 1, 2, 3, 3]), np.array(["x", "x", "x", "y", "y"]))
    b = Measured.of(clips[5:], np.array([7, 8, 9]), np.array(["x", "y", "y"]))
    assert [rows.tolist() for rows in one_of_each_song(a, b)] == [[0, 3], [0, 1]]
    elsewhere = replace(b, corpora=np.array(["z"] * 3))
    figures, _ = beside(a, elsewhere)
    assert "1nnc" not in figures and {"oa", "fd", "c2st"} <= set(figures)
    one_song = Measured.of(clips[:2], np.array([1, 1]), np.array(["x", "x"]))
    assert "1nnc" not in beside(one_song, one_song)[0], "two clips are always each other's neighbours"


# --- edits


def test_a_perfect_repair_and_none() -> None:
    clip = make_clip(1, bars=8, per_bar=6)
    row = repaired(pipeline(lambda _: clip), clip, Sampling(seed=3))
    assert row.model["found_f1"] == 1 and row.model["repaired_msim"] == pytest.approx(1) and row.model["clean_changed"] == 0
    assert row.real["repaired_msim"] < 0.95, "the damaged clip"
    nothing = repaired(pipeline(lambda broken: broken), clip, Sampling(seed=3))
    assert nothing.model["found_f1"] == 0 and nothing.model["repaired_msim"] == nothing.real["repaired_msim"]


def test_refilled_bars_are_compared_with_what_was_there() -> None:
    clip, other = make_clip(1, bars=8, per_bar=6), make_clip(2, bars=8, per_bar=6)
    row = refilled(pipeline(lambda source, _: source), clip, other, SEED)
    assert row.model == {"refilled_f1": 1, "refilled_chroma": pytest.approx(1), "refilled_outside": 1}
    assert row.real["refilled_f1"] < 0.9 and set(row.real) == {"refilled_f1", "refilled_chroma"}
    first, *rest = clip.tracks[0].notes
    assert first.onset_ticks // clip.bar_ticks not in REFILLED
    assert refilled(pipeline(lambda *_: with_notes(clip, rest)), clip, None, SEED).model["refilled_outside"] == 0
    empty = refilled(pipeline(lambda *_: with_notes(clip, [])), clip, None, SEED)
    assert empty.model["refilled_f1"] == 0 == empty.model["refilled_chroma"]
    silent = refilled(pipeline(lambda *_: with_notes(clip, [])), with_notes(clip, [first]), None, SEED)
    assert silent.model["refilled_f1"] == 1 and means([silent.model, {"refilled_chroma": 0.5}])["refilled_chroma"] == 0.5


def test_the_strength_slider_is_followed() -> None:
    clip = make_clip(1, bars=4, per_bar=10)
    notes = clip.tracks[0].notes

    def share(source: Clip, level: float) -> Clip:
        return with_notes(source, [n._replace(velocity=1) if i < level * len(notes) else n for i, n in enumerate(notes)])

    good, bad = (changed(pipeline(edit), clip, SEED).model for edit in (share, lambda source, level: share(source, 1 - level)))
    assert means([good])["strength"] == pytest.approx(1) and means([good])["strength_error"] < 0.02
    assert means([good, good])["strength_clip"] == pytest.approx(1)
    assert means([bad])["strength"] == pytest.approx(-1) and means([bad])["strength_error"] > 0.4
    assert curve([good]) == pytest.approx(STRENGTHS, abs=0.02) and curve([{}]) == []
    assert "strength" not in means([changed(pipeline(lambda source, _: source), clip, SEED).model]), "a curve that is flat has no order"


def test_what_an_engine_refuses_is_told_and_the_rest_goes_on(store: packed.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MusePipeline.tiny()

    def refuse(*_: object, **__: object) -> None:
        raise BadRequest("this engine cannot")

    monkeypatch.setattr(model, "repair", refuse)
    settings = Settings(clips=3, repairs=2, strengths=1, sampling=Sampling(steps=1))
    report = evaluate_role({"a": model}, store, "bass", settings, training_runs(store), *ALONE)
    found = report["groups"][ALL]["a"]
    assert report["notes"] == ["a: repair: this engine cannot"] and "found_f1" not in found and len(found["refilled_f1"]) == 1


def test_the_companion_is_another_song_in_the_same_metre() -> None:
    clips = [make_clip(seed, bars=2) for seed in range(3)]
    assert companion(clips, [1, 1, 2], 0) is clips[2] and companion(clips, [1, 1, 1], 0) is None
    third = replace(clips[2], time_signature="3/4", chords=None)
    assert companion([clips[0], clips[1], third], [1, 2, 3], 0) is clips[1]
    assert companion([clips[0], third], [1, 2], 0) is None


# --- sets


def test_figures_against_what_was_asked() -> None:
    clip = make_clip(1, bars=4, per_bar=6)
    asked = replace(clip, tracks=(replace(clip.tracks[0], pitch_range="very_high", min_velocity=1, max_velocity=127),))
    figures = describe([clip, with_notes(clip, [])], [asked, asked])
    assert figures["valid"] == 0.5 and figures["cp"] == 0 and figures["cv"] == 1 and figures["notes"] == len(clip.tracks[0].notes) / 2
    too_long = with_notes(clip, [Note(0, 60, clip.end_ticks + 1, 64)])
    assert describe([too_long], [asked])["valid"] == 0
    silent = describe([with_notes(clip, [])], [asked])
    assert "chord_tones" not in silent and "cv" not in silent and not any(map(math.isnan, silent.values()))


def test_training_songs_are_copies_of_themselves_and_held_out_ones_are_not(store: packed.Store, data: Path) -> None:
    one = packed.load(data)
    index = training_runs(one)
    held_out, train = (sample(one, "main_melody", 20, (), 0).__getattribute__(name).clips for name in ("asked", "others"))
    assert copies(index, train) == {"copied_9": 1, "copied_13": 1, "copied_17": 1}
    assert copies(index, held_out)["copied_17"] < 0.2
    assert copies(training_runs(replace(one, song_split=np.full(one.songs, packed.VALID))), train)["copied_9"] == 0


# --- the report of a role


def weights(folder: Path) -> Path:
    network = SlotsEngine.tiny().network
    checkpoint.save(folder, "slots", asdict(network.config), vocab.fingerprint(), network.state_dict(), {})
    return folder


def test_every_model_and_corpus_and_seed_has_its_figures(store: packed.Store) -> None:
    models = {"a": MusePipeline.tiny(), "b": MusePipeline.tiny("muse")}
    settings = Settings(clips=4, repairs=1, strengths=1, step_clips=2, seeds=2, sampling=Sampling(steps=1))
    report = evaluate_role(models, store, "bass", settings, training_runs(store), *ALONE)
    assert report["clips"] == 4 and report["corpora"] == {"others": 1, "pop909": 1} and report["notes"] == []
    assert set(report["groups"]) == {ALL, "others", "pop909"}
    for name in ("a", "b"):
        found = report["groups"][ALL][name]
        missing = {line.name for line in LINES} - set(found)
        assert missing <= ({"strength", "strength_clip"} if name == "b" else set()), "what does not vary has no order"
        assert all(len(values) == 2 for values in found.values()) and found["valid"] == [1, 1] and found["refilled_outside"] == [1, 1]
        assert len(report["strengths"][name]) == 10 and set(report["steps"][name]) == {REAL, "4", "8", "16", "32"}
        assert len(report["told_by"][name]) == 5
        assert "1nnc" not in report["groups"]["others"][name] and "cp" in report["groups"]["others"][name], "one song is no set"
    real = report["groups"][ALL][REAL]
    assert real["valid"] == [1, 1] and real["1nnc"] == real["other_1nnc"] and 0 < real["repaired_msim"][0] < 1
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    tables = (of_role(report), of_corpora(report), targets({"bass": report}, "b"))
    assert [len(table.rows) for table in tables[::2]] == [len(LINES), len(TARGETS)] and list(tables[0].head) == ["", REAL, "a", "b"]
    assert any(row[0] == "chord tones: pop909 (1)" for row in tables[1].rows)


def test_a_cell_is_the_mean_and_its_spread() -> None:
    line = next(line for line in LINES if line.name == "1nnc")
    assert cell(line, {"1nnc": [0.5, 0.6, 0.7]}) == "0.60 ± 0.10"
    assert cell(line, {"1nnc": [0.5, None]}) == "0.50" and cell(line, {"1nnc": [None]}) == "" and cell(line, {}) == ""


def test_aims_are_marked_where_they_are_missed() -> None:
    real = {"fd": [2.0], "chord_tones": [0.7], "copied_13": [0.02]}
    good = {"fd": [3.9], "chord_tones": [0.72], "copied_13": [0.03], "1nnc": [0.55], "repaired_msim": [0.9], "valid": [1.0]}
    bad = {"fd": [4.1], "chord_tones": [0.74], "copied_13": [0.04], "1nnc": [0.56], "repaired_msim": [0.8], "valid": [0.99]}
    roles = {role: {"groups": {ALL: {REAL: real, "m": of}}} for role, of in (("main_melody", good), ("accompaniment", bad))}
    rows = {row[0]: row[1:] for row in targets(roles, "m").rows}
    assert rows["Frechet distance ≤ 2 × real"] == ["3.90 (2.00)", "4.10 (2.00) ✗"]
    assert rows["repaired melody MSIM ≥ .85"] == ["0.900", ""] and rows["repaired accompaniment MSIM ≥ .93"] == ["", "0.800 ✗"]
    assert all(cells[1].endswith("✗") and "✗" not in cells[0] for name, cells in rows.items() if all(cells)), rows
    alone = {"pad": {"groups": {ALL: {REAL: {}, "m": bad}}}}
    rows = {row[0]: row[1] for row in targets(alone, "m").rows}
    assert rows["Frechet distance ≤ 2 × real"] == "4.10" and rows["chord tones within .03 of real"] == "0.740", "nothing to judge it by"
    assert rows["legal clips 100 %"] == "99.0% ✗"


def test_it_is_said_which_corpora_miss_an_aim() -> None:
    real = {"chord_tones": [0.7]}
    by_corpus = {ALL: {}, "lieder": {"c2st": [0.7, 0.72], "chord_tones": [0.69]}, "pop909": {"c2st": [0.6], "chord_tones": [0.8]}}
    groups = {corpus: {REAL: real | {"c2st": [0.5]}, "m": of} for corpus, of in by_corpus.items()}
    roles = {"bass": {"corpora": {"lieder": 40, "pop909": 30}, "groups": groups}, "pad": {"corpora": {}, "groups": {ALL: groups[ALL]}}}
    table = missed(roles, "m")
    assert list(table.head) == ["missed by", "bass", "pad"]
    assert table.rows == [["C2ST ≤ .65", "lieder 0.71 (0.50)", ""], ["chord tones within .03 of real", "pop909 0.800 (0.700)", ""]]


def test_weights_beside_each_other_on_the_command_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    few = "--clips 3 --repairs 1 --strengths 1 --roles bass --steps 1 --seeds 2".split()
    words = ["evaluate", "--data", str(data), "--weights", str(a), "--weights", str(b), *few, "--out", str(tmp_path / "r.json")]
    assert main(words) == 0
    printed, saved = capsys.readouterr().out, json.loads((tmp_path / "r.json").read_text())
    assert set(saved["models"]) == {str(a), str(b)} and saved["settings"]["seeds"] == 2 and saved["data"] == "sample.npz"
    columns = saved["roles"]["bass"]["groups"][ALL]
    assert list(columns) == [REAL, str(a), str(b)] and columns[str(a)] == columns[str(b)], "the same weights, the same figures"
    assert (
        "overlapped area" in printed
        and "1NNC, product" not in printed
        and "## bass, clips: 3, held-out songs: 1" in printed
        and f"### {a}" in printed
    )
    assert "figures.json" not in [path.name for path in tmp_path.rglob("*")]


def test_an_index_of_other_lengths() -> None:
    assert set(Index.of(np.arange(5) * 480, np.arange(5) + 60, np.zeros(5), (2, 3)).rates([[]])) == {2, 3}
