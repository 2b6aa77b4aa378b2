"""Which of several processes this one is, and generating with several: each clip once, the same ones, resumable."""

import json
import re
from pathlib import Path

import pytest

from musediff.errors import BadRequest
from musediff.ranks import Ranks, from_environment
from tests import processes
from tests.command import run

TINY = ["--model", "tiny", "--steps", "2", "--num-measures", "1", "--seed", "3"]


def generate(out: Path, number: int, *more: str) -> list[str]:
    return ["generate", "--num-samples", str(number), "--out", str(out), *TINY, *more]


def test_ranks_from_the_environment():
    assert from_environment({"HOME": "/"}) == Ranks(0, 1) and Ranks().first and not Ranks().several
    assert from_environment({"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}) == Ranks(5, 8, local=1)
    with pytest.raises(BadRequest, match="LOCAL_RANK=one"):
        from_environment({"RANK": "5", "LOCAL_RANK": "one", "WORLD_SIZE": "8"})
    assert from_environment({"RANK": "2", "WORLD_SIZE": "3"}) == Ranks(2, 3) and not Ranks(2, 3).first and Ranks(2, 3).several
    for size in (1, 2, 3, 20):
        shares = [list(Ranks(rank, size).share(range(10))) for rank in range(size)]
        assert sorted(item for share in shares for item in share) == list(range(10)) and max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    "said",
    ["RANK=0", "WORLD_SIZE=2"]
    + [f"RANK={rank} WORLD_SIZE={size}" for rank, size in ((2, 2), (-1, 2), (0, ""), (0, 0), ("a", 2), ("²", 3), ("1.0", 2))],
)
def test_nonsense_in_the_environment_is_refused(said, tmp_path, monkeypatch, capsys):
    environment = dict(word.split("=") for word in said.split())
    with pytest.raises(BadRequest, match=re.escape(said)):
        from_environment(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, out, err = run(generate(tmp_path / "out", 1), capsys)
    assert code == 2 and out == "" and "WORLD_SIZE" in err and not (tmp_path / "out").exists()


def test_two_processes_of_torchrun_make_the_clips_of_one(tmp_path, capsys):
    lines = processes.ended(processes.torchrun(generate(tmp_path / "two", 20, "--json"))).splitlines()
    assert run(generate(tmp_path / "one", 20), capsys)[0] == 0
    one = processes.files_in(tmp_path / "one")
    assert len(one) == len(set(one.values())) == 20 and processes.files_in(tmp_path / "two") == one
    shares = sorted((json.loads(line) for line in lines), key=lambda share: share["rank"])
    assert [(share["rank"], share["ranks"], share["clips"], share["seed"]) for share in shares] == [(0, 2, 12, 3), (1, 2, 8, 3)]


def test_any_number_of_processes_with_more_than_there_is_to_do(tmp_path, monkeypatch, capsys):
    assert run(generate(tmp_path / "one", 10), capsys)[0] == 0
    monkeypatch.setenv("WORLD_SIZE", "3")
    said = []
    for rank in "201":
        monkeypatch.setenv("RANK", rank)
        code, out, _ = run(generate(tmp_path / "three", 10), capsys)
        said.append(out)
        assert code == 0
    assert processes.files_in(tmp_path / "three") == processes.files_in(tmp_path / "one")
    assert [line.split(",")[0] for line in said] == ["process 3 of 3: 0 clips", "process 1 of 3: 8 clips", "process 2 of 3: 2 clips"]
    code, _, err = run([word for word in generate(tmp_path / "none", 10) if word not in ("--seed", "3")], capsys)
    assert code == 2 and "--seed" in err and not (tmp_path / "none").exists()


def test_killed_and_resumed_is_as_if_never_killed(tmp_path, capsys):
    """Of two processes and batches of eight, the one is killed at its twelfth clip, the other at its second."""
    out = tmp_path / "out"
    processes.killed_at(generate(out, 32), out, ["clip-20.mid", "clip-10.mid"], 12)
    before = processes.stamps(out)
    assert len(before) == 12 and {"clip-09.mid", "clip-19.mid"} <= set(before) and len(list(out.glob("*.part"))) == 2
    assert run(generate(tmp_path / "whole", 32), capsys)[0] == 0
    assert run(generate(out, 32), capsys)[0] == 2 and processes.stamps(out) == before, "not without --resume"
    code, text, err = run(generate(out, 32, "--resume", "--json"), capsys)
    assert code == 0, err
    assert processes.files_in(out) == processes.files_in(tmp_path / "whole"), "nothing half written is left"
    assert {name: stamp for name, stamp in processes.stamps(out).items() if name in before} == before, "what was there was not touched"
    files = json.loads(text)["files"]
    assert [Path(file["midi"]).name for file in files] == [f"clip-{i:02}.mid" for i in range(1, 33)]
    assert len({(file["seed"], file["variant"]) for file in files}) == 32
    after = processes.stamps(out)
    assert run(generate(out, 32, "--resume"), capsys)[0] == 0 and processes.stamps(out) == after, "resumed when all is there"


def test_the_seed_of_a_resumed_run_is_in_its_files(tmp_path, capsys):
    words = ["generate", "--num-samples", "9", "--out", str(tmp_path), "--resume", *TINY[:-2]]
    assert run(words, capsys)[0] == 0, "nothing is there yet"
    whole = processes.files_in(tmp_path)
    for name in ("clip-5.mid", "clip-9.mid"):
        (tmp_path / name).unlink()
    assert run(words, capsys)[0] == 0 and processes.files_in(tmp_path) == whole and len(whole) == 9
    (tmp_path / "clip-1.mid").unlink()
    code, _, err = run(words, capsys)
    assert code == 2 and "clip-2.mid" in err and "sampling" in err, "without the first file the seed is a new one"


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--temperature", "0.5"], "clip-01.mid is there, but made with other settings (sampling)"),
        (["--bpm", "99"], "(meta)"),
        (["--engine", "muse"], "(engine"),
        (["--force"], "--force"),
    ],
)
def test_clips_of_other_settings_are_no_part_of_the_run(more, part, tmp_path, capsys):
    assert run(generate(tmp_path, 10), capsys)[0] == 0
    (tmp_path / "clip-10.mid").unlink()
    before = processes.files_in(tmp_path)
    code, out, err = run(generate(tmp_path, 10, "--resume", *more), capsys)
    assert code == 2 and out == "" and part in err and processes.files_in(tmp_path) == before


def test_other_weights_and_another_source_are_other_settings(tmp_path, capsys):
    assert run(generate(tmp_path / "a", 2), capsys)[0] == 0
    assert (
        run(["modify", str(tmp_path / "a" / "clip-1.mid"), "--out", str(tmp_path / "b"), "--num-samples", "2", *TINY[:4]], capsys)[0] == 0
    )
    words = [word for word in generate(tmp_path / "a", 2, "--resume") if word not in ("--model", "tiny")]
    code, _, err = run(words, capsys)
    assert code == 2 and "(sampling, weights)" in err
    (tmp_path / "b" / "clip-1-2.mid").unlink()
    again = ["modify", str(tmp_path / "a" / "clip-1.mid"), "--out", str(tmp_path / "b"), "--num-samples", "2", "--resume", *TINY[:4]]
    (tmp_path / "a" / "clip-1.mid").write_bytes((tmp_path / "a" / "clip-2.mid").read_bytes())
    code, _, err = run(again, capsys)
    assert code == 2 and "clip-1-1.mid" in err and "source" in err


def test_what_is_no_clip_of_ours_is_left_alone(tmp_path, capsys):
    for name in ("clip-2.mid", "clip-1.wav"):
        (tmp_path / name).write_bytes(b"mine")
        code, _, err = run(generate(tmp_path, 2, "--resume", "--wav"), capsys)
        assert code == 2 and name in err and processes.files_in(tmp_path) == {name: b"mine"}
        (tmp_path / name).unlink()


def test_a_sound_that_is_missing_is_made_and_its_clip_stays(tmp_path, capsys):
    assert run(generate(tmp_path, 2, "--wav", "--png"), capsys)[0] == 0
    whole, before = processes.files_in(tmp_path), processes.stamps(tmp_path)
    (tmp_path / "clip-2.wav").unlink()
    (tmp_path / "clip-1.png").unlink()
    assert run(generate(tmp_path, 2, "--wav", "--png", "--resume"), capsys)[0] == 0
    assert processes.stamps(tmp_path) == before and len(whole) == 6
    assert processes.files_in(tmp_path, ".wav") == {name: data for name, data in whole.items() if name.endswith(".wav")}
    assert (tmp_path / "clip-1.png").exists()
