"""Settings that a MuseDiff file carries -> the form, filled again."""

import json
from typing import Any

import gradio as gr

from demo import form
from musediff.errors import MuseError
from musediff.meta_json import parse_meta

SAMPLING = ("variants", "seed", "steps", "guidance", "temperature", "density")


def restore(
    settings: str | None, fields: form.Form, sampling: list[gr.components.Component], strength: gr.Slider | None = None
) -> dict[Any, Any]:
    """Updates of the form, the sampling controls and the strength; none if the settings are missing or not to be understood.

    A file may have been edited by anyone, so every value is checked before it is shown.
    """
    try:
        said = json.loads(settings or "{}")
        meta, _ = parse_meta(said["meta"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MuseError):
        return {}
    chosen = said.get("sampling")
    chosen = chosen if isinstance(chosen, dict) else {}
    updates = dict(zip(fields.values(), form.show(meta), strict=True))
    for name, control in zip(SAMPLING, sampling, strict=True):
        value = chosen.get(name, said.get(name))
        if _fits(control, value):
            updates[control] = str(value) if name == "seed" else value
    if strength is not None and _fits(strength, said.get("strength")):
        updates[strength] = said["strength"]
    return updates


def _fits(control: gr.components.Component, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(control, gr.Slider):
        return control.minimum <= value <= control.maximum
    return value in (1, 2, 3, 4) if isinstance(control, gr.Radio) else 0 <= value < 2**63
