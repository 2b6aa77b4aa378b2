"""Settings that a MuseDiff file carries -> the forms, filled again."""

import json
from typing import Any

import gradio as gr

from demo import form, texts
from demo.controls import Change, Shared
from musediff.errors import MuseError
from musediff.meta_json import parse_meta

SAMPLING = ("variants", "seed", "steps", "guidance", "temperature", "density")


def restore(settings: str | None, fields: form.Form, shared: Shared, change: Change | None = None) -> dict[Any, Any]:
    """Updates of the forms and the sampling controls; none if the settings are missing or not to be understood.

    A file may have been edited by anyone, so every value is checked before it is shown.
    """
    try:
        said = json.loads(settings or "{}")
        meta, _ = parse_meta(said["meta"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MuseError):
        return {}
    mode = said.get("mode")
    # Repair asks for no metadata: what stands in the form is no worse than "any" everywhere.
    updates = {} if mode == "repair" else dict(zip(fields.values(), form.show(meta), strict=True))
    chosen = said.get("sampling")
    chosen = chosen if isinstance(chosen, dict) else {}
    for name, control in zip(SAMPLING, shared.sampling, strict=True):
        value = chosen.get(name, said.get(name))
        if _fits(control, value):
            updates[control] = str(value) if name == "seed" else value
    if said.get("engine") in [value for _, value in shared.engine.choices]:
        updates[shared.engine] = said["engine"]
    return updates if change is None else updates | _operation(change, mode, said.get("strength"))


def _operation(change: Change, mode: Any, strength: Any) -> dict[Any, Any]:
    """What was done and how strongly; under "strength" a repaired file says how readily notes were suspected."""
    if not isinstance(mode, str) or mode not in texts.OPERATIONS:
        return {}
    slider = change.sensitivity if mode == "repair" else change.strength
    return {change.operation: mode} | ({slider: strength} if _fits(slider, strength) else {})


def _fits(control: gr.components.Component, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(control, gr.Slider):
        return control.minimum <= value <= control.maximum
    return value in (1, 2, 3, 4) if isinstance(control, gr.Radio) else 0 <= value < 2**63
