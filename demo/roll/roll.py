"""The player-roll: a Gradio component that shows a payload dictionary on a canvas and plays its sound."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from demo import texts

HERE = Path(__file__).parent
# The scripts share one scope, in this order: drawing, behaviour, listeners.
SCRIPTS = ("paint.js", "roll.js", "wire.js")


class Roll(gr.HTML):
    """Value: a dictionary made by ``demo.roll.payload`` plus what is said about this showing of it:

    ``token`` (new for every clip shown), ``audio`` and ``audioBefore`` (URLs), ``live`` ((step, steps) while denoising),
    ``preparing`` (its sound comes later), ``source`` (token of the clip before), ``variants`` and ``index``. Or only a sound
    that comes later: ``soundOf`` (a token), ``audio`` and ``played`` (by what).
    Events: ``region`` (``evt.text``: "3-4" or empty) and ``pick`` (``evt.index``).
    """

    def __init__(self, value: dict[str, Any] | None = None, **rest: Any) -> None:
        super().__init__(
            value=value, html_template=template(), css_template=(HERE / "roll.css").read_text("utf-8"),
            js_on_load=script(), apply_default_css=False, **rest,
        )  # fmt: skip

    def api_info(self) -> dict[str, Any]:
        return {"type": "object"}


def script() -> str:
    """What runs in the browser when the component appears."""
    words = f"const WORDS = {json.dumps(texts.ROLL)};\n"
    return words + "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS)


def template() -> str:
    """The static HTML: the value never appears in it, so an update does not rebuild the canvas."""
    words = texts.ROLL
    views = "".join(f'<button type="button" value="{v}" aria-pressed="false">{words[v]}</button>' for v in ("before", "after", "changes"))
    speeds = "".join(f'<option value="{s}"{" selected" if s == 1 else ""}>{s:g}×</option>' for s in (0.5, 0.75, 1, 1.25, 1.5))
    return f"""
<div class="roll">
  <div class="variants" role="group" aria-label="Variants" hidden></div>
  <div class="stage" tabindex="0" role="application" aria-label="{words["label"]}">
    <canvas class="keys" aria-hidden="true"></canvas>
    <div class="scroller"><div class="sheet" aria-hidden="true">
      <canvas class="ruler"></canvas><canvas class="notes"></canvas><canvas class="over"></canvas>
    </div></div>
    <div class="empty">{words["empty"]}</div>
    <div class="live" hidden><span></span><progress></progress></div>
  </div>
  <div class="transport">
    <button type="button" class="play" disabled>{words["play"]}</button>
    <input type="range" class="seek" min="0" max="1" step="0.01" value="0" aria-label="{words["seek"]}" disabled>
    <span class="time">0:00 / 0:00</span>
    <label><input type="checkbox" class="loop"> {words["loop"]}</label>
    <label>{words["speed"]} <select class="speed">{speeds}</select></label>
    <span class="views" role="group" aria-label="{words["show"]}" hidden>{views}</span>
    <span class="chosen" hidden><span></span><button type="button" class="clear">{words["clear"]}</button></span>
  </div>
  <div class="foot"><div class="legend"></div><p class="summary"></p><p class="played"></p></div>
  <audio preload="auto"></audio>
</div>"""
