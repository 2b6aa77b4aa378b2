"""A page served by a tiny pipeline, and a headless browser that looks at it."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.ui import build_ui, launch
from musediff.clip import Clip, Meta
from musediff.pipeline import MusePipeline, Sampling
from musediff.render.audio import Audio, Synthesizer
from tests.event_loop import in_a_loop
from tests.processes import free_port

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


HELD_STEPS = 40
SLOW_SECONDS = 9.6  # of a whole run


class SlowJob:
    """A job that takes its time, so that there is something to look at; one of ``HELD_STEPS`` waits half-way until it is stopped."""

    def __init__(self, job: Any, steps: int) -> None:
        self._job, self._steps = job, steps
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        for progress in self._job:
            time.sleep(SLOW_SECONDS / progress.steps if self._steps > 32 else 0.0)
            yield progress
            if self._steps == HELD_STEPS and progress.step == progress.steps // 2:
                self._stopped.wait(60)

    def stop(self) -> None:
        self._stopped.set()
        self._job.stop()

    def result(self) -> Any:
        return self._job.result()


class SlowPipeline:
    """The tiny pipeline; more than 32 steps ask for a slow run."""

    def __init__(self) -> None:
        self._fast = MusePipeline.tiny()
        self.engine, self.description = self._fast.engine, self._fast.description
        self.open = self._fast.open
        self.start_modify, self.start_repair = self._fast.start_modify, self._fast.start_repair
        self.generate, self.modify, self.repair = self._fast.generate, self._fast.modify, self._fast.repair

    def start_generate(self, meta: Meta, sampling: Sampling, context: Clip | None = None) -> SlowJob:
        return SlowJob(self._fast.start_generate(meta, sampling, context), sampling.steps or 0)


class SlowSynth(Synthesizer):
    """Plays a clip at 41 BPM only after three seconds, as if it were a large one."""

    def render(self, clip: Clip) -> Audio:
        time.sleep(3.0 if clip.bpm == 41 else 0.0)
        return super().render(clip)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running page with files in a folder of its own."""
    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("gradio"))
    port = free_port()
    page = in_a_loop(lambda: build_ui({"slots": SlowPipeline(), "muse": MusePipeline.tiny("muse")}, SlowSynth()))  # type: ignore[arg-type]
    yield in_a_loop(lambda: launch(page, "127.0.0.1", port, background=True))
    page.close(verbose=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium here: sudo apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


class Visit:
    """One visitor: a page with what it requested and what its console said."""

    def __init__(self, browser: Any, address: str, width: int = 1280, height: int = 860) -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)  # a busy machine is slow, not wrong
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(address)
        self.page.wait_for_selector("#generate", timeout=30_000)
        self.page.wait_for_selector("#roll .notes", state="attached")

    def roll(self) -> dict[str, Any]:
        """What the roll says about itself."""
        return self.page.evaluate(
            """() => { const q = (s) => document.querySelector('#roll ' + s); return {
              summary: q('.summary').textContent, live: !q('.live').hidden, audio: q('audio').getAttribute('src'),
              time: q('audio').currentTime, duration: q('audio').duration, paused: q('audio').paused,
              legend: q('.legend').textContent, views: !q('.views').hidden,
              ink: new Set(q('.notes').getContext('2d').getImageData(0, 0, q('.notes').width, q('.notes').height).data).size,
            }; }"""
        )

    def run(self, button: str = "#generate", timeout: int = 60_000) -> None:
        """Press and wait until the sound is there and all else is, too."""
        before = self.roll()["audio"]
        self.page.click(button)
        self.page.wait_for_function(
            "(old) => { const a = document.querySelector('#roll audio').getAttribute('src'); return a && a !== old; }",
            arg=before, timeout=timeout,
        )  # fmt: skip
        self.idle()

    def idle(self) -> None:
        """Wait for the end of a run. Its last news is that it is complete: when several come at once, the roll shows the result, and
        Stop is gone, a moment before the status says so."""
        self.page.wait_for_selector("#status [data-testid=status-tracker].hide", state="attached")
        self.page.wait_for_function("!document.querySelector('#stop') && document.querySelector('#roll .live').hidden")

    def download(self, kind: str, folder: Path) -> Path:
        self.page.wait_for_selector(f"#download-{kind}:not([disabled])", timeout=60_000)
        with self.page.expect_download() as waiting:
            self.page.click(f"#download-{kind}")
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def upload(self, path: Path) -> None:
        self.page.click("role=tab[name='Repair / Modify']")
        self.page.set_input_files("#upload input[type=file]", str(path))

    def open(self, path: Path) -> None:
        """Upload, and wait for its sound too, which comes behind: ``run`` would take it for that of its result."""
        self._until_other_sound(lambda: self.upload(path))

    def pick(self, variant: int) -> None:
        """Another variant, counted from 1, which is not on the roll yet; and its sound, as in ``open``."""
        button = f"#roll .variants button:nth-child({variant})"
        self._until_other_sound(lambda: self.page.click(button))
        assert self.page.get_attribute(button, "aria-pressed") == "true"

    def _until_other_sound(self, do: Callable[[], None]) -> None:
        before = self.roll()["audio"]
        do()
        self.page.wait_for_function(
            "(old) => { const a = document.querySelector('#roll audio').getAttribute('src'); return a && a !== old; }", arg=before
        )

    def set(self, selector: str, value: str) -> None:
        self.page.fill(f"{selector} input, {selector} textarea", value)

    def slide(self, selector: str, value: int) -> None:
        """Type into a slider until it has moved. A slider that has just been unfolded may still put its first value over what is
        typed: in 2 of 12 visits, whatever the speed of the page."""
        range_ = self.page.locator(f"{selector} input[type=range]")
        for _ in range(20):
            self.set(selector, str(value))
            self.page.keyboard.press("Tab")
            self.page.wait_for_timeout(500)
            if range_.input_value() == str(value):
                return
        raise AssertionError(f"{selector} stays at {range_.input_value()}")

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visitor = Visit(browser, address)
    yield visitor
    outside = [url for url in visitor.requests if not url.startswith((address, "data:", "blob:"))]
    visitor.close()
    assert not outside, outside
    assert not visitor.errors, visitor.errors
