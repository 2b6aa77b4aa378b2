"""evaluate --resume: what was made is not made again, and the figures are those of one start."""

from dataclasses import asdict
from pathlib import Path

import pytest

from musediff import checkpoint
from musediff.engines.slots import vocab
from musediff.engines.slots.engine import SlotsEngine
from musediff.errors import BadRequest
from musediff.pipeline import MusePipeline, Sampling
from musediff.ranks import Ranks
from tests import processes
from tests.command import run
from tests.slots.conftest import make_clip
from train import report
from train.evaluate_edits import Row
from train.evaluate_kept import FOLDER, Kept

FEW = "--repairs 1 --strengths 1 --step-clips 0 --steps 1".split()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    for name in "ab":
        network = SlotsEngine.tiny().network
        network.heads[0][-1].bias.data += name == "b"
        checkpoint.save(folder / name, "slots", asdict(network.config), vocab.fingerprint(), network.state_dict(), {})
    return {name: folder / name for name in "ab"}


def words(data: Path, out: Path, *more: object) -> list[str]:
    return ["evaluate", "--data", str(data), "--report", str(out), *FEW, *map(str, more)]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made: a word for each call of a pipeline."""
    calls: list[str] = []
    for name in ("generate", "repair", "modify"):
        before = getattr(MusePipeline, name)
        monkeypatch.setattr(MusePipeline, name, lambda *a, _name=name, _before=before, **b: (calls.append(_name), _before(*a, **b))[1])
    monkeypatch.setattr(report, "WISHES", ())
    return calls


def test_more_clips_and_weights_are_added_to_a_report(data, weights, work, tmp_path, capsys):
    a, b = (("--weights", weights[name]) for name in "ab")
    first = words(data, tmp_path / "one", *a, "--roles", "bass", "--clips", 2)
    assert run(first, capsys)[0] == 0
    assert work == ["generate"] * 2 + ["repair"] * 3 + ["modify"] + ["modify"] * 10
    code, _, err = run(first, capsys)
    assert code == 2 and "exists already" in err
    work.clear()
    code, _, err = run([*words(data, tmp_path / "one", *a, *b, "--roles", "bass,pad", "--clips", 2), "--resume"], capsys)
    assert code == 0, err
    assert len(work) == 3 * 16, "the bass of a is there"
    alone = words(data, tmp_path / "whole", *a, *b, "--roles", "bass,pad", "--clips", 2)
    assert run(alone, capsys)[0] == 0
    assert (tmp_path / "one" / "figures.json").read_bytes() == (tmp_path / "whole" / "figures.json").read_bytes()
    work.clear()
    assert run([*alone, "--force"], capsys)[0] == 0 and len(work) == 4 * 16, "--force makes it anew"


def test_other_files_stay_and_other_code_begins_anew(data, weights, work, tmp_path, capsys, monkeypatch):
    line = [*words(data, tmp_path / "r", "--weights", weights["a"], "--roles", "bass", "--clips", 2), "--resume"]
    (tmp_path / "mine.json").write_text("mine")
    code, _, err = run([*line, "--out", str(tmp_path / "mine.json")], capsys)
    assert code == 2 and "mine.json exists" in err and (tmp_path / "mine.json").read_text() == "mine" and not work
    assert run(line, capsys)[0] == 0
    made = len(work)
    monkeypatch.setattr("train.evaluate_kept._code", lambda: "another version")
    assert run(line, capsys)[0] == 0 and len(work) == 2 * made


@pytest.mark.parametrize("words", [["--resume"], ["--resume", "--out", "x.json"], ["--resume", "--report", "r", "--force"]])
def test_resume_needs_a_report_and_keeps_it(words, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(["evaluate", "--data", str(data), *words], capsys)
    assert code == 2 and "--resume" in err and not list(tmp_path.iterdir())


def test_a_report_that_was_stopped_goes_on_with_other_processes(data, weights, work, tmp_path, capsys):
    """Begun by two processes, of which each leaves some lines and the beginning of one; the rest is made by one."""
    of_all = "--roles", "bass,pad", "--clips", 6, "--weights", weights["a"]
    line, out = words(data, tmp_path / "r", *of_all), tmp_path / "r"
    processes.ended(processes.torchrun(line))
    figures, made = (out / "figures.json").read_bytes(), sorted(out.glob(f"{FOLDER}/*.jsonl"))
    assert [path.name for path in made] == ["0.jsonl", "1.jsonl"]
    lines = [path.read_text().splitlines()[1:] for path in made]
    for path, of_one in zip(made, lines, strict=True):
        path.write_text("\n".join(["", *of_one[:3], of_one[3][: len(of_one[3]) // 2]]))
    clips, kept = (sum('"num_measures"' in line for of_one in some for line in of_one) for some in (lines, [x[:3] for x in lines]))
    (out / "figures.json").unlink()
    code, _, err = run([*line, "--resume"], capsys)
    assert code == 0, err
    assert (out / "figures.json").read_bytes() == figures
    assert kept > 3 and work.count("generate") == clips - kept, "only what was lost, of both processes"
    work.clear()
    assert run([*line, "--resume"], capsys)[0] == 0 and work == []


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    clip, row = make_clip(3, bars=4, per_bar=5), Row({"a": 0.1 + 0.2, "b": float("nan")}, {"a": 1.0}, "no")
    asked = "generate", clip.meta(), Sampling(seed=3)
    kept = Kept(tmp_path, Ranks(), resume=False)
    assert kept.clip(lambda: clip, *asked) is clip and kept.row(lambda: row, "row") is row
    with (tmp_path / "0.jsonl").open("a") as file:
        file.write('\n["abc", {"num_')  # killed in the midst of a line
    for ranks in (Ranks(), Ranks(1, 2)):
        again = Kept(tmp_path, ranks, resume=True)
        assert again.clip(never, *asked) == clip and type(again.clip(never, *asked).tracks[0].notes[0]) is type(clip.tracks[0].notes[0])
        assert repr(again.row(never, "row")) == repr(row)
        again.row(lambda: row, "more", ranks)
    assert repr(Kept(tmp_path, Ranks(), resume=True).row(never, "more", Ranks())) == repr(row), "behind the broken line"
    other = Kept(tmp_path, Ranks(), resume=True).clip(lambda: make_clip(4, bars=4, per_bar=5), "generate", clip.meta(), Sampling(seed=4))
    assert other != clip


def never() -> None:
    raise AssertionError("it is there")


def test_a_disk_that_does_not_take_it_is_told(tmp_path):
    kept = Kept(tmp_path, Ranks(), resume=False)
    (tmp_path / "0.jsonl").mkdir()
    with pytest.raises(BadRequest, match="go on with --resume"):
        kept.row(Row, "x")
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match="cannot be read or written"):
        Kept(tmp_path / "file", Ranks(), resume=False)
