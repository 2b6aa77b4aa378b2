"""The left-hand side of the page: the two tabs and what they share."""

import random
from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo import form, texts
from demo.session import Desk, Source
from musediff.clip import Meta
from musediff.pipeline import MusePipeline, Sampling

Components = list[gr.components.Component]

USUAL = Sampling()
LEAST_STEPS = 4


@dataclass(frozen=True)
class Generate:
    """The Generate tab."""

    form: form.Form
    context: gr.Checkbox


@dataclass(frozen=True)
class Change:
    """The Repair / Modify tab."""

    file: gr.File
    info: gr.HTML
    back: gr.Button
    forth: gr.Button
    picker: gr.Column
    tracks: gr.Dropdown
    first_bar: gr.Textbox
    retake: gr.Button
    operation: gr.Radio
    strength: gr.Slider
    sensitivity: gr.Slider
    words: gr.HTML
    bars: gr.Textbox
    may: gr.CheckboxGroup
    track: gr.Dropdown
    form: form.Form
    desk: gr.State


@dataclass(frozen=True)
class Shared:
    """Engine, sampling and the action buttons. ``sampling`` is in the order that ``handlers.sampling`` reads."""

    engine: gr.Radio
    sampling: Components
    steps: gr.Slider
    seed: gr.Textbox
    generate: gr.Button
    change: gr.Button
    stop: gr.Button


def build_generate() -> Generate:
    fields = form.build(form.START, form.START_CHORDS, "generate")
    return Generate(fields, gr.Checkbox(False, label=texts.CONTEXT, elem_id="add-track", container=False))


def build_change() -> Change:
    file = gr.File(label=texts.UPLOAD, file_types=[".mid", ".midi"], type="filepath", height=96, elem_id="upload")
    info = gr.HTML(about(None), elem_id="source")
    with gr.Row(elem_classes="tight", elem_id="history"):
        back, forth = (
            gr.Button(label, size="sm", visible=False, min_width=120, elem_id=name)
            for label, name in ((texts.BACK, "back"), (texts.FORTH, "forth"))
        )
    with gr.Column(visible=False, elem_id="picker") as picker, gr.Row(elem_classes="tight"):
        tracks = gr.Dropdown([], multiselect=True, label=texts.TRACKS, info=texts.TRACKS_INFO, scale=3, min_width=160, elem_id="tracks")
        first_bar = gr.Textbox("1", label=texts.FIRST_BAR, max_lines=1, scale=1, min_width=70, elem_id="first-bar", elem_classes="number")
        retake = gr.Button(texts.RETAKE, size="sm", scale=1, min_width=70, elem_id="retake")
    with gr.Row(elem_classes="tight"):
        operation = gr.Radio(
            [(label, name) for name, label in texts.OPERATIONS.items()], value="modify", label=texts.OPERATION,
            min_width=120, elem_id="operation",
        )  # fmt: skip
        bars = gr.Textbox("", label=texts.BARS[0], placeholder=texts.BARS[1], min_width=120, elem_id="bars")
    strength = gr.Slider(0, 1, 0.4, step=0.05, label=texts.STRENGTH, elem_id="strength", buttons=[])
    sensitivity = gr.Slider(0, 1, 0.5, step=0.05, label=texts.SENSITIVITY, visible=False, elem_id="sensitivity", buttons=[])
    words = gr.HTML(about_strength("modify", 0.4, 0.5), elem_id="strength-words")
    may = gr.CheckboxGroup(
        [(label, name) for name, label in texts.MAY.items()], value=list(texts.MAY), label=texts.MAY_CHANGE, elem_id="may"
    )
    track = gr.Dropdown([("1", 0)], value=0, label=texts.TRACK, visible=False, elem_id="track")
    with gr.Accordion(texts.DETECTED, open=False, elem_id="detected"):
        fields = form.build(Meta(), "", "change", fixed=frozenset({"time_signature", "num_measures"}))
    desk = gr.State(Desk(), time_to_live=3600)
    return Change(
        file, info, back, forth, picker, tracks, first_bar, retake, operation, strength, sensitivity, words, bars, may, track, fields, desk
    )


def usual_steps(pipeline: MusePipeline) -> int:
    """Where the slider stands; at its end for an engine that does not ask for steps."""
    return max(LEAST_STEPS, pipeline.engine.usual_steps)


def build_shared(engines: list[str], steps: int) -> Shared:
    choices = [(texts.ENGINES.get(name, name), name) for name in engines]
    engine = gr.Radio(choices, value=engines[0], label=texts.ENGINE, visible=len(engines) > 1, elem_id="engine")
    with gr.Row(elem_classes="tight"):
        variants = gr.Radio([1, 2, 3, 4], value=1, label=texts.VARIANTS, min_width=150, elem_id="variants", elem_classes="pills")
        seed = gr.Textbox(
            "", label=texts.SEED[0], placeholder=texts.RANDOM, max_lines=1, min_width=90, elem_id="seed", elem_classes="number"
        )
        draw = gr.Button(texts.SEED_RANDOM, size="sm", min_width=70, elem_id="new-seed", elem_classes="bottom")
    with gr.Accordion(texts.ADVANCED, open=False, elem_id="advanced"):
        sliders = [
            gr.Slider(low, high, value, step=step, label=label, info=info, elem_id=label.lower(), buttons=[])
            for (label, info), low, high, value, step in (
                (texts.STEPS, LEAST_STEPS, 64, steps, 1), (texts.GUIDANCE, 1, 5, USUAL.guidance, 0.1),
                (texts.TEMPERATURE, 0.5, 1.5, USUAL.temperature, 0.05), (texts.DENSITY, -1, 1, USUAL.density, 0.1),
            )
        ]  # fmt: skip
    with gr.Row(elem_id="actions"):
        generate = gr.Button(texts.GENERATE, variant="primary", elem_id="generate", min_width=120)
        change = gr.Button(texts.GO["modify"], variant="primary", visible=False, elem_id="change", min_width=120)
        stop = gr.Button(texts.STOP, variant="secondary", visible=False, elem_id="stop", min_width=120)
    draw.click(lambda: str(random.randrange(2**31)), None, seed, queue=False, api_visibility="private")
    return Shared(engine, [variants, seed, *sliders], sliders[0], seed, generate, change, stop)


def about(source: Source | None) -> str:
    """What the clip to work on is, and what was changed when it was read."""
    if source is None:
        return f'<p class="hint">{texts.SOURCE_NONE}</p>'
    clip, esc = source.clip, texts.escape
    track = clip.tracks[0]
    facts = [
        f"{clip.num_measures} bars of {clip.time_signature}", f"{clip.bpm} BPM", texts.key(clip.key) if clip.key else "",
        texts.instrument(track.instrument) if track.instrument else "", texts.ROLES.get(track.role or "", ""),
    ]  # fmt: skip
    notes = "".join(f"<li>{esc(note)}</li>" for note in (source.opened.upload.notes if source.opened else ()))
    notes = f"<details open><summary>{texts.CHANGED_ON_THE_WAY}</summary><ul>{notes}</ul></details>" if notes else ""
    return f"<p><b>{esc(source.name)}</b><br>{esc(', '.join(f for f in facts if f))}</p>{notes}"


def about_strength(operation: str, strength: float, sensitivity: float) -> str:
    """What the slider of this operation means at its value."""
    words = f"{strength:g}: {texts.strength_words(strength)}"
    if operation == "repair":
        words = f"{sensitivity:g}: {texts.sensitivity_words(sensitivity)}. {texts.REPAIR_WORDS}"
    return f'<p class="hint" role="status">{words}</p>'


def fill(change: Change, desk: Desk) -> dict[Any, Any]:
    """Updates of the tab for another clip to work on."""
    source = desk.source
    tracks = source.clip.tracks if source else ()
    names = [(f"{i + 1}: {texts.ROLES.get(t.role or '', t.name or texts.TRACK)}", i) for i, t in enumerate(tracks)] or [("1", 0)]
    updates = {
        change.desk: desk, change.info: about(source), change.bars: "",
        change.track: gr.update(choices=names, value=0, visible=len(names) > 1),
        change.back: gr.update(visible=bool(desk.past)), change.forth: gr.update(visible=bool(desk.future)),
    }  # fmt: skip
    updates |= dict(zip(change.form.values(), form.of_clip(source.clip) if source else form.show(Meta()), strict=True))
    if source is None or source.opened is None:
        return updates | {change.picker: gr.update(visible=False)}
    opened = source.opened
    score = opened.upload.score
    found = [(f"{i + 1}: {t.name or texts.UNNAMED}, {len(t.notes)} notes", i) for i, t in enumerate(score.tracks) if t.notes]
    longer = opened.first_bar != "1" or score.end_ticks > source.clip.end_ticks + source.clip.bar_ticks
    return updates | {
        change.picker: gr.update(visible=len(found) > 1 or longer), change.first_bar: opened.first_bar,
        change.tracks: gr.update(choices=found, value=list(opened.tracks)),
    }  # fmt: skip
