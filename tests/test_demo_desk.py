"""The clip that is worked on: its history, its late sound, what a repair says of it and what its file brings back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from demo import controls, form, output, report, settings, texts
from demo.controls import Change
from demo.handlers import Handlers, plain, take
from demo.output import Screen
from demo.session import HISTORY, Desk, Heard, Running, Scene, Shown, Source
from musediff.clip import Clip, Meta, Note, Track
from musediff.midi.write import write
from musediff.pipeline import MusePipeline, Result
from musediff.render.audio import Synthesizer
from tests.test_demo_handlers import SAMPLING, asked, laid_out, last, song


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handlers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield Handlers({"slots": MusePipeline.tiny()}, Screen(laid_out(output.build), Synthesizer("tone"), {"slots": "tiny"}))


@pytest.fixture(scope="module")
def change() -> Change:
    return laid_out(controls.build_change)


def repaired(handlers: Handlers, source: Source, sensitivity: float) -> list[dict[Any, Any]]:
    return list(handlers.change(Running(), "slots", Desk(source), "repair", 0.4, sensitivity, "", [], 0, *asked(), *SAMPLING))


def made(before: Clip, after: Clip, operation: str, *notes: str) -> Shown:
    """A result as if it had come from the pipeline."""
    result = Result((after,), before, 1, "slots", notes, "{}", 0.1, True)
    return Shown(result, Meta(), "token", "name", operation=operation, source=Source(before, "before.mid"))


def but(clip: Clip, *moved: int, new: tuple[Note, ...] = ()) -> Clip:
    """The clip with some of its notes an octave higher, and others added."""
    track = clip.tracks[0]
    notes = [note._replace(pitch=note.pitch + 12) if i in moved else note for i, note in enumerate(track.notes)]
    return Clip(clip.num_measures, (Track((*notes, *new), track.role, track.instrument),), bpm=clip.bpm, key=clip.key)


# ---- history ---------------------------------------------------------------------------------------------------------


def test_back_and_forth_bring_the_same_scenes() -> None:
    sources = [Source(song(), f"{i}.mid") for i in range(12)]
    results = [made(song(), song(), "modify") for _ in sources]
    desk = Desk()
    for source, shown in zip(sources, [None, *results], strict=False):
        desk = desk.put(source, shown)
    shown: Shown | None = results[-1]
    for i in range(10, -1, -1):
        desk, scene = desk.back(shown)
        shown = scene.shown
        assert desk.source is sources[i] and shown is results[i]
    assert not desk.past and len(desk.future) == 11
    for i in range(1, 12):
        desk, scene = desk.forth(shown)
        shown = scene.shown
        assert desk.source is sources[i] and shown is results[i]
    assert not desk.future


def test_history_is_long_enough_and_ends() -> None:
    desk = Desk()
    for i in range(50):
        desk = desk.put(Source(song(), str(i)), None)
    assert len(desk.past) == HISTORY >= 10 and desk.past[-1].source is not None and desk.past[-1].source.name == "48"
    assert not Desk().put(Source(song(), "first"), None).past
    again, _ = desk.back(None)
    assert again.future and not again.put(Source(song(), "new"), None).future


def test_sending_the_same_result_twice_is_one_step() -> None:
    shown = made(song(), song(), "modify")
    desk = Desk().put(take(shown), shown)
    assert desk.put(take(shown), shown) is desk and len(desk.past) == 1


def test_the_tab_shows_what_the_desk_holds(handlers: Handlers, change: Change) -> None:
    tracks = (song().tracks[0], Track(song().tracks[0].notes[::2], "bass", "electric_bass"))
    first = Desk().put(handlers.open(write(Clip(4, tracks, bpm=120, key="cmajor")), "two.mid", [1]), None)
    second = first.put(Source(song(), "sent.mid"), None)
    filled = controls.fill(change, second)
    assert "sent.mid" in filled[change.info] and filled[change.back]["visible"] and not filled[change.forth]["visible"]
    assert not filled[change.picker]["visible"]
    back, _ = second.back(None)
    filled = controls.fill(change, back)
    assert "two.mid" in filled[change.info] and not filled[change.back]["visible"] and filled[change.forth]["visible"]
    assert filled[change.picker]["visible"] and filled[change.tracks]["value"] == [1]
    empty = controls.fill(change, Desk())
    assert texts.SOURCE_NONE in empty[change.info] and empty[change.form["bpm"]] == ""


def test_a_scene_is_drawn_as_it_was(handlers: Handlers) -> None:
    out = handlers.out
    shown = last(repaired(handlers, Source(song(), "song.mid"), 1.0), out.shown)
    restored = handlers.scene(Scene(shown.source, shown))
    assert restored[out.shown].clip == shown.clip and restored[out.roll]["compare"] and restored[out.files["midi"]]["interactive"]
    source = handlers.scene(Scene(Source(song(), "song.mid"), None))
    assert source[out.shown] is None and not source[out.roll]["compare"] and not source[out.files["midi"]]["interactive"]
    assert handlers.scene(Scene())[out.roll] is None


def test_names_do_not_grow() -> None:
    for name in ("song.mid", "song-seed5-1.mid", "song-modify-seed5-1.mid", "song-repair-seed1234567890-12.mid"):
        assert plain(name) == "song"
    assert plain("seed-3.mid") == "seed-3" and plain("modify-2.mid") == "modify-2"


# ---- sound -----------------------------------------------------------------------------------------------------------


def test_sound_comes_behind_its_clip_and_says_whose_it_is(handlers: Handlers) -> None:
    source = Source(song(), "song.mid")
    roll = handlers.screen.source(source)[handlers.out.roll]
    assert roll["preparing"] and roll["audio"] is None
    late = handlers.hear(Desk(source))
    assert late["soundOf"] == roll["token"] and Path(late["audio"].removeprefix("gradio_api/file=")).stat().st_size > 44
    again = handlers.hear(Desk(source))
    assert again == late
    assert handlers.screen.source(source)[handlers.out.roll]["audio"] == late["audio"]
    shown = last(repaired(handlers, source, 1.0), handlers.out.shown)
    assert handlers.screen.result(shown)[handlers.out.roll]["audioBefore"] == late["audio"]


def test_a_swept_sound_is_rendered_again(handlers: Handlers) -> None:
    source = Source(song(), "song.mid")
    handlers.hear(Desk(source))
    assert source.sound is not None
    Path(source.sound.path).unlink()
    assert source.sound is None
    assert handlers.hear(Desk(source))["audio"] and source.sound is not None


def test_two_sources_never_share_a_sound() -> None:
    one, two = Source(song(), "song.mid"), Source(song(), "song.mid")
    assert one.token != two.token and one.heard is not two.heard
    assert take(made(song(), song(), "modify")).heard == Heard()
    assert gr.State(Desk()).value == Desk()


# ---- repair ----------------------------------------------------------------------------------------------------------


def test_sensitivity_reaches_the_pipeline_and_comes_back_from_the_file(handlers: Handlers, change: Change) -> None:
    out = handlers.out
    shown = last(repaired(handlers, Source(song(), "song.mid"), 0.85), out.shown)
    assert json.loads(shown.result.settings)["strength"] == 0.85
    opened = handlers.open(shown.result.midi(0), "repaired.mid").opened
    assert opened is not None
    fields, shared = laid_out(lambda: (form.build(Meta(), "", "x"), controls.build_shared(["slots", "muse"], 16)))
    restored = settings.restore(opened.upload.settings, fields, shared, change)
    assert restored[change.operation] == "repair" and restored[change.sensitivity] == 0.85 and restored[shared.seed] == "7"
    assert change.strength not in restored and not set(fields.values()) & set(restored)


@pytest.mark.parametrize(("mode", "strength"), [("modify", 0.3), ("repair", 2), ("repair", "0.5"), (["repair"], 0.5), (None, 0.5)])
def test_settings_of_an_operation_are_checked(change: Change, mode: Any, strength: Any) -> None:
    fields, shared = laid_out(lambda: (form.build(Meta(), "", "x"), controls.build_shared(["slots", "muse"], 16)))
    restored = settings.restore(json.dumps({"mode": mode, "strength": strength, "meta": {}}), fields, shared, change)
    told = {control: value for control, value in restored.items() if control not in fields.values()}
    good = {change.operation: "modify", change.strength: 0.3}
    assert told == (good if mode == "modify" else {change.operation: "repair"} if mode == "repair" else {})
    assert (mode == "repair") != bool(set(fields.values()) & set(restored))


def test_repair_says_how_many_and_where() -> None:
    words, others = report.found(made(song(), but(song(), 0, 9, 10), "repair", "first", "3 of 16 notes changed."))
    assert words == "Repair suspected and changed 3 of 16 notes: bar 1 (1), bar 3 (2)." and others == ("first",)
    assert report.fit(made(song(), but(song(), 0, 9, 10), "repair"), 0) == "3 changed"
    long = song(16)
    words, _ = report.found(made(long, but(long, *range(0, 48, 4)), "repair", "12 of 64 notes changed."))
    assert words == "Repair suspected and changed 12 of 64 notes: bars 1-12."
    words, others = report.found(made(song(), song(), "repair", "No wrong notes were found."))
    assert words == texts.NOT_REPAIRED and texts.SENSITIVITY in words and not others
    assert report.found(made(song(), song(), "modify", "No note changed.")) == ("No note changed.", ())
    assert report.found(made(song(), song(), "repair")) == ("", ())


def test_modify_says_how_many_and_where() -> None:
    words, _ = report.found(made(song(), but(song(), 4, 5, 12), "modify", "3 of 16 notes changed."))
    assert words == "3 of 16 notes changed, in bars 2, 4."
    words, _ = report.found(made(song(), but(song(), new=(Note(1920, 90, 100, 64),)), "modify", "No note changed."))
    assert words == "No note changed; 1 new in bar 2."


def test_pipeline_counts_last_and_the_page_says_it_once(handlers: Handlers) -> None:
    updates = repaired(handlers, Source(song(), "song.mid"), 1.0)
    shown, status = last(updates, handlers.out.shown), last(updates, handlers.out.status)
    assert "notes changed" in shown.result.notes[-1]
    assert "Repair suspected and changed" in status and "notes changed" not in last(updates, handlers.out.report)
    assert last(updates, handlers.out.roll)["variants"][0]["fit"].endswith(" changed")


def test_sensitivity_is_told_in_words() -> None:
    assert len({texts.sensitivity_words(s / 100) for s in range(101)}) == len(texts.SENSITIVITY_WORDS)
    assert "0.9" in controls.about_strength("repair", 0.4, 0.9) and "0.9" not in controls.about_strength("modify", 0.4, 0.9)
