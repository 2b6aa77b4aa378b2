"""The page in a real browser: generate, hear, upload, change bars, stop, two visitors, bad files, a phone."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musediff.clip import Clip, Note, Track
from musediff.midi.read import read
from musediff.midi.write import write

from .conftest import HELD_STEPS, Visit

pytestmark = pytest.mark.browser


def song(bars: int = 8, bpm: int = 120) -> Clip:
    """A scale and its bass, with a velocity that names the bar."""
    notes = tuple(Note(b * 1920 + i * 480, 60 + (b + 2 * i) % 12, 460, 50 + b) for b in range(bars) for i in range(4))
    return Clip(bars, (Track(notes, "main_melody", "acoustic_piano"),), bpm=bpm, key="cmajor")


@pytest.fixture
def midi(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    path.write_bytes(write(song()))
    return path


def notes_by_bar(path: Path) -> dict[int, set[Note]]:
    found: dict[int, set[Note]] = {}
    for track in read(path.read_bytes()).tracks:
        for note in track.notes:
            found.setdefault(note.onset_ticks // 1920, set()).add(note)
    return found


def test_generate_draws_and_sounds(visit: Visit, tmp_path: Path) -> None:
    blank = visit.roll()["ink"]
    visit.set("#seed", "5")
    visit.run()
    roll = visit.roll()
    assert "8 bars of 4/4 at 92 BPM" in roll["summary"]
    assert roll["ink"] > blank
    with wave.open(str(visit.download("wav", tmp_path))) as sound:
        seconds = sound.getnframes() / sound.getframerate()
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
    assert 8 * 4 * 60 / 92 <= seconds <= 8 * 4 * 60 / 92 + 4
    assert np.abs(samples).max() > 3000
    visit.page.wait_for_function(f"Math.abs(document.querySelector('#roll audio').duration - {seconds}) < .1")
    assert "Seed 5" in visit.page.text_content("#status")
    assert visit.page.locator("#report dt").count() >= 9
    assert read(visit.download("midi", tmp_path).read_bytes()).tracks
    assert visit.download("png", tmp_path).read_bytes().startswith(b"\x89PNG")


def test_a_run_whose_news_come_all_at_once_shows_its_result(visit: Visit, tmp_path: Path) -> None:
    """As when the network or the browser is slower than the run."""
    visit.page.route("**/queue/data*", lambda route: route.fulfill(response=route.fetch()))
    visit.run()
    for name in ("send", "download-midi", "download-wav", "download-zip"):
        assert visit.page.is_enabled(f"#{name}"), name
    visit.page.wait_for_selector("#download-png:not([disabled])")
    visit.page.unroute_all(behavior="wait")
    assert "8 bars of 4/4 at 92 BPM" in visit.roll()["summary"]
    assert read(visit.download("midi", tmp_path).read_bytes()).tracks


def test_the_engine_that_is_chosen_composes_and_repairs(visit: Visit, midi: Path, tmp_path: Path) -> None:
    visit.page.click("#advanced button")
    visit.page.click("#engine label:has-text('muse')")
    visit.page.wait_for_function("document.querySelector('#steps input').value === '20'")  # as many as it usually takes
    visit.run()
    assert "· muse," in visit.page.text_content("#status")
    assert '"engine": "muse"' in read(visit.download("midi", tmp_path).read_bytes()).texts[0]
    visit.open(midi)
    visit.page.wait_for_function("document.querySelector('#roll .summary').textContent.includes('32 notes')")
    visit.page.click("#operation label:has-text('Repair')")
    visit.run("#change")
    assert "· muse," in visit.page.text_content("#status") and not visit.errors


def test_same_seed_same_bytes(visit: Visit, tmp_path: Path) -> None:
    files = []
    for _ in range(2):
        visit.set("#seed", "11")
        visit.run()
        files.append(visit.download("midi", tmp_path).read_bytes())
    assert files[0] == files[1]


def test_play_seek_and_keys(visit: Visit) -> None:
    visit.run()
    visit.page.wait_for_function("document.querySelector('#roll audio').readyState >= 2")
    box = visit.page.locator("#roll .notes").bounding_box()
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    bar = 4 * 60 / 92
    assert visit.roll()["time"] == pytest.approx(4 * bar, abs=0.1)
    visit.page.keyboard.press("ArrowRight")
    assert visit.roll()["time"] == pytest.approx(5 * bar, abs=0.1)
    visit.page.keyboard.press("Shift+ArrowRight")
    visit.page.keyboard.press("Shift+ArrowRight")
    assert visit.page.text_content("#roll .chosen span") == "Bars 6-7 selected"
    visit.page.keyboard.press("Escape")
    assert visit.page.is_hidden("#roll .chosen")
    visit.page.keyboard.press(" ")
    visit.page.wait_for_function(f"document.querySelector('#roll audio').currentTime > {5 * bar + 0.2}")
    visit.page.keyboard.press(" ")
    assert visit.roll()["paused"]


@pytest.mark.parametrize("engine", ["slots", "muse"])
def test_modify_bars_3_to_4_leaves_the_others(visit: Visit, midi: Path, tmp_path: Path, engine: str) -> None:
    visit.open(midi)
    visit.page.click(f"#engine label:has-text('{engine}')")
    visit.page.wait_for_function("document.querySelector('#source').textContent.includes('song.mid')")
    visit.page.wait_for_function("document.querySelector('#roll .summary').textContent.includes('32 notes')")
    assert visit.page.is_disabled("#download-midi") and visit.page.is_disabled("#send")
    box = visit.page.locator("#roll .ruler").bounding_box()
    bar = box["width"] / 8
    visit.page.mouse.move(box["x"] + 2.3 * bar, box["y"] + 10)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 3.6 * bar, box["y"] + 12, steps=4)
    visit.page.mouse.up()
    visit.page.wait_for_function("document.querySelector('#bars input, #bars textarea').value === '3-4'")
    visit.set("#strength", "1")
    visit.page.keyboard.press("Tab")
    visit.run("#change")
    assert visit.roll()["views"] and f"· {engine}," in visit.page.text_content("#status")
    after, before = notes_by_bar(visit.download("midi", tmp_path)), notes_by_bar(midi)
    for bar_number in (0, 1, 4, 5, 6, 7):
        assert after[bar_number] == before[bar_number], f"bar {bar_number + 1} changed"
    assert (after.get(2), after.get(3)) != (before[2], before[3])


def test_settings_come_back_from_the_file(visit: Visit, tmp_path: Path) -> None:
    visit.set("#generate-bpm", "77")
    visit.set("#generate-chords", "Dm | Gm | A7 | Dm")
    visit.run()
    path = visit.download("midi", tmp_path)
    visit.page.wait_for_selector("#download-png:not([disabled])")  # a page that is left while something runs complains
    visit.page.reload()
    visit.page.wait_for_selector("#generate")
    assert visit.page.input_value("#generate-bpm input, #generate-bpm textarea") == "92"
    visit.upload(path)
    visit.page.wait_for_function("document.querySelector('#source').textContent.includes('musediff-seed')")
    visit.page.click("role=tab[name='Generate']")
    assert visit.page.input_value("#generate-bpm input, #generate-bpm textarea") == "77"
    assert visit.page.input_value("#generate-chords input, #generate-chords textarea").startswith("Dm | Gm | A7")


def test_stop_keeps_the_partial_result(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("#advanced button")
    visit.slide("#steps", HELD_STEPS)
    visit.page.click("#generate")
    held = "4 of 8"  # bars
    visit.page.wait_for_function("(held) => document.querySelector('#roll .live').textContent.includes(held)", arg=held, timeout=60_000)
    visit.page.click("#stop")
    visit.page.wait_for_function("document.querySelector('#status').textContent.includes('stopped early')", timeout=30_000)
    assert not visit.roll()["live"]
    assert read(visit.download("midi", tmp_path).read_bytes()).end_ticks > 0


def test_variants_and_sending_one_on(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("#variants label:has-text('3')")
    visit.run()
    first = visit.download("midi", tmp_path).read_bytes()
    visit.pick(2)
    assert visit.download("midi", tmp_path).read_bytes() != first
    visit.page.click("#send")
    visit.page.wait_for_selector("#change")
    visit.run("#change")
    assert "kept" in visit.roll()["summary"]


def test_two_visitors_do_not_meet(visit: Visit, browser: Any, address: str, tmp_path: Path) -> None:
    other = Visit(browser, address)
    try:
        visit.set("#generate-bpm", "60")
        other.set("#generate-bpm", "150")
        visit.page.click("#generate")
        other.run()
        visit.page.wait_for_selector("#download-zip:not([disabled])", timeout=30_000)
        assert "60 BPM" in visit.roll()["summary"]
        assert "150 BPM" in other.roll()["summary"]
        assert visit.roll()["audio"] != other.roll()["audio"]
        assert not other.errors
        folders = [tmp_path / "one", tmp_path / "two"]
        tempos = []
        for visitor, folder in zip((visit, other), folders, strict=True):
            folder.mkdir()
            tempos.append(round(read(visitor.download("midi", folder).read_bytes()).tempos[0][1]))
        assert tempos == [60, 150]
    finally:
        other.close()


def test_bad_uploads_and_a_bad_form_keep_the_result(visit: Visit, tmp_path: Path) -> None:
    visit.run()
    summary = visit.roll()["summary"]
    said = ""
    for i, content in enumerate((b"", b"hello world", b"MThd\x00\x00\x00\x06\x00\x01", write(Clip(1, (Track(()),))))):
        bad = tmp_path / f"bad{i}.mid"
        bad.write_bytes(content)
        visit.upload(bad)
        visit.page.wait_for_function(
            "(old) => { const p = document.querySelector('#status .bad'); return p && p.textContent !== old; }", arg=said
        )
        said = visit.page.text_content("#status .bad")
        assert len(said) > 15 and "Traceback" not in said
        assert visit.roll()["summary"] == summary
        visit.page.click("#upload button[aria-label='Clear'], #upload button[aria-label='Remove this file'], #upload button >> nth=0")
    visit.page.click("role=tab[name='Generate']")
    visit.set("#generate-chords", "Am | H7")
    visit.page.wait_for_selector("#generate-feedback .bad")
    assert "H7" in visit.page.text_content("#generate-feedback")
    visit.page.click("#generate")
    visit.page.wait_for_function("document.querySelector('#status .bad').textContent.includes('H7')")
    assert visit.roll()["summary"] == summary
    assert visit.page.is_enabled("#download-midi")


def test_phone(browser: Any, address: str) -> None:
    phone = Visit(browser, address, 390, 844)
    try:
        for tab in ("Generate", "Repair / Modify", "Generate"):
            phone.page.click(f"role=tab[name='{tab}']")
            assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
        phone.run()
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
        box = phone.page.locator("#generate").bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844
        phone.page.wait_for_selector("#download-png:not([disabled])")
        phone.page.click("#send")
        phone.page.wait_for_selector("#source b")
        phone.page.wait_for_function("document.querySelector('#tabs').getBoundingClientRect().top > -1")
        assert not phone.errors
    finally:
        phone.close()
