"""The page without a browser: forms, events, files, and what a bad request leaves untouched."""

import io
import json
import wave
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np
import pytest

import app
from demo import controls, form, output, report, settings, texts
from demo.files import Shelf
from demo.handlers import Handlers, on_roll, take
from demo.output import Output, Screen
from demo.session import Desk, Opened, Running, Shown, Source
from musediff.clip import META_FIELDS, Clip, Meta, Note, Track
from musediff.errors import BadRequest, MuseError
from musediff.midi.read import read
from musediff.midi.write import write
from musediff.pipeline import MusePipeline, bundled
from musediff.render.audio import Synthesizer
from tests.event_loop import in_a_loop

T = TypeVar("T")
SAMPLING = (2, "7", 4, 1.5, 0.95, 0)


def song(bars: int = 4) -> Clip:
    notes = tuple(Note(b * 1920 + i * 480, 60 + (b + 2 * i) % 12, 460, 50 + b) for b in range(bars) for i in range(4))
    return Clip(bars, (Track(notes, "main_melody", "acoustic_piano"),), bpm=120, key="cmajor")


def asked(**said: Any) -> list[Any]:
    """Form values with everything else "any"."""
    return form.show(Meta(num_measures=4)) if not said else form.show(Meta(**{"num_measures": 4} | said))


def laid_out(build: Callable[[], T]) -> T:
    """Components outside a page."""

    def make() -> T:
        with gr.Blocks(analytics_enabled=False):
            return build()

    return in_a_loop(make)


@pytest.fixture(scope="module")
def pipeline() -> MusePipeline:
    return MusePipeline.tiny()


@pytest.fixture(scope="module")
def handlers(pipeline: MusePipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handlers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield Handlers({"slots": pipeline}, Screen(laid_out(output.build), Synthesizer("tone"), {"slots": pipeline.description}))


def last(updates: list[dict[Any, Any]], component: Any) -> Any:
    """The newest value that a run gave to a component."""
    return next(update[component] for update in reversed(updates) if component in update)


def generated(handlers: Handlers, values: list[Any], choice: tuple[Any, ...] = SAMPLING) -> tuple[list[dict[Any, Any]], Output]:
    return list(handlers.generate(Running(), "slots", None, Desk(), False, *values, *choice)), handlers.out


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_generate_ends_with_roll_sound_report_and_files(handlers: Handlers) -> None:
    updates, out = generated(handlers, asked(bpm=120, audio_key="aminor"))
    shown: Shown = last(updates, out.shown)
    roll = last(updates, out.roll)
    assert len(shown.result.clips) == len(roll["variants"]) == 2 and shown.result.seed == 7
    assert roll["bars"] == 4 and roll["bpm"] == 120 and roll["audio"].startswith("gradio_api/file=")
    json.dumps(roll)
    with wave.open(roll["audio"].removeprefix("gradio_api/file=")) as sound:
        assert 8 <= sound.getnframes() / sound.getframerate() <= 12
        heard = np.abs(np.frombuffer(sound.readframes(sound.getnframes()), "<i2")).max() > 3000
        assert heard == bool(shown.clip.tracks[0].notes)
    offers = {kind: last(updates, button) for kind, button in out.files.items() if kind != "png"}
    paths = {kind: Path(offer["value"]) for kind, offer in (offers | {"png": handlers.picture(shown)}).items()}
    assert read(paths["midi"].read_bytes()).tempos[0][1] == pytest.approx(120)
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    names = zipfile.ZipFile(io.BytesIO(paths["zip"].read_bytes())).namelist()
    assert len(names) == 3 and "settings.json" in names
    assert "Seed 7" in last(updates, out.status) and texts.REPORT_TITLE in last(updates, out.report)


def test_live_frames_come_before_the_result(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.handlers.FRAME_SECONDS", 0.0)
    updates, out = generated(handlers, asked())
    live = [update[out.roll]["live"] for update in updates if out.roll in update and "live" in update[out.roll]]
    assert len(live) >= 4
    assert live == sorted(live)


def test_bad_request_says_so_and_touches_nothing_else(handlers: Handlers) -> None:
    values = dict(zip(META_FIELDS, asked(), strict=True)) | {"chord_progression": "Am | H7"}
    with pytest.warns(UserWarning, match="H7"):
        updates, out = generated(handlers, list(values.values()))
    assert [set(update) for update in updates] == [{out.status}]
    assert "H7" in updates[0][out.status]


def test_stop_keeps_what_there_is(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.handlers.FRAME_SECONDS", 0.0)
    running = Running()
    run = handlers.generate(running, "slots", None, Desk(), False, *asked(), 1, "7", 32, 1.5, 0.95, 0)
    updates = [next(run), next(run)]
    handlers.stop(running)
    updates += run
    assert running.job is None
    shown: Shown = last(updates, handlers.out.shown)
    assert not shown.result.complete and shown.clip.num_measures == 4
    assert texts.STOPPED in last(updates, handlers.out.status)


def test_leaving_the_page_stops_the_job(handlers: Handlers) -> None:
    running = Running()
    run = handlers.generate(running, "slots", None, Desk(), False, *asked(), *SAMPLING)
    next(run)
    job = running.job
    assert job is not None
    run.close()
    list(job)
    assert running.job is None and not job.result().complete


def test_nothing_to_stop_is_no_error(handlers: Handlers) -> None:
    handlers.stop(Running())


def test_modify_bars_leaves_the_others_bit_for_bit(handlers: Handlers) -> None:
    source = Source(song(), "song.mid")
    values = form.of_clip(source.clip)
    updates = list(handlers.change(Running(), "slots", Desk(source), "modify", 1.0, 0.5, "2-3", list(texts.MAY), 0, *values, *SAMPLING))
    clips = last(updates, handlers.out.shown).result.clips
    for clip in clips:
        for bar in (0, 3):
            first, end = bar * 1920, (bar + 1) * 1920
            kept = [[n for n in c.tracks[0].notes if first <= n.onset_ticks < end] for c in (source.clip, clip)]
            assert kept[0] == kept[1]
    assert any(clip.tracks != source.clip.tracks for clip in clips)
    assert last(updates, handlers.out.roll)["compare"]


def test_repair_and_no_source(handlers: Handlers) -> None:
    source = Source(song(), "song.mid")
    updates = list(handlers.change(Running(), "slots", Desk(source), "repair", 0.4, 0.5, "", [], None, *asked(), *SAMPLING))
    assert "repair" in last(updates, handlers.out.shown).name
    with pytest.warns(UserWarning):
        updates = list(handlers.change(Running(), "slots", Desk(), "modify", 0.4, 0.5, "", [], None, *asked(), *SAMPLING))
    assert texts.NO_SOURCE in updates[0][handlers.out.status]


def test_adding_a_track_keeps_the_given_one(handlers: Handlers) -> None:
    source = Source(song(), "song.mid")
    values = asked(track_role="bass", inst="electric_bass")
    updates = list(handlers.generate(Running(), "slots", None, Desk(source), True, *values, *SAMPLING))
    shown: Shown = last(updates, handlers.out.shown)
    assert len(shown.clip.tracks) == 2 and shown.clip.tracks[0].notes == source.clip.tracks[0].notes
    assert shown.track == 1


def test_picking_a_variant_renders_it_once(handlers: Handlers) -> None:
    updates, out = generated(handlers, asked())
    shown: Shown = last(updates, out.shown)
    picked = handlers.pick(shown, gr.EventData(None, {"index": 1}))
    assert picked[out.shown].index == 1 and set(picked[out.shown].sounds) == {0, 1}
    again = handlers.pick(picked[out.shown], gr.EventData(None, {"index": 0}))
    assert again[out.roll]["audio"] == last(updates, out.roll)["audio"]
    assert set(handlers.pick(shown, gr.EventData(None, {"index": 9}))) == {out.shown}


# ---- files in and out ------------------------------------------------------------------------------------------------


def test_upload_of_our_own_file_restores_the_form(handlers: Handlers) -> None:
    values = asked(bpm=77, audio_key="dminor", track_role="bass")
    updates, out = generated(handlers, values)
    path = Path(last(updates, out.files["midi"])["value"])
    source = handlers.open(path.read_bytes(), path.name)
    assert source.opened is not None and source.clip.num_measures == 4
    fields, shared = laid_out(lambda: (form.build(Meta(), "", "x"), controls.build_shared(["slots", "muse"], 16)))
    restored = settings.restore(source.opened.upload.settings, fields, shared)
    assert [restored[field] for field in fields.values()] == values
    assert (restored[shared.seed], restored[shared.engine]) == ("7", "slots")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "null", '{"meta": 3}', '{"meta": {"bpm": 1e9}}', "{", '{"meta": {"x": 1}}'])
def test_strange_settings_are_left_alone(text: str | None) -> None:
    assert settings.restore(text, {}, laid_out(lambda: controls.build_shared(["slots"], 16))) == {}


@pytest.mark.parametrize("data", [b"", b"hello", b"MThd\x00\x00\x00\x06\x00\x01", b"MThd" + b"\xff" * 30])
def test_bad_files_are_explained(handlers: Handlers, data: bytes) -> None:
    with pytest.raises(MuseError) as caught:
        handlers.open(data, "bad.mid")
    assert len(str(caught.value)) > 15


def test_what_is_on_the_roll() -> None:
    with pytest.raises(BadRequest):
        take(None)
    with pytest.raises(BadRequest):
        on_roll(None, None)
    assert on_roll(None, Source(song(), "x")) == song()


def test_names_from_files_cannot_become_html(handlers: Handlers) -> None:
    evil = "<img src=x onerror=alert(1)>"
    upload = replace(handlers.pipelines["slots"].open(write(song()), "x"), notes=(evil,))
    shown = controls.about(Source(song(), evil, Opened(b"", upload)))
    assert "<img" not in shown and "&lt;img" in shown
    assert "<img" not in output.status_line(evil, lead=evil)
    assert "<img" not in report.table(Meta(), song(), 0, (evil,))


def test_files_of_two_visitors_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    button = gr.DownloadButton("x")
    shelf = Shelf(button)
    one, two = shelf.keep("clip.mid", b"one"), shelf.keep("clip.mid", b"two")
    assert one != two and Path(one).read_bytes() == b"one"
    assert {one, two} <= button.temp_files


def test_bytes_of_a_source_survive_the_round_trip(handlers: Handlers) -> None:
    source = handlers.open(write(song()), "song.mid")
    assert source.clip.tracks[0].notes == song().tracks[0].notes


def test_file_with_two_tracks_asks_which(handlers: Handlers) -> None:
    tracks = (song().tracks[0], Track(song().tracks[0].notes[::2], "bass", "electric_bass", name="<b>low"))
    data = write(Clip(4, tracks, bpm=120, key="cmajor"))
    change = laid_out(controls.build_change)
    updates = controls.fill(change, Desk(handlers.open(data, "two.mid")))
    assert updates[change.picker]["visible"] and len(updates[change.tracks]["choices"]) == 2
    assert not updates[change.track]["visible"]
    both = handlers.open(data, "two.mid", [0, 1])
    chosen = controls.fill(change, Desk(both))
    assert len(both.clip.tracks) == 2 and chosen[change.track]["visible"] and chosen[change.tracks]["value"] == [0, 1]
    assert set(updates) >= set(change.form.values())


@pytest.mark.parametrize("on_spaces", [True, False])
def test_app_leaves_the_address_to_spaces(on_spaces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    if on_spaces:
        monkeypatch.setenv("SPACE_ID", "someone/musediff")
    options = app.arguments([])
    assert (options.host, options.port) == ((None, None) if on_spaces else ("127.0.0.1", 7860))
    assert app.arguments(["--model", "tiny", "--port", "8000"]).port == 8000


def test_an_engine_without_steps_leaves_the_slider_where_it_can_stand() -> None:
    assert [controls.usual_steps(MusePipeline.tiny(name)) for name in ("slots", "ar")] == [16, controls.LEAST_STEPS]
    assert list(app.load(app.arguments(["--model", "tiny"]))) == bundled()
    assert list(app.load(app.arguments(["--model", "tiny", "--engine", "ar"]))) == ["ar"]
