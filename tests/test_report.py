"""musediff evaluate --report: a folder that can be read and listened to without network, and the ten requests."""

import json
import re
import wave
from dataclasses import asdict
from urllib.parse import unquote

from musediff import checkpoint
from musediff.clip import META_FIELDS
from musediff.engines.slots import vocab
from musediff.engines.slots.engine import SlotsEngine
from musediff.errors import BadRequest
from musediff.meta_json import to_dict
from musediff.midi.read import read
from musediff.pipeline import MusePipeline
from tests.command import run
from tests.processes import files_in
from train import report
from train.report_document import Clips, Heading, Items, Picture, Table, Text, to_html, to_markdown
from train.report_requests import WISHES, takes


def linked(page: str) -> set[str]:
    return {unquote(name) for name in re.findall(r'(?:src|href)="([^"]+)"', page)}


def test_the_folder_has_all_that_the_page_shows(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "WISHES", WISHES[:2])
    network = SlotsEngine.tiny().network
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, "slots", asdict(network.config), vocab.fingerprint(), network.state_dict(), {})
    out = tmp_path / "out" / "report"
    few = "--clips 2 --repairs 1 --strengths 1 --step-clips 2 --roles bass --steps 1".split()
    words = [
        "evaluate",
        "--data",
        str(data),
        "--weights",
        str(tmp_path / "a"),
        "--weights",
        str(tmp_path / "b"),
        *few,
        "--report",
        str(out),
    ]
    code, printed, err = run(words, capsys)
    assert code == 0, err
    assert str(out / "report.html") in err and "C2ST, AUC" in printed
    page, text = (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")
    files = {path.name for path in out.iterdir()}
    assert linked(page) == files - {"report.html", "report.md", "figures.json", "made"} and "http" not in page and "<script" not in page
    shown = {unquote(name) for name in re.findall(r"\]\(([^)]+)\)", text)}
    assert shown == linked(page) and {"overview.png", "strengths.png", "steps.png"} < shown
    assert len([name for name in files if name.endswith(".mid")]) == 4 and not [name for name in files if name.endswith(".part")]
    for name in (name for name in files if name.endswith(".wav")):
        with wave.open(str(out / name)) as sound:
            assert sound.getnframes() > 44_100
    score = read((out / "01-pop-melody-1.mid").read_bytes())
    settings = json.loads(score.texts[0].split(" ", 1)[1])
    assert settings["meta"] == to_dict(WISHES[0].meta), "the file says what was asked"
    saved = json.loads((out / "figures.json").read_text())
    assert set(saved["roles"]["bass"]["steps"][str(tmp_path / "a")]) == {"real clips", "4", "8", "16", "32"}
    before = files_in(out)
    code, _, err = run(words, capsys)
    assert code == 2 and "--force" in err and files_in(out) == before


def test_ten_requests_are_complete_and_different():
    metas = [wish.meta for wish in WISHES]
    assert len(set(metas)) == 10 == len({wish.name for wish in WISHES})
    assert all(getattr(meta, name) is not None for meta in metas for name in META_FIELDS)
    assert {meta.track_role for meta in metas} >= {"main_melody", "sub_melody", "accompaniment", "bass", "pad"}
    assert {meta.time_signature for meta in metas} >= {"4/4", "3/4", "6/8"}


def test_a_request_that_is_refused_is_shown_as_such(tmp_path, monkeypatch):
    model = MusePipeline.tiny()

    def refuse(*_: object) -> None:
        raise BadRequest("not in six")

    monkeypatch.setattr(model, "generate", refuse)
    (take,) = takes(WISHES[8], 9, {"m": model})
    assert take.clip is None and take.refused == "not in six"
    shown = Clips("cello", [("m", "", "", "", take.refused)])
    assert "m: not in six" in to_markdown([shown]) and "m: not in six" in to_html([shown], "x")


def test_pages_of_every_block():
    blocks = [
        Heading(2, "A < B"), Text("1 & 2"), Items(["x", "y"]), Table(["", "m"], [["a", "0.6 ✗"], ["b", ".5"], ["empty", ""]], "✗"),
        Picture("a b.png", "curve"), Clips("tune", [("m", "r.png", "s.wav", "t.mid", "3 notes")]),
    ]  # fmt: skip
    text, page = to_markdown(blocks), to_html(blocks, "T")
    assert text.startswith("## A < B\n\n1 & 2\n\n- x\n- y\n\n|") and "empty" not in text and "![curve](a%20b.png)" in text
    assert "[sound](s.wav) · [MIDI](t.mid) · 3 notes" in text
    assert "<h2>A &lt; B</h2>" in page and "1 &amp; 2" in page and page.count("class=missed") == 1 and "empty" not in page
    assert '<audio controls preload="none" src="s.wav">' in page and "<title>T</title>" in page
