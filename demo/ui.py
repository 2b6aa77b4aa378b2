"""A pipeline and a synth -> the page. Nothing here is shared between visitors but these two."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demo import api, controls, form, output, texts
from demo.controls import Change, Generate, Shared
from demo.handlers import Handlers, take
from demo.output import Output, Screen, Update
from demo.session import Shown, Source
from demo.settings import restore
from musediff.clip import META_FIELDS
from musediff.errors import MuseError
from musediff.pipeline import MusePipeline
from musediff.render.audio import Synthesizer

HERE = Path(__file__).parent
MAX_FILE_SIZE = "512kb"
SWEEP_SECONDS, KEEP_SECONDS = 600, 3600  # how often old files are deleted, and how old they get
MODEL = "model"  # the concurrency group of everything that computes: one job at a time
# Typing bars marks them on the roll; this needs no server. What the roll itself wrote comes back late and must not undo a newer drag.
MARK_BARS = """(text) => {
  if (text && !document.querySelector('#bars')?.contains(document.activeElement)) return;
  document.querySelector('#roll .roll')?.parentElement.dispatchEvent(new CustomEvent('musediff-bars', {detail: text}));
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


def build_ui(pipeline: MusePipeline, synth: Synthesizer) -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False, delete_cache=(SWEEP_SECONDS, KEEP_SECONDS), fill_width=True) as page:
        gr.HTML(f'<h1>{texts.TITLE}</h1><p>{texts.TAGLINE}</p><p class="engine">{texts.escape(pipeline.description)}</p>', elem_id="head")
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="left"):
                with gr.Tabs(elem_id="tabs") as tabs:
                    with gr.Tab(texts.TAB_GENERATE, id="generate") as first:
                        generate = controls.build_generate()
                    with gr.Tab(texts.TAB_MODIFY, id="change") as second:
                        change = controls.build_change()
                shared = controls.build_shared()
            with gr.Column(elem_id="right"):
                out = output.build()
        screen = Screen(out, synth, pipeline.description)
        handlers = Handlers(pipeline, screen)
        _wire_runs(handlers, generate, change, shared, out)
        _wire_source(handlers, generate, change, shared, out)
        _wire_send(handlers, change, out, tabs)
        _wire_tabs(first, second, change, shared)
        api.publish(pipeline, screen, MODEL)
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

    def while_running(run: Callable[..., Iterator[Update]]) -> Callable[..., Iterator[Update]]:
        def wrapped(*values: Any) -> Iterator[Update]:
            yield {shared.stop: gr.update(visible=True)}
            yield from run(*values)
            yield {shared.stop: gr.update(visible=False)}

        return wrapped

    common: dict[str, Any] = {
        "outputs": [*out.all, shared.stop], "concurrency_limit": 1, "concurrency_id": MODEL,
        "show_progress": "minimal", "show_progress_on": [out.status], "api_visibility": "private",
    }  # fmt: skip
    generated = shared.generate.click(
        while_running(handlers.generate),
        [out.shown, change.source, generate.context, *generate.form.values(), *shared.sampling], **common,
    )  # fmt: skip
    changed = shared.change.click(
        while_running(handlers.change),
        [change.source, change.operation, change.strength, change.bars, change.may, change.track,
         *change.form.values(), *shared.sampling], **common,
    )  # fmt: skip
    shared.stop.click(handlers.stop, out.running, None, **QUICK)
    picked = out.roll.pick(handlers.pick, out.shown, out.all, show_progress="hidden", api_visibility="private")
    # Not part of the runs: while one lasts, a second press of its button does nothing.
    for event in (generated, changed, picked):
        event.then(handlers.picture, out.shown, out.files["png"], show_progress="hidden", api_visibility="private")


def _wire_source(handlers: Handlers, generate: Generate, change: Change, shared: Shared, out: Output) -> None:
    """A file, other tracks of it, or other bars become what is worked on."""
    screen = handlers.screen
    source_outputs = [
        change.source, change.info, change.bars, change.track, change.picker, change.tracks, change.file, *change.form.values()
    ]  # fmt: skip
    outputs = [*source_outputs, *out.all, *generate.form.values(), *shared.sampling, change.strength]

    def read(data: bytes, name: str, tracks: list[int], first_bar: str) -> Iterator[Update]:
        try:
            source, opened = handlers.open(data, name, tracks, first_bar)
        except MuseError as error:
            yield screen.failed(str(error))
            return
        restored = restore(opened.settings, generate.form, shared.sampling, change.strength)
        yield controls.fill(change, source, opened) | screen.source(source) | screen.no_result() | restored
        source = handlers.heard(source)
        yield {change.source: source} | screen.source(source)

    def uploaded(path: str | None) -> Iterator[Update]:
        if path is not None:
            yield from read(Path(path).read_bytes(), Path(path).name, [], "1")

    def retake(source: Source | None, tracks: list[int], first_bar: str) -> Iterator[Update]:
        if source is None or source.data is None:
            yield screen.failed(texts.NO_SOURCE)
        else:
            yield from read(source.data, source.name, tracks, first_bar)

    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    change.file.upload(uploaded, change.file, outputs, **hidden)
    change.retake.click(retake, [change.source, change.tracks, change.first_bar], outputs, **hidden)
    change.track.input(_track_form, [change.source, change.track], [*change.form.values()], **QUICK)
    out.roll.region(_region, None, change.bars, **QUICK)
    change.bars.change(None, change.bars, None, js=MARK_BARS)


def _wire_send(handlers: Handlers, change: Change, out: Output, tabs: gr.Tabs) -> None:
    """The clip on the roll becomes the one that is worked on."""
    screen = handlers.screen

    def send(shown: Shown | None) -> Update:
        try:
            source = take(shown)
        except MuseError as error:
            return screen.failed(str(error))
        return controls.fill(change, source, None) | screen.source(source) | {tabs: gr.update(selected="change")}

    outputs = [
        change.source, change.info, change.bars, change.track, change.picker, change.file, *change.form.values(), *out.all, tabs
    ]  # fmt: skip
    out.send.click(send, out.shown, outputs, show_progress="hidden", api_visibility="private")


def _wire_tabs(first: gr.Tab, second: gr.Tab, change: Change, shared: Shared) -> None:
    """The action button says what it will do."""
    buttons = [shared.generate, shared.change]
    first.select(lambda: (gr.update(visible=True), gr.update(visible=False)), None, buttons, **QUICK)
    second.select(lambda: (gr.update(visible=False), gr.update(visible=True)), None, buttons, **QUICK)
    gr.on(
        [change.operation.change, change.strength.change], controls.about_strength, [change.operation, change.strength],
        change.words, trigger_mode="always_last", **QUICK,
    )  # fmt: skip
    change.operation.change(_operation, change.operation, [shared.change, change.strength, change.may], **QUICK)


def _track_form(source: Source | None, track: int) -> list[Any]:
    return [gr.skip()] * len(META_FIELDS) if source is None else form.of_clip(source.clip, track)


def _region(event: gr.EventData) -> str:
    return str(event.text)


def _operation(name: str) -> tuple[Any, Any, Any]:
    modify = name == "modify"
    return gr.update(value=texts.GO[name]), gr.update(visible=modify), gr.update(visible=modify)
