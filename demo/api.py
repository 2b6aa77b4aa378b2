"""The same operations for programs: typed endpoints that take and give files and JSON."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_upload_folder, is_in_or_equal

from demo import report
from demo.handlers import read_bars
from demo.output import Screen
from demo.roll.payload import summary
from musediff.clip import Meta
from musediff.errors import BadRequest, MuseError
from musediff.meta_json import parse_meta, to_dict
from musediff.pipeline import MusePipeline, Result, Sampling
from musediff.render import pianoroll
from musediff.render.audio import to_wav

T = TypeVar("T")
USUAL = Sampling()


def publish(pipelines: Mapping[str, MusePipeline], screen: Screen, group: str, jobs: int) -> None:
    """Add /generate, /modify, /repair and /analyze to the page under construction."""
    endpoints = Endpoints(pipelines, screen)
    for name in ("generate", "modify", "repair", "analyze"):
        gr.api(getattr(endpoints, name), api_name=name, concurrency_limit=jobs, concurrency_id=group)


class Endpoints:
    """One method per endpoint; its signature and docstring are what the API page shows."""

    def __init__(self, pipelines: Mapping[str, MusePipeline], screen: Screen) -> None:
        self._pipelines = pipelines
        self._usual = next(iter(pipelines.values()))
        self._screen = screen

    def _engine(self, name: str | None) -> MusePipeline:
        if name is None:
            return self._usual
        if name not in self._pipelines:
            raise BadRequest(f"engine {name!r}: not here. Choose one of {', '.join(self._pipelines)}.")
        return self._pipelines[name]

    def generate(
        self, meta: dict[str, Any], variants: int = 1, seed: int | None = None, steps: int | None = None,
        guidance: float = USUAL.guidance, temperature: float = USUAL.temperature, density: float = USUAL.density, engine: str | None = None,
    ) -> tuple[list[FileData], dict[str, Any]]:  # fmt: skip
        """Make new clips. `meta` holds any of the 12 metadata ({"audio_key": "aminor", "chord_progression": "Am | F | C | G"}; what
        is left out is free). Returns files (per variant: MIDI, WAV, PNG) and a report (seed, seconds, asked and got, settings)."""

        def run() -> tuple[Result, Meta]:
            asked, _ = parse_meta(meta or {})
            sampling = Sampling(variants=variants, seed=seed, steps=steps, guidance=guidance, temperature=temperature, density=density)
            return self._engine(engine).generate(asked, sampling), asked

        return self._answer(run, "musediff")

    def modify(
        self, file: FileData, strength: float = 0.4, bars: str = "", meta: dict[str, Any] | None = None, variants: int = 1,
        seed: int | None = None, steps: int | None = None, engine: str | None = None,
    ) -> tuple[list[FileData], dict[str, Any]]:  # fmt: skip
        """Change a MIDI file: `strength` is the share of notes that change, `bars` such as "3-4" or "1, 5-6" (empty: all), `meta`
        corrects what is detected. Returns files (per variant: MIDI, WAV, PNG) and a report."""

        def run() -> tuple[Result, Meta]:
            clip = self._usual.open(*_received(file)).clip
            asked, _ = parse_meta(meta or {})
            sampling = Sampling(variants=variants, seed=seed, steps=steps)
            region = read_bars(bars, clip.num_measures)
            return self._engine(engine).modify(clip, strength, meta=asked if meta else None, bars=region, sampling=sampling), asked

        return self._answer(run, "modified")

    def repair(
        self, file: FileData, bars: str = "", variants: int = 1, seed: int | None = None, steps: int | None = None,
        sensitivity: float = 0.5, engine: str | None = None,
    ) -> tuple[list[FileData], dict[str, Any]]:  # fmt: skip
        """Find the notes of a MIDI file that do not belong and replace only them, in `bars` such as "3-4" (empty: all).
        `sensitivity` 0-1 is how readily a note is suspected. Returns files (per variant: MIDI, WAV, PNG) and a report."""

        def run() -> tuple[Result, Meta]:
            clip = self._usual.open(*_received(file)).clip
            sampling = Sampling(variants=variants, seed=seed, steps=steps)
            region = read_bars(bars, clip.num_measures)
            return self._engine(engine).repair(clip, bars=region, sensitivity=sensitivity, sampling=sampling), Meta()

        return self._answer(run, "repaired")

    def analyze(self, file: FileData) -> tuple[list[FileData], dict[str, Any]]:
        """Infer the 12 metadata of a MIDI file. Returns the piano-roll picture, and the metadata with what was changed on the way in."""

        def run() -> tuple[list[FileData], dict[str, Any]]:
            data, name = _received(file)
            opened = self._usual.open(data, name)
            picture = self._screen.shelf.place("analysis.png")
            pianoroll.save_png(opened.clip, picture)
            found = {"meta": to_dict(opened.clip.meta(0)), "notes": list(opened.notes), "summary": summary(opened.clip)}
            return [FileData(path=str(picture))], found

        return _told(run)

    def _answer(self, run: Callable[[], tuple[Result, Meta]], stem: str) -> tuple[list[FileData], dict[str, Any]]:
        result, asked = _told(run)
        files, clips = [], []
        for i, clip in enumerate(result.clips):
            name = f"{stem}-seed{result.seed}-{i + 1}"
            picture = self._screen.shelf.place(f"{name}.png")
            pianoroll.save_png(clip, picture, before=result.source)
            audio = self._screen.synth.render(clip)
            made = [
                self._screen.shelf.keep(f"{name}.mid", result.midi(i)),
                self._screen.shelf.keep(f"{name}.wav", to_wav(audio)), str(picture),
            ]  # fmt: skip
            files += [FileData(path=path) for path in made]
            rows = [row._asdict() for row in report.rows(asked, clip, 0)]
            clips.append({"summary": summary(clip, result.source), "asked_and_got": rows, "synth": audio.synth})
        facts = {"seed": result.seed, "seconds": round(result.seconds, 3), "engine": result.engine, "notes": list(result.notes)}
        return files, {**facts, "settings": result.settings, "clips": clips}


def _told(run: Callable[[], T]) -> T:
    """What a user can mend reaches the caller as a sentence."""
    try:
        return run()
    except MuseError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _received(file: Any) -> tuple[bytes, str]:
    """Bytes and name of an uploaded file. Only what was uploaded may be read, not any path of this machine."""
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str) or not is_in_or_equal(path, get_upload_folder()) or not Path(path).is_file():
        raise BadRequest("file: no uploaded file. Send it with gradio_client's handle_file(path).")
    return Path(path).read_bytes(), str(file.get("orig_name") or Path(path).name)
