"""The endpoints for programs, called as a program calls them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from demo.ui import build_ui, launch
from musediff.clip import Clip, Note, Track
from musediff.midi.read import read
from musediff.midi.write import write
from musediff.pipeline import MusePipeline
from musediff.render.audio import Synthesizer
from tests.event_loop import in_a_loop

SONG = Clip(
    4, (Track(tuple(Note(i * 480, 60 + i % 12, 460, 64) for i in range(16)), "main_melody", "acoustic_piano"),), bpm=120, key="cmajor"
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = in_a_loop(lambda: build_ui({"slots": MusePipeline.tiny(), "muse": MusePipeline.tiny("muse")}, Synthesizer("tone")))
        address = in_a_loop(lambda: launch(page, "127.0.0.1", None, background=True))
        yield Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
        page.close(verbose=False)


@pytest.fixture
def midi(tmp_path: Path) -> Any:
    path = tmp_path / "song.mid"
    path.write_bytes(write(SONG))
    return handle_file(path)


def test_generate(client: Client) -> None:
    asked = {"audio_key": "A minor", "num_measures": 4, "chord_progression": "Am | F | C | G", "bpm": 90}
    files, facts = client.predict(asked, 2, 3, 4, api_name="/generate")
    assert [Path(f).suffix for f in files] == [".mid", ".wav", ".png"] * 2
    assert facts["seed"] == 3 and len(facts["clips"]) == 2
    assert round(read(Path(files[0]).read_bytes()).tempos[0][1]) == 90
    assert Path(files[1]).read_bytes().startswith(b"RIFF") and Path(files[2]).read_bytes().startswith(b"\x89PNG")
    assert {row["field"] for row in facts["clips"][0]["asked_and_got"]} >= {"bpm", "audio_key", "num_measures"}
    again, _ = client.predict(asked, 2, 3, 4, api_name="/generate")
    assert Path(files[0]).read_bytes() == Path(again[0]).read_bytes()


def test_modify_keeps_the_other_bars(client: Client, midi: Any) -> None:
    files, facts = client.predict(midi, 1.0, "3", api_name="/modify")
    notes = {n for track in read(Path(files[0]).read_bytes()).tracks for n in track.notes}
    outside = {n for n in SONG.tracks[0].notes if n.onset_ticks // 1920 != 2}
    assert outside <= notes
    assert "kept" in facts["clips"][0]["summary"]


def test_every_engine_of_the_page_can_be_asked_for(client: Client, midi: Any) -> None:
    _, usual = client.predict({"num_measures": 2}, seed=1, api_name="/generate")
    _, other = client.predict({"num_measures": 2}, seed=1, engine="muse", api_name="/generate")
    assert (usual["engine"], other["engine"]) == ("slots", "muse")
    assert [json.loads(facts["settings"])["sampling"]["steps"] for facts in (usual, other)] == [16, 20]
    with pytest.raises(AppError, match="slots, muse"):
        client.predict(midi, engine="gan", api_name="/repair")


def test_repair_and_analyze(client: Client, midi: Any) -> None:
    files, facts = client.predict(midi, sensitivity=0.8, api_name="/repair")
    assert len(files) == 3 and json.loads(facts["settings"])["strength"] == 0.8
    with pytest.raises(AppError, match="sensitivity"):
        client.predict(midi, sensitivity=1.1, api_name="/repair")
    pictures, found = client.predict(midi, api_name="/analyze")
    assert Path(pictures[0]).read_bytes().startswith(b"\x89PNG")
    assert found["meta"]["bpm"] == 120 and found["meta"]["num_measures"] == 4


def test_mistakes_come_back_as_sentences(client: Client, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="H7"):
        client.predict({"chord_progression": "Am | H7"}, api_name="/generate")
    bad = tmp_path / "bad.mid"
    bad.write_bytes(b"hello")
    with pytest.raises(AppError, match=r"\w+ \w+ \w+"):
        client.predict(handle_file(bad), api_name="/analyze")


@pytest.mark.parametrize("path", ["/etc/passwd", "../app.py", str(Path(__file__).resolve()), "", None, 3])
def test_only_uploaded_files_are_read(client: Client, path: Any) -> None:
    with pytest.raises(AppError, match="no uploaded file"):
        client.predict({"path": path, "meta": {"_type": "gradio.Other"}}, api_name="/analyze")


def test_only_these_endpoints_are_public(client: Client) -> None:
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/generate", "/modify", "/repair", "/analyze"}
