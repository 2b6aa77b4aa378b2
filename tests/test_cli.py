"""The command line, run as a user runs it, with the tiny random network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from musediff.chords import chord_id
from musediff.cli import build_parser, with_dashes
from musediff.cli_clips import batches, derived_seed
from musediff.cli_options import bars
from musediff.clip import META_FIELDS, Clip, Note, Track
from musediff.data.store import load
from musediff.job import Sampling
from musediff.midi.read import read
from musediff.midi.write import write
from musediff.pipeline import MusePipeline
from tests.command import run

TINY = ["--model", "tiny", "--steps", "2"]


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight bars of a walking melody in C major."""
    pitches = (60, 64, 67, 72, 71, 67, 64, 62)
    notes = tuple(Note(bar * 1920 + i * 240, p + bar % 3, 240, 60 + 4 * i) for bar in range(8) for i, p in enumerate(pitches))
    chords = tuple(chord_id(name) for name in ("C", "F", "G", "C") * 2 for _ in range(8))
    track = Track(notes, role="main_melody", instrument="acoustic_piano", name="Tune")
    path = tmp_path_factory.mktemp("song") / "song.mid"
    path.write_bytes(write(Clip(8, (track,), bpm=90, key="cmajor", chords=chords)))
    return path


def notes_of(path: Path) -> list[tuple[int, ...]]:
    return [tuple(note) for track in read(path.read_bytes()).tracks for note in track.notes]


def in_bars(notes: list[tuple[int, ...]], chosen: set[int]) -> list[tuple[int, ...]]:
    return [note for note in notes if note[0] // 1920 in chosen]


def test_generate_with_every_option_of_the_original(tmp_path, capsys):
    words = (
        "generate --audio_key aminor --bpm 70 --time-signature 4/4 --num_measures 4 --track-role main_melody --inst acoustic_piano "
        "--pitch_range mid_high --genre any --min-velocity 60 --max_velocity 80 --rhythm standard --num-samples 3 --seed 1"
    ).split()
    code, out, _ = run([*words, "--chords", "Am | G | F | E", "--out", str(tmp_path), "--json", *TINY], capsys)
    report = json.loads(out)
    assert code == 0
    assert report["command"] == "generate" and report["seed"] == 1
    files = [Path(file["midi"]) for file in report["files"]]
    assert sorted(tmp_path.iterdir()) == files and len(files) == 3
    for file in files:
        score = read(file.read_bytes())
        assert score.tempos[0][1] == pytest.approx(70, abs=0.01)
        assert all(60 <= note.velocity <= 80 for track in score.tracks for note in track.notes)
        settings = next(text for text in score.texts if text.startswith("musediff {"))
        said = json.loads(settings.removeprefix("musediff "))
        assert "aminor" in settings and str(said).count("1")


def test_settings_in_the_file_name_the_seed(tmp_path, capsys):
    code, out, _ = run(["generate", "--num-measures", "2", "--out", str(tmp_path / "a.mid"), "--json", *TINY], capsys)
    drawn = json.loads(out)["seed"]
    (settings,) = [text for text in read((tmp_path / "a.mid").read_bytes()).texts if text.startswith("musediff {")]
    assert code == 0 and str(drawn) in settings


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path, capsys):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert run(["generate", "--num-measures", "4", "--seed", str(seed), "--out", str(tmp_path / f"{name}.mid"), *TINY], capsys)[0] == 0
    a, b, c = ((tmp_path / f"{name}.mid").read_bytes() for name in "abc")
    assert a == b and notes_of(tmp_path / "a.mid") != notes_of(tmp_path / "c.mid")
    assert a != c


def test_any_number_of_samples_exactly(tmp_path, capsys):
    code, out, _ = run(
        ["generate", "--num-measures", "1", "--num-samples", "10", "--seed", "3", "--out", str(tmp_path), "--json", *TINY], capsys
    )
    files = json.loads(out)["files"]
    assert code == 0 and len(files) == len({file["midi"] for file in files}) == len(list(tmp_path.glob("*.mid"))) == 10
    assert len({file["seed"] for file in files}) == 2, "each batch has a seed of its own"


def test_human_output_names_seed_and_files(tmp_path, capsys):
    code, out, _ = run(["generate", "--num-measures", "1", "--seed", "11", "--out", str(tmp_path / "x.mid"), *TINY], capsys)
    assert code == 0 and "seed 11" in out and str(tmp_path / "x.mid") in out


def test_nothing_is_overwritten_without_force(tmp_path, capsys):
    target = tmp_path / "x.mid"
    target.write_bytes(b"mine")
    words = ["generate", "--num-measures", "1", "--out", str(target), *TINY]
    code, _, err = run(words, capsys)
    assert code == 2 and "--force" in err and target.read_bytes() == b"mine"
    assert run([*words, "--force"], capsys)[0] == 0 and target.read_bytes()[:4] == b"MThd"


def test_modify_changes_only_the_bars_asked_for(song, tmp_path, capsys):
    out = tmp_path / "out.mid"
    code, _, _ = run(["modify", str(song), "--strength", "1", "--bars", "3-4", "--seed", "2", "--out", str(out), *TINY], capsys)
    before, after = notes_of(song), notes_of(out)
    kept = {0, 1, 4, 5, 6, 7}
    assert code == 0 and len(in_bars(before, kept)) == 48
    assert in_bars(after, kept) == in_bars(before, kept)
    assert in_bars(after, {2, 3}) != in_bars(before, {2, 3})


def test_modify_at_strength_nought_changes_nothing(song, tmp_path, capsys):
    out = tmp_path / "out.mid"
    assert run(["modify", str(song), "--strength", "0", "--out", str(out), *TINY], capsys)[0] == 0
    assert notes_of(out) == notes_of(song)


def test_modify_keeps_what_is_to_be_kept(song, tmp_path, capsys):
    out = tmp_path / "out.mid"
    code, _, _ = run(["modify", str(song), "--strength", "1", "--keep", "rhythm", "dynamics", "--out", str(out), *TINY], capsys)
    onsets = [[(note[0], note[2], note[3]) for note in notes_of(path)] for path in (song, out)]
    assert code == 0 and sorted(onsets[0]) == sorted(onsets[1])
    assert {note[1] for note in notes_of(song)} != {note[1] for note in notes_of(out)}


def test_repair_writes_a_clip_of_the_same_length(song, tmp_path, capsys):
    out = tmp_path / "out.mid"
    code, text, _ = run(["repair", str(song), "--out", str(out), "--json", *TINY], capsys)
    assert code == 0 and json.loads(text)["command"] == "repair"
    assert max(note[0] for note in notes_of(out)) < 8 * 1920


def test_sound_and_picture_beside_the_file(tmp_path, capsys):
    code, out, _ = run(["generate", "--num-measures", "1", "--out", str(tmp_path / "x.mid"), "--wav", "--png", "--json", *TINY], capsys)
    assert code == 0 and json.loads(out)["synth"]
    assert (tmp_path / "x.wav").read_bytes()[:4] == b"RIFF" and (tmp_path / "x.png").read_bytes()[1:4] == b"PNG"


def test_analyze_infers_all_twelve(song, capsys):
    code, out, _ = run(["analyze", str(song), "--json"], capsys)
    report = json.loads(out)
    assert code == 0 and set(META_FIELDS) <= set(report["meta"])
    assert report["meta"]["bpm"] == 90 and report["meta"]["num_measures"] == 8
    assert [track["notes"] for track in report["tracks"]] == [64]
    code, out, _ = run(["analyze", str(song)], capsys)
    assert code == 0 and "acoustic_piano" in out and "Tune" in out


def test_template_can_be_given_back(tmp_path, capsys):
    code, out, _ = run(["meta"], capsys)
    assert code == 0 and set(META_FIELDS) <= set(json.loads(out))
    (tmp_path / "meta.json").write_text(out, "utf-8")
    words = ["generate", "--meta-json", str(tmp_path / "meta.json"), "--bpm", "77", "--out", str(tmp_path / "x.mid"), *TINY]
    assert run(words, capsys)[0] == 0
    assert read((tmp_path / "x.mid").read_bytes()).tempos[0][1] == pytest.approx(77, abs=0.01), "flags win over the file"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["generate", "--bpm", "9"], "bpm"),
        (["generate", "--bpm", "fast"], "bpm"),
        (["generate", "--inst", "kazoo"], "kazoo"),
        (["generate", "--min-velocity", "90", "--max-velocity", "60"], "velocity"),
        (["generate", "--chords", "C | H7", "--num-measures", "2"], "H7"),
        (["generate", "--meta-json", "missing.json"], "missing.json"),
        (["generate", "--steps", "0"], "steps"),
        (["generate", "--num-samples", "0"], "num-samples"),
        (["generate", "--strength", "1"], "strength"),
        (["modify", "missing.mid", "--out", "x.mid"], "missing.mid"),
        (["modify", "SONG", "--strength", "2", "--out", "x.mid"], "strength"),
        (["modify", "SONG", "--bars", "4-3", "--out", "x.mid"], "4-3"),
        (["modify", "SONG", "--bars", "70", "--out", "x.mid"], "1-8"),
        (["modify", "SONG", "--keep", "tempo", "--out", "x.mid"], "tempo"),
        (["modify", "SONG", "--track", "5", "--out", "x.mid"], "track"),
        (["modify", "SONG"], "--out"),
        (["repair", "TEXT", "--out", "x.mid"], "text.mid"),
        (["analyze", "TEXT"], "text.mid"),
        (["data", "build", "--corpus", "pop909", "--out", "x.npz"], "--source"),
        ([], "COMMAND"),
        (["compose"], "compose"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(words, part, song, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mid").write_text("hello world")
    words = [{"SONG": str(song), "TEXT": "text.mid"}.get(word, word) for word in words]
    needs_weights = words[:1] in (["generate"], ["modify"], ["repair"])
    code, out, err = run(words + (["--model", "tiny"] if needs_weights else []), capsys)
    assert code == 2 and out == ""
    assert err.splitlines()[-1].startswith("musediff") and part in err and "Traceback" not in err


def test_interrupt_exits_130_and_keeps_what_is_done(tmp_path, monkeypatch, capsys):
    started = []
    begin = MusePipeline.start_generate

    def start(self, *rest):
        started.append(1)
        if len(started) == 2:
            raise KeyboardInterrupt
        return begin(self, *rest)

    monkeypatch.setattr(MusePipeline, "start_generate", start)
    code, _, err = run(["generate", "--num-measures", "1", "--num-samples", "9", "--out", str(tmp_path), *TINY], capsys)
    assert code == 130 and "interrupted" in err and len(list(tmp_path.glob("*.mid"))) == 8


def test_module_is_the_command(tmp_path):
    words = [sys.executable, "-m", "musediff", "generate", "--num-measures", "1", "--seed", "4", "--out", str(tmp_path / "x.mid"), *TINY]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "seed 4" in done.stdout and (tmp_path / "x.mid").exists()


def test_data_build_packs_a_folder(song, tmp_path, capsys):
    out = tmp_path / "packed" / "clips.npz"
    words = ["data", "build", "--corpus", "folder", "--source", str(song.parent), "--out", str(out)]
    code, text, _ = run([*words, "--processes", "1"], capsys)
    assert code == 0 and "main_melody" in text
    assert load(out).songs == 1 and load(out).clips >= 2
    assert run(words, capsys)[0] == 2, "the file is not replaced without --force"


def test_bars_count_from_one():
    assert bars("3-4") == {2, 3} and bars("1,3-4, 8") == {0, 2, 3, 7}


def test_batches_and_seeds():
    paths = [Path(str(i)) for i in range(20)]
    made = {n: list(batches(paths[:n], Sampling(temperature=0.5), 7)) for n in (1, 8, 9, 20)}
    assert {n: [len(batch.paths) for batch in made[n]] for n in made} == {1: [1], 8: [8], 9: [8, 1], 20: [8, 8, 4]}
    assert [path for batch in made[20] for path in batch.paths] == paths and made[20][0].sampling.seed == 7
    assert all(b.sampling == Sampling(temperature=0.5, variants=len(b.paths), seed=derived_seed(7, k)) for k, b in enumerate(made[20]))
    seeds = [derived_seed(seed, batch) for seed in range(20) for batch in range(20)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**31 for seed in seeds)


def test_no_seed_comes_twice_in_a_long_run():
    """Not even one that torch takes for another: it looks at 32 bits."""
    first = derived_seed(3, 12_345)
    for seed in (3, 2**40 + 5, first, first + 2**32):
        assert len({derived_seed(seed, batch) % 2**32 for batch in range(20_000)}) == 20_000
    one, two = derived_seed(5, 1), derived_seed(5, 2)
    home = 1 + (5 - one) * pow(two - one, -1, 2**31) % 2**31  # where the walk would come back to the run's own seed
    around = [derived_seed(5, batch) for batch in (0, 1, 2, home - 1, home, home + 1)]
    assert around[0] == 5 and len(set(around)) == 6 and (around[5] - around[3]) % 2**31 == 2 * (two - one) % 2**31


def test_underscores_are_dashes_in_names_only():
    assert with_dashes(["--audio_key=a_b", "--out", "my_dir", "x_y"]) == ["--audio-key=a_b", "--out", "my_dir", "x_y"]
    args = build_parser().parse_args(with_dashes(["generate", "--chord_progression", "Am-Am", "--num_samples=2"]))
    assert args.chord_progression == "Am-Am" and args.num_samples == 2
