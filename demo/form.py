"""The 12 metadata as form fields, and form values -> Meta."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from demo import texts
from musediff import progression
from musediff.clip import CHOICES, KEY_NAMES, KEYS, META_FIELDS, Clip, Meta
from musediff.errors import MuseError
from musediff.meta_json import parse_meta, to_dict

ANY = texts.ANY
_LABELS = {
    "audio_key": lambda name: texts.key(name), "inst": texts.INSTRUMENTS.__getitem__, "track_role": texts.ROLES.__getitem__,
    "genre": texts.GENRES.__getitem__, "rhythm": texts.RHYTHMS.__getitem__, "pitch_range": texts.RANGES.__getitem__,
    "time_signature": str,
}  # fmt: skip
# The page opens with a request that sounds well; ComMU's own example is close to it.
START = Meta(
    audio_key="aminor", bpm=92, time_signature="4/4", num_measures=8, inst="acoustic_piano", track_role="main_melody",
    pitch_range="mid_high", min_velocity=50, max_velocity=90, rhythm="standard",
)  # fmt: skip
START_CHORDS = "Am | F | C | G | Am | F | C | E"
ROWS = (
    ("audio_key", "bpm"), ("time_signature", "num_measures"), ("inst", "track_role"),
    ("genre", "rhythm"), ("pitch_range", "min_velocity", "max_velocity"),
)  # fmt: skip

Form = dict[str, gr.components.Component]


def build(start: Meta, chords: str, tab: str, fixed: frozenset[str] = frozenset()) -> Form:
    """Lay out the fields; the dictionary is in the order of ``META_FIELDS``. ``fixed`` ones cannot be edited."""
    form: Form = {}
    for row in ROWS:
        with gr.Row(elem_classes="tight"):
            for name in row:
                form[name] = _field(name, getattr(start, name), f"{tab}-{name}", name not in fixed)
    with gr.Row(elem_classes="tight"):
        preset = gr.Dropdown(
            [texts.PRESET_NONE, *(name for name, _ in progression.PRESETS)],
            value=texts.PRESET_NONE, label=texts.PRESET, elem_id=f"{tab}-preset", min_width=110, scale=2,
        )  # fmt: skip
        form["chord_progression"] = gr.Textbox(
            chords, label=texts.FIELDS["chord_progression"][0], placeholder=texts.CHORDS_HINT,
            elem_id=f"{tab}-chords", lines=1, max_lines=3, min_width=150, scale=3,
        )  # fmt: skip
    feedback = gr.HTML(
        chord_feedback(chords, start.audio_key or ANY, start.time_signature or ANY, str(start.num_measures or ANY)),
        elem_id=f"{tab}-feedback",
    )
    form = {name: form[name] for name in META_FIELDS}
    preset.input(_preset_text, preset, form["chord_progression"], queue=False, show_progress="hidden", api_visibility="private")
    watched = [form[n] for n in ("chord_progression", "audio_key", "time_signature", "num_measures")]
    gr.on(
        [c.change for c in watched], chord_feedback, watched, feedback,
        queue=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip
    return form


def read(values: Sequence[Any]) -> Meta:
    """Values of the fields in the order of ``META_FIELDS`` -> Meta.

    Raises:
        BadRequest: a value or the chord text is wrong; the sentence names it.
    """
    return parse_meta(dict(zip(META_FIELDS, values, strict=True)))[0]


def show(meta: Meta) -> list[Any]:
    """Meta -> values of the fields, in the order of ``META_FIELDS``."""
    return [value if name in CHOICES else "" if value == ANY else str(value) for name, value in to_dict(meta).items()]


def of_clip(clip: Clip, track: int = 0) -> list[Any]:
    """The form filled with what is known about a clip."""
    return show(clip.meta(track))


def chord_feedback(text: str, key: str, time_signature: str, num_measures: str | None) -> str:
    """The line under the chord field: what was understood, bar by bar, or what is wrong and where."""
    if not (text or "").strip():
        return _line("hint", texts.CHORDS_ANY)
    asked = {"chord_progression": text, "audio_key": key, "time_signature": time_signature, "num_measures": num_measures}
    try:
        meta, notes = parse_meta(asked)
    except MuseError as error:
        return _line("bad", str(error))
    bars = progression.format(meta.chord_progression or (), meta.time_signature or "4/4", meta.audio_key)
    return _line("good", " ".join([f"{meta.num_measures} bars: {bars}", *notes]))


def _line(kind: str, words: str) -> str:
    return f'<p class="feedback {kind}" role="status">{texts.escape(words)}</p>'


def _preset_text(name: str) -> str:
    return dict(progression.PRESETS).get(name, "")


def _field(name: str, value: Any, elem_id: str, interactive: bool) -> gr.components.Component:
    label, _info = texts.FIELDS[name]
    if name not in CHOICES:
        # Not gr.Number: when it is left empty for "any", the browser may send 0.
        return gr.Textbox(
            None if value is None else str(value), label=label, placeholder=ANY, elem_id=elem_id, elem_classes="number",
            max_lines=1, min_width=70, interactive=interactive,
        )  # fmt: skip
    names = KEY_NAMES + tuple(k for k in KEYS if k not in KEY_NAMES) if name == "audio_key" else CHOICES[name]
    choices = [(ANY, ANY), *((_LABELS[name](n), n) for n in names)]
    return gr.Dropdown(
        choices, value=ANY if value is None else value, label=label, elem_id=elem_id, min_width=120, interactive=interactive,
    )  # fmt: skip
