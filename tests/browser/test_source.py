"""The clip to work on, in a real browser: its late sound, its history, what repair says of it."""

import re
from pathlib import Path
from typing import Any

import pytest

from musediff.midi.write import write

from .conftest import Visit
from .test_page import song

pytestmark = pytest.mark.browser

# From now on every sentence that the roll says of itself is kept.
LISTEN = """() => {
  const summary = document.querySelector('#roll .summary');
  window.said = [];
  new MutationObserver(() => window.said.push(summary.textContent)).observe(summary, {childList: true, characterData: true, subtree: true});
}"""


def file(folder: Path, name: str, bars: int = 8, bpm: int = 120) -> Path:
    path = folder / name
    path.write_bytes(write(song(bars, bpm)))
    return path


def opened(visit: Visit, name: str) -> None:
    visit.page.wait_for_function("(name) => document.querySelector('#source')?.textContent.includes(name)", arg=name)


def test_late_sound_of_an_upload_leaves_a_run_alone(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("#advanced button")
    visit.slide("#steps", 64)
    visit.page.keyboard.press("Tab")
    visit.upload(file(tmp_path, "slow.mid", bpm=41))
    opened(visit, "slow.mid")
    visit.page.click("role=tab[name='Generate']")
    visit.page.click("#generate")
    visit.page.wait_for_function("document.querySelector('#roll .live').textContent.includes('Working')")
    visit.page.evaluate(LISTEN)
    visit.page.wait_for_function("document.querySelector('#status').textContent.includes('Seed')")
    visit.idle()
    said = visit.page.evaluate("window.said")
    assert said and not [words for words in said if "41 BPM" in words]
    assert "92 BPM" in visit.roll()["summary"] and visit.page.is_enabled("#download-midi")


def test_upload_during_a_run_fills_the_form_and_leaves_the_roll(visit: Visit, tmp_path: Path) -> None:
    visit.page.click("#advanced button")
    visit.slide("#steps", 64)
    visit.page.keyboard.press("Tab")
    visit.page.click("#generate")
    visit.page.wait_for_function("document.querySelector('#roll .live').textContent.includes('Working')")
    visit.page.evaluate(LISTEN)
    visit.upload(file(tmp_path, "mine.mid", bpm=150))
    opened(visit, "mine.mid")
    assert visit.roll()["live"]
    visit.page.wait_for_function("document.querySelector('#status').textContent.includes('Seed')")
    visit.idle()
    assert not [words for words in visit.page.evaluate("window.said") if "150 BPM" in words]
    assert "92 BPM" in visit.roll()["summary"] and visit.page.is_enabled("#send")


def test_second_upload_does_not_wait_for_the_first_ones_sound(visit: Visit, tmp_path: Path) -> None:
    visit.upload(file(tmp_path, "slow.mid", bpm=41))
    opened(visit, "slow.mid")
    visit.page.click("#upload button[aria-label='Clear'], #upload button[aria-label='Remove this file'], #upload button >> nth=0")
    visit.upload(file(tmp_path, "quick.mid", bpm=150))
    opened(visit, "quick.mid")
    visit.page.evaluate(LISTEN)
    visit.page.wait_for_function("Math.abs(document.querySelector('#roll audio').duration - 8 * 4 * 60 / 150) < 4")
    assert not [words for words in visit.page.evaluate("window.said") if "41 BPM" in words]
    assert "quick.mid" in visit.page.text_content("#source") and "150 BPM" in visit.roll()["summary"]


def source(visit: Visit) -> str:
    return visit.page.text_content("#source p b")


def test_history_goes_back_and_forth_for_one_visitor_only(visit: Visit, browser: Any, address: str, tmp_path: Path) -> None:
    visit.page.click("#variants label:has-text('2')")
    visit.set("#seed", "3")
    visit.run()
    generated = visit.roll()["summary"]
    visit.pick(2)
    visit.page.click("#send")
    opened(visit, "musediff-seed3-2.mid")
    names = [source(visit)]
    for seed in range(10, 13):
        visit.set("#seed", str(seed))
        visit.run("#change")
        visit.page.click("#send")
        visit.page.wait_for_function("(old) => document.querySelector('#source p b').textContent !== old", arg=names[-1])
        names.append(source(visit))
    other = Visit(browser, address)
    try:
        other.upload(file(tmp_path, "mine.mid"))
        opened(other, "mine.mid")
        assert not other.page.locator("#back").count() and not other.errors
    finally:
        other.close()
    for name in names[-2::-1]:
        visit.page.click("#back")
        opened(visit, name)
        visit.page.wait_for_selector("#roll .views button[value=changes][aria-pressed=true]")
        assert visit.page.is_enabled("#send") and visit.page.is_enabled("#download-midi")
    visit.page.click("#back")
    visit.page.wait_for_selector("#source .hint")
    assert visit.roll()["summary"] != generated and visit.page.locator("#roll .variants button").count() == 2
    assert not visit.page.locator("#back").count()
    for name in names:
        visit.page.click("#forth")
        opened(visit, name)
    assert not visit.page.locator("#forth").count()


def test_repair_tells_how_many_and_where_and_its_file_brings_the_slider_back(visit: Visit, tmp_path: Path) -> None:
    visit.open(file(tmp_path, "song.mid"))
    opened(visit, "song.mid")
    assert visit.page.locator("#strength").count() and not visit.page.locator("#sensitivity").count()
    visit.page.click("#operation label:has-text('Repair')")
    visit.page.wait_for_selector("#sensitivity")
    assert "0.5: notes that are likely wrong" in visit.page.text_content("#strength-words")
    assert not visit.page.locator("#strength").count() and not visit.page.locator("#may").count()
    visit.set("#sensitivity", "0.95")
    visit.page.keyboard.press("Tab")
    visit.page.wait_for_function("document.querySelector('#strength-words').textContent.includes('0.95')")
    visit.set("#bars", "2-3")
    visit.run("#change")
    visit.page.wait_for_selector("#status .lead")
    told = visit.page.text_content("#status .lead")
    assert re.fullmatch(r"Repair suspected and changed \d of 32 notes: bar 2 \(\d\), bar 3 \(\d\)\.", told), told
    path = visit.download("midi", tmp_path)
    visit.page.wait_for_selector("#download-png:not([disabled])")
    visit.page.reload()
    visit.page.wait_for_selector("#generate")
    visit.upload(path)
    visit.page.wait_for_selector("#sensitivity")
    assert visit.page.input_value("#sensitivity input[type=number]") == "0.95"
    visit.page.wait_for_function("document.querySelector('#change').textContent.includes('Repair')")


def test_before_has_its_sound_although_it_came_late(visit: Visit, tmp_path: Path) -> None:
    visit.upload(file(tmp_path, "slow.mid", bpm=41))
    opened(visit, "slow.mid")
    visit.page.wait_for_selector("#roll .live:has-text('Making the sound')")
    visit.run("#change")
    after = visit.roll()["audio"]
    visit.page.click("#roll .views button[value=before]")
    visit.page.wait_for_function("(after) => document.querySelector('#roll audio').getAttribute('src') !== after", arg=after)
    assert "slow" in visit.roll()["audio"]
