"""Events of the page -> calls of the pipeline -> updates of the screen. Plain methods and generators, tested without a browser."""

import re
import secrets
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from demo import form, texts
from demo.output import Screen, Update, status_line
from demo.session import Desk, Heard, Opened, Running, Scene, Shown, Source
from musediff.clip import META_FIELDS, Clip, Meta
from musediff.errors import BadRequest, MuseError
from musediff.pipeline import Job, MusePipeline, Sampling

OWN_END = re.compile(rf"(-({'|'.join(texts.OPERATIONS)}))?-seed\d+-\d+$")
Updates = Generator[Update, None, None]  # of a run
FRAME_SECONDS = 1 / 8  # the live roll: a frame costs the server about 30 ms


class Made(NamedTuple):
    """What a job is about to make, and of what."""

    asked: Meta
    name: str
    track: int = 0
    operation: str = "generate"
    source: Source | None = None


class Handlers:
    """One per page (not per visitor): holds nothing but the pipelines and the screen."""

    def __init__(self, pipelines: Mapping[str, MusePipeline], screen: Screen) -> None:
        self.pipelines = pipelines
        self.screen = screen
        self.out = screen.out

    # ---- long jobs: generators, so that the page can show, stop and leave them -----------------------------------

    def generate(self, running: Running, engine: str, shown: Shown | None, desk: Desk, add: bool, *values: Any) -> Updates:
        """``values``: the form in the order of META_FIELDS, then the sampling controls."""
        try:
            meta = form.read(values[: len(META_FIELDS)])
            context = on_roll(shown, desk.source) if add else None
            job = self.pipelines[engine].start_generate(meta, sampling(values[len(META_FIELDS) :]), context)
        except MuseError as error:
            yield self.screen.failed(str(error))
            return
        yield from self._run(running, job, Made(meta, "musediff", track=len(context.tracks) if context else 0))

    def change(
        self, running: Running, engine: str, desk: Desk, operation: str, strength: float, sensitivity: float, bars: str, may: Sequence[str],
        track: int | None, *values: Any,
    ) -> Updates:  # fmt: skip
        """Modify or repair what lies on the desk; ``values`` as in :meth:`generate`."""
        source = desk.source
        try:
            if source is None:
                raise BadRequest(texts.NO_SOURCE)
            pipeline, clip = self.pipelines[engine], source.clip
            region, tracks = read_bars(bars, clip.num_measures), (track or 0,)
            chosen = sampling(values[len(META_FIELDS) :])
            if operation == "repair":
                meta = Meta()
                job = pipeline.start_repair(clip, bars=region, tracks=tracks, sensitivity=sensitivity, sampling=chosen)
            else:
                meta = form.read(values[: len(META_FIELDS)])
                job = pipeline.start_modify(clip, strength, meta=meta, bars=region, tracks=tracks, fields=frozenset(may), sampling=chosen)
        except MuseError as error:
            yield self.screen.failed(str(error))
            return
        yield from self._run(running, job, Made(meta, f"{plain(source.name)}-{operation}", track or 0, operation, source))

    def _run(self, running: Running, job: Job, made: Made) -> Updates:
        token, before = secrets.token_hex(4), made.source and made.source.clip
        running.job = job
        try:
            yield {self.out.status: status_line(texts.WAITING)}
            drawn = 0.0
            step = steps = 0
            for progress in job:
                step, steps = progress.step, progress.steps
                if time.monotonic() - drawn >= FRAME_SECONDS:
                    yield self.screen.live(progress.clips, step, steps, before, token)
                    drawn = time.monotonic()
            result = job.result()
            yield self.screen.live(result.clips, max(step, 1), max(step, 1), before, token)
            name = f"{made.name}-seed{result.seed}"
            shown = self.screen.heard(
                Shown(result, made.asked, token, name, track=made.track, operation=made.operation, source=made.source)
            )
            yield self.screen.result(shown) | self.screen.downloads(shown)
        except MuseError as error:
            yield self.screen.failed(str(error))
        finally:
            job.stop()
            if running.job is job:
                running.job = None

    def stop(self, running: Running) -> None:
        """End the visitor's own job within a step; the generator that runs it then shows what there is."""
        if running.job is None:
            gr.Info(texts.NOTHING_TO_STOP)
        else:
            running.job.stop()

    # ---- short events --------------------------------------------------------------------------------------------

    def pick(self, shown: Shown | None, event: gr.EventData) -> Update:
        """Show another variant."""
        index = int(event.index)
        if shown is None or not 0 <= index < len(shown.result.clips):
            return {self.out.shown: gr.skip()}
        shown = self.screen.heard(replace(shown, index=index))
        return self.screen.result(shown) | self.screen.downloads(shown)

    def picture(self, shown: Shown | None) -> Any:
        """The piano-roll of what is shown as a PNG file: the slowest of the files, so it comes last."""
        return gr.skip() if shown is None else self.screen.picture(shown)

    def open(self, data: bytes, name: str, tracks: Sequence[int] = (), first_bar: str = "1") -> Source:
        """A MIDI file (or other tracks and bars of it) -> the clip to work on. Raises MuseError."""
        first = whole(texts.FIRST_BAR, first_bar, 1) or 1
        upload = next(iter(self.pipelines.values())).open(data, name, tuple(tracks) or None, first - 1)
        return Source(upload.clip, name, Opened(data, upload, tuple(tracks), str(first)))

    def hear(self, desk: Desk) -> Any:
        """The sound of the clip to work on: it takes seconds, so an event of its own brings it, to the roll and nowhere else."""
        source = desk.source
        if source is None:
            return gr.skip()
        if source.sound is None:
            source.heard.sound = self.screen.sound(source.clip, Path(source.name).stem)
        return self.screen.late_sound(source)

    def scene(self, scene: Scene) -> Update:
        """The roll and all under it as they were."""
        if scene.shown is not None:
            shown = self.screen.heard(scene.shown)
            return self.screen.result(shown) | self.screen.downloads(shown)
        return self.screen.source(scene.source) | self.screen.no_result()


def on_roll(shown: Shown | None, source: Source | None) -> Clip:
    """The clip that the visitor sees. Raises BadRequest if there is none."""
    if shown is not None:
        return shown.clip
    if source is None:
        raise BadRequest(texts.NO_CONTEXT)
    return source.clip


def take(shown: Shown | None) -> Source:
    """The clip on the roll becomes the one to work on. Raises BadRequest if there is none."""
    if shown is None:
        raise BadRequest(texts.NOTHING_TO_SEND)
    return Source(
        shown.clip, f"{shown.name}-{shown.index + 1}.mid", heard=Heard(shown.sound), token=f"{shown.token}-{shown.index}-source"
    )  # fmt: skip


def plain(name: str) -> str:
    """ "song-modify-seed5-1.mid" -> "song": what is worked on again and again keeps a name that fits a file."""
    return OWN_END.sub("", Path(name).stem)


def sampling(values: Sequence[Any]) -> Sampling:
    """Values of the sampling controls -> Sampling. Raises BadRequest."""
    variants, seed, steps, guidance, temperature, density = values
    return Sampling(
        variants=int(variants), seed=whole(texts.SEED[0], seed, 0), steps=int(steps),
        guidance=float(guidance), temperature=float(temperature), density=float(density),
    )  # fmt: skip


def whole(label: str, text: str | None, least: int) -> int | None:
    """A whole number from a text field, None if it is empty. Raises BadRequest."""
    text = (text or "").strip()
    if not text:
        return None
    if not (text.isdecimal() and len(text) <= 18 and int(text) >= least):
        raise BadRequest(f"{label}: {text[:40]!r} is not a whole number from {least}.")
    return int(text)


def read_bars(text: str, num_measures: int) -> frozenset[int] | None:
    """ "3-4, 6" -> {2, 3, 5}: people count bars from 1. Empty: None, all bars.

    Raises:
        BadRequest: a part is no bar number, or lies outside the clip.
    """
    if not text.strip():
        return None
    bars: set[int] = set()
    for part in text.replace("–", "-").split(","):
        first, dash, last = (p.strip() for p in part.partition("-"))
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()):
            raise BadRequest(f"Bars to change: {part.strip()!r} is no bar number. Write them like 3-4 or 1, 5-6.")
        if not 1 <= int(first) <= int(last) <= num_measures:
            raise BadRequest(f"Bars to change: {part.strip()} does not fit, the clip has bars 1 to {num_measures}.")
        bars.update(range(int(first) - 1, int(last)))
    return frozenset(bars)
