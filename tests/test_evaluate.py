"""musediff evaluate: sets of clips against each other, and weights on held-out songs."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from musediff.chords import chord_id
from musediff.cli import main
from musediff.clip import ROLES, Clip, Note, Track
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.midi.read import read
from musediff.midi.write import write
from tests.midi_bytes import off, on, one_track
from tests.random_clips import clip_of, random_clips
from train.evaluate_clips import Choice, read_file, read_packed


def folder_of(path: Path, clips: list[Clip], settings: str | None = None) -> Path:
    path.mkdir()
    for i, clip in enumerate(clips):
        (path / f"{i:03}.mid").write_bytes(write(clip, settings))
    return path


def run(words: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = main(["evaluate", *map(str, words)])
    except SystemExit as left:
        code = int(left.code or 0)
    return code, *capsys.readouterr()


def figures(words: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[dict, list[str]]:
    code, out, err = run([*words, "--json"], capsys)
    assert code == 0, err
    report = json.loads(out)
    return report["sets"], report["notes"]


def test_folders_beside_the_first_one(tmp_path, capsys):
    clips = [clip_of(notes) for notes in random_clips(1, 10)]
    high = [clip_of([n._replace(pitch=n.pitch + 12) for n in notes]) for notes in random_clips(1, 10)]
    a, b, c = folder_of(tmp_path / "a", clips), folder_of(tmp_path / "b", high), folder_of(tmp_path / "c", clips[:4])
    sets, notes = figures([a, b, c], capsys)
    assert notes == [] and list(sets) == [str(a), str(b), str(c)]
    alone, octave, same = sets.values()
    assert alone["clips"] == 10 and alone["1nnc"]["product"] is None and alone["cp"] == {"total": 0, "wrong": 0}
    assert octave["pairs"] == 10 and octave["msim_pairs"]["product"] == pytest.approx(1, abs=1e-4), "MSIM does not hear octaves"
    assert octave["cp"] == {"total": 10, "wrong": 10} and octave["cv"]["wrong"] == 0, "what the first set is like was asked"
    assert same["pairs"] == 4 and same["1nnc_clips"] == 4 and same["cp"] == {"total": 4, "wrong": 0}
    code, text, _ = run([a, b], capsys)
    assert code == 0 and "100.0% (10 of 10)" in text and "1NNC against" in text and str(b) in text


def test_what_the_settings_ask_counts(tmp_path, capsys):
    clips = [clip_of([Note(i * 480, 65, 480, 40 + 20 * i) for i in range(4)])] * 3
    settings = json.dumps({"mode": "generate", "meta": {"pitch_range": "high", "min_velocity": "any", "max_velocity": 80, "inst": "any"}})
    sets, _ = figures([folder_of(tmp_path / "a", clips, settings)], capsys)
    (found,) = sets.values()
    assert found["cp"] == {"total": 3, "wrong": 3} and found["cv"] == {"total": 12, "wrong": 3}
    for text in ("{}", "no JSON", '{"meta": 3}', '{"meta": {"pitch_range": "sky"}}'):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "x.mid").write_bytes(write(clips[0], text))
        sets, _ = figures([tmp_path / "b"], capsys)
        assert sets[str(tmp_path / "b")]["cp"]["total"] == 0
        shutil.rmtree(tmp_path / "b")


def test_any_clip_will_do(tmp_path, capsys):
    """No notes, no chords, one bar, one note, drums, a foreign file; and one that is none is left out and told."""
    chords = (chord_id("C"),) * 8
    odd = [clip_of([], 1), clip_of([Note(0, 60, 10, 1)], 1), clip_of([Note(0, 0, 1920, 127)], 1, chords=chords), clip_of([], 3)]
    drums = Clip(2, (Track((Note(0, 36, 120, 90), Note(480, 38, 120, 90)), instrument="drums_full"),))
    a = folder_of(tmp_path / "a", [*odd, drums])
    (a / "deeper").mkdir()
    (a / "deeper" / "foreign.MIDI").write_bytes(one_track((0, on(60)), (96, off(60)), division=96))
    (a / "text.mid").write_text("hello world")
    (a / "notes.txt").write_text("no MIDI at all")
    sets, notes = figures([a, folder_of(tmp_path / "b", odd)], capsys)
    first, second = sets.values()
    assert first["clips"] == 6 and first["empty"] == 2 and second["pairs"] == 4
    assert len(notes) == 1 and "1 of 7 files" in notes[0] and "text.mid" in notes[0]
    assert all(value is None or not math.isnan(value) for value in (first["notes"], first["chord_tones"], first["msim_within"]))
    assert read_file(a / "000.mid")[0].tracks[0].notes == ()


def test_packed_data_is_a_set_too(data, tmp_path, capsys):
    made = folder_of(tmp_path / "made", [clip_of(notes) for notes in random_clips(2, 6)])
    sets, notes = figures([data, made, "--clips", 20, "--roles", "main_melody,bass"], capsys)
    assert sets[str(data)]["clips"] == 20 and sets[str(made)]["1nnc_clips"] == 6 and sets[str(made)]["pairs"] == 0
    assert sets[str(data)]["chord_tones"] > 0.5 and "20 of" in notes[0]
    other, _ = figures([data, "--split", "train", "--clips", 20, "--roles", "main_melody,bass"], capsys)
    assert other[str(data)] != sets[str(data)]


def test_one_clip_of_each_song_of_the_roles_comes_first(data):
    store = packed.load(data)
    for index, role in enumerate(ROLES):
        found = read_packed(data, Choice(packed.TRAIN, 2, (role,))).clips
        rows = np.flatnonzero((store.song_split[store.clip_song] == packed.TRAIN) & (store.clip_role == index))
        song_of = {clip_at(store, [row]): int(store.clip_song[row]) for row in rows.tolist()}
        assert len(song_of) > 2 and len({song_of[clip] for clip in found}) == len(set(song_of.values())) == 2, role


def test_figures_go_to_a_file_that_is_not_replaced(tmp_path, capsys):
    a = folder_of(tmp_path / "a", [clip_of(random_clips(3, 1)[0])])
    words = [a, "--out", tmp_path / "report.json"]
    code, text, _ = run(words, capsys)
    assert code == 0 and str(a) in text
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["reference"] == str(a) and saved["sets"][str(a)]["clips"] == 1
    code, _, err = run(words, capsys)
    assert code == 2 and "--force" in err and run([*words, "--force"], capsys)[0] == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "Give folders"),
        ("missing", "missing: no MIDI file"),
        ("missing.npz", "missing.npz"),
        ("EMPTY", "no MIDI file"),
        ("BROKEN", "text.mid"),
        ("DATA --corpora groove", "no clip"),
        ("DATA DATA", "given twice"),
        ("DATA --roles singer", "singer"),
        ("DATA --split dev", "dev"),
        ("DATA --data DATA", "--data goes with weights"),
        ("DATA --report x", "--report is about weights"),
        ("--data DATA --corpora groove", "no held-out clip"),
        ("--data DATA --weights x --weights x", "given twice"),
        ("--data DATA --repairs -1", "-1 is below 0"),
        ("--plots x --weights a --weights b", "one --weights"),
        ("--data DATA --weights EMPTY", "config.json"),
        ("--data missing.npz", "missing.npz"),
        ("--plots x", "--weights"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(words, part, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "text.mid").write_text("hello world")
    names = {"DATA": data, "EMPTY": tmp_path / "empty", "BROKEN": tmp_path / "broken"}
    code, out, err = run([names.get(word, word) for word in words.split()], capsys)
    assert code == 2 and out == ""
    assert err.splitlines()[-1].startswith("musediff") and part in err and "Traceback" not in err


def test_what_modify_writes_can_be_evaluated(data, tmp_path, capsys):
    out = tmp_path / "out"
    words = f"modify --split test --data {data} --num-samples 3 --corr-p 1 --corr-available rn --out {out} --model tiny --steps 1 --seed 1"
    assert main(words.split()) == 0
    capsys.readouterr()
    sets, _ = figures([out / "source", out / "damaged", out / "result"], capsys)
    summary = json.loads((out / "metrics.json").read_text())["summary"]
    for kind in ("damaged", "result"):
        found = sets[str(out / kind)]
        assert found["pairs"] == 3 and found["cv"] == summary[kind]["cv"]
        assert found["msim_pairs"]["product"] == pytest.approx(summary[kind]["msim_pairs"]["product"], abs=1e-3)
    assert len(list((out / "result").iterdir())) == 3 and read((out / "result" / "1.mid").read_bytes()).texts
