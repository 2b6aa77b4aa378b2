"""Pipelines, one for each engine, and a synth -> the page. Nothing here is shared between visitors but these."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from demo import api, controls, form, output, texts
from demo.controls import Change, Generate, Shared
from demo.handlers import Handlers, Updates, take
from demo.output import Output, Screen, Update
from demo.session import Desk, Running, Scene, Shown
from demo.settings import restore
from musediff.clip import META_FIELDS
from musediff.errors import MuseError
from musediff.pipeline import MusePipeline
from musediff.render.audio import Synthesizer

HERE = Path(__file__).parent
MAX_FILE_SIZE = "512kb"
SWEEP_SECONDS, KEEP_SECONDS = 600, 3600  # how often old files are deleted, and how old they get
MODEL = "model"  # the concurrency group of everything that computes
JOBS = max(1, min(4, os.cpu_count() or 1))  # at once: a job takes one core and less than 100 MB
# Typing bars marks them on the roll; this needs no server. What the roll itself wrote comes back late and must not undo a newer drag.
MARK_BARS = """(text) => {
  if (text && !document.querySelector('#bars')?.contains(document.activeElement)) return;
  document.querySelector('#roll .roll')?.parentElement.dispatchEvent(new CustomEvent('musediff-bars', {detail: text}));
}"""
# On a phone the form lies above the roll, out of sight of whoever pressed the button below it.
TO_THE_FORM = """() => {
  if (window.innerWidth < 900) document.querySelector('#tabs').scrollIntoView({block: 'start', behavior: 'smooth'});
}"""
# Phones grey out .mid files unless the accept list also holds MIME types, which gr.File cannot write.
ACCEPT = """() => {
  const add = () => {
    document.querySelectorAll('#upload input[type=file]').forEach(i => { i.accept = '.mid,.midi,audio/midi,audio/x-midi'; });
    document.querySelectorAll('.number input, .number textarea').forEach(i => { i.inputMode = 'numeric'; });
  };
  new MutationObserver(add).observe(document.body, {childList: true, subtree: true});
  add();
}"""
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build_ui(pipelines: Mapping[str, MusePipeline], synth: Synthesizer) -> gr.Blocks:
    """The whole page. The first of the engines is the one that is chosen at first."""
    about = {name: pipeline.description for name, pipeline in pipelines.items()}
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEEP_SECONDS), fill_width=True) as page:
        said = texts.escape("; ".join(about.values()))
        gr.HTML(f'<h1>{texts.TITLE}</h1><p>{texts.TAGLINE}</p><p class="engine">{said}</p>', elem_id="head")
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="left"):
                with gr.Tabs(elem_id="tabs") as tabs:
                    with gr.Tab(texts.TAB_GENERATE, id="generate") as first:
                        generate = controls.build_generate()
                    with gr.Tab(texts.TAB_MODIFY, id="change") as second:
                        change = controls.build_change()
                shared = controls.build_shared(list(pipelines), controls.usual_steps(next(iter(pipelines.values()))))
            with gr.Column(elem_id="right"):
                out = output.build()
        screen = Screen(out, synth, about)
        handlers = Handlers(pipelines, screen)
        _wire_runs(handlers, generate, change, shared, out)
        _wire_files(handlers, generate, change, shared, out)
        _wire_desk(handlers, change, out, tabs)
        _wire_tabs(first, second, change, shared)
        _wire_engine(pipelines, shared)
        api.publish(pipelines, screen, MODEL, JOBS)
    return page


def launch(page: gr.Blocks, host: str | None, port: int | None, share: bool = False, background: bool = False) -> str:
    """Serve the page; returns its address. ``None``: what the environment says (as on Hugging Face Spaces)."""
    page.queue(max_size=16)
    _, local, _ = page.launch(
        server_name=host, server_port=port, share=share, prevent_thread_lock=background, quiet=background,
        max_file_size=MAX_FILE_SIZE, run_history=False, footer_links=["api", "settings"], js=ACCEPT,
        theme=theme(), css_paths=[HERE / "page.css"],
    )  # fmt: skip
    return local


def theme() -> gr.themes.Base:
    """System fonts only: nothing is fetched."""
    return gr.themes.Default(
        primary_hue="indigo", neutral_hue="slate", spacing_size="sm", radius_size="md", text_size="md",
        font=["system-ui", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"], font_mono=["ui-monospace", "monospace"],
    ).set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300")  # fmt: skip


def _wire_runs(handlers: Handlers, generate: Generate, change: Change, shared: Shared, out: Output) -> None:
    """Generate, Modify / Repair, Stop, another variant."""

    def while_running(run: Callable[..., Updates]) -> Callable[..., Iterator[Update]]:
        """Each update repeats all before it. The browser turns one into the next in place (``apply_diff`` of Gradio's client), even
        if the page has not looked at it yet: when several come at once, as over a slow line, only what the last one says is seen.
        """

        def wrapped(*values: Any) -> Iterator[Update]:
            said: Update = {shared.stop: gr.update(visible=True)}
            yield _copied(said)
            with closing(run(*values)) as updates:
                for update in updates:
                    said = said | update
                    yield _copied(said)
            yield _copied(said | {shared.stop: gr.update(visible=False)})

        return wrapped

    common: dict[str, Any] = {
        "outputs": [*out.all, shared.stop], "concurrency_limit": JOBS, "concurrency_id": MODEL,
        "show_progress": "minimal", "show_progress_on": [out.status], "api_visibility": "private",
    }  # fmt: skip
    generated = shared.generate.click(
        while_running(handlers.generate),
        [out.running, shared.engine, out.shown, change.desk, generate.context, *generate.form.values(), *shared.sampling], **common,
    )  # fmt: skip
    changed = shared.change.click(
        while_running(handlers.change),
        [out.running, shared.engine, change.desk, change.operation, change.strength, change.sensitivity, change.bars, change.may,
         change.track, *change.form.values(), *shared.sampling], **common,
    )  # fmt: skip
    shared.stop.click(handlers.stop, out.running, None, **QUICK)
    picked = out.roll.pick(handlers.pick, out.shown, out.all, show_progress="hidden", api_visibility="private")
    # Not part of the runs: while one lasts, a second press of its button does nothing.
    for event in (generated, changed, picked):
        event.then(handlers.picture, out.shown, out.files["png"], show_progress="hidden", api_visibility="private")


def _copied(update: Update) -> Update:
    """To be yielded more than once: Gradio takes the values out of the ``gr.update`` that it is given."""
    return {component: dict(value) if isinstance(value, dict) else value for component, value in update.items()}


def _filled(change: Change, out: Output) -> list[Any]:
    """What another clip to work on may change."""
    return [
        change.desk, change.info, change.back, change.forth, change.bars, change.track, change.picker, change.tracks, change.first_bar,
        change.file, *change.form.values(), *out.all,
    ]  # fmt: skip


def _sounding(handlers: Handlers, change: Change, out: Output, events: Sequence[Any]) -> None:
    """After events that bring a clip to work on: its sound. They do not wait for it, and it writes nothing that they write."""
    for event in events:
        event.then(
            handlers.hear, change.desk, out.roll, trigger_mode="always_last", show_progress="hidden", api_visibility="private"
        )  # fmt: skip


def _wire_files(handlers: Handlers, generate: Generate, change: Change, shared: Shared, out: Output) -> None:
    """A file, other tracks of it, or other bars become what is worked on."""
    screen = handlers.screen

    def read(running: Running, desk: Desk, shown: Shown | None, data: bytes, name: str, tracks: list[int], first_bar: str) -> Update:
        try:
            source = handlers.open(data, name, tracks, first_bar)
        except MuseError as error:
            return screen.failed(str(error))
        assert source.opened is not None
        restored = restore(source.opened.upload.settings, generate.form, shared, change)
        update = controls.fill(change, desk.put(source, shown)) | restored
        return update | _unless(running, screen.source(source) | screen.no_result())

    def uploaded(running: Running, desk: Desk, shown: Shown | None, path: str | None) -> Update:
        if path is None:
            return {change.desk: gr.skip()}
        return read(running, desk, shown, Path(path).read_bytes(), Path(path).name, [], "1")

    def retake(running: Running, desk: Desk, shown: Shown | None, tracks: list[int], first_bar: str) -> Update:
        opened = desk.source and desk.source.opened
        if desk.source is None or opened is None:
            return screen.failed(texts.NO_SOURCE)
        return read(running, desk, shown, opened.data, desk.source.name, tracks, first_bar)

    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    before = [out.running, change.desk, out.shown]
    sliders = [change.operation, change.strength, change.sensitivity]
    outputs = [*_filled(change, out), *generate.form.values(), *shared.sampling, shared.engine, *sliders]
    events = (
        change.file.upload(uploaded, [*before, change.file], outputs, **hidden),
        change.retake.click(retake, [*before, change.tracks, change.first_bar], outputs, **hidden),
    )
    _sounding(handlers, change, out, events)
    change.track.input(_track_form, [change.desk, change.track], [*change.form.values()], **QUICK)
    out.roll.region(_region, None, change.bars, **QUICK)
    change.bars.change(None, change.bars, None, js=MARK_BARS)


def _wire_desk(handlers: Handlers, change: Change, out: Output, tabs: gr.Tabs) -> None:
    """The result on the roll becomes the clip that is worked on, and back again."""
    screen = handlers.screen

    def send(running: Running, desk: Desk, shown: Shown | None) -> Update:
        try:
            source = take(shown)
        except MuseError as error:
            return screen.failed(str(error))
        update = controls.fill(change, desk.put(source, shown)) | {change.file: None, tabs: gr.update(selected="change")}
        return update | _unless(running, screen.source(source) | {out.send: gr.update(interactive=False)})

    def back(running: Running, desk: Desk, shown: Shown | None) -> Update:
        return step(running, *desk.back(shown)) if desk.past else {change.desk: gr.skip()}

    def forth(running: Running, desk: Desk, shown: Shown | None) -> Update:
        return step(running, *desk.forth(shown)) if desk.future else {change.desk: gr.skip()}

    def step(running: Running, desk: Desk, scene: Scene) -> Update:
        return controls.fill(change, desk) | {change.file: None} | _unless(running, handlers.scene(scene))

    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    before, outputs = [out.running, change.desk, out.shown], [*_filled(change, out), tabs]
    sent = out.send.click(send, before, outputs, **hidden)
    sent.then(None, None, None, js=TO_THE_FORM)
    steps = [button.click(run, before, outputs, **hidden) for button, run in ((change.back, back), (change.forth, forth))]
    _sounding(handlers, change, out, [sent, *steps])
    for event in steps:
        event.then(handlers.picture, out.shown, out.files["png"], **hidden)


def _unless(running: Running, update: Update) -> Update:
    """While a run lasts, the roll and all under it are its own: it would draw over them anyway, and they over it."""
    return update if running.job is None else {}


def _wire_tabs(first: gr.Tab, second: gr.Tab, change: Change, shared: Shared) -> None:
    """The action button says what it will do."""
    buttons = [shared.generate, shared.change]
    first.select(lambda: (gr.update(visible=True), gr.update(visible=False)), None, buttons, **QUICK)
    second.select(lambda: (gr.update(visible=False), gr.update(visible=True)), None, buttons, **QUICK)
    gr.on(
        [change.operation.change, change.strength.change, change.sensitivity.change], controls.about_strength,
        [change.operation, change.strength, change.sensitivity],
        change.words, trigger_mode="always_last", **QUICK,
    )  # fmt: skip
    change.operation.change(_operation, change.operation, [shared.change, change.strength, change.sensitivity, change.may], **QUICK)


def _wire_engine(pipelines: Mapping[str, MusePipeline], shared: Shared) -> None:
    """Another engine usually takes another number of steps."""
    steps = {name: controls.usual_steps(pipeline) for name, pipeline in pipelines.items()}
    shared.engine.input(lambda name: steps[name], shared.engine, shared.steps, **QUICK)


def _track_form(desk: Desk, track: int) -> list[Any]:
    return [gr.skip()] * len(META_FIELDS) if desk.source is None else form.of_clip(desk.source.clip, track)


def _region(event: gr.EventData) -> str:
    return str(event.text)


def _operation(name: str) -> tuple[Any, Any, Any, Any]:
    modify = name == "modify"
    return gr.update(value=texts.GO[name]), gr.update(visible=modify), gr.update(visible=not modify), gr.update(visible=modify)
