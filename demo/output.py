"""The right-hand side of the page: roll, status, report and downloads; results -> what these show."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from demo import report, texts
from demo.files import Shelf, url, zipped
from demo.roll.payload import mini, payload
from demo.roll.roll import Roll
from demo.session import Running, Shown, Sound, Source
from musediff.clip import Clip
from musediff.errors import MuseError
from musediff.render import pianoroll
from musediff.render.audio import Synthesizer, to_wav

Update = dict[Any, Any]


@dataclass(frozen=True)
class Output:
    """The components that every run writes, and the visitor's state behind them."""

    roll: Roll
    status: gr.HTML
    report: gr.HTML
    files: dict[str, gr.DownloadButton]
    send: gr.Button
    shown: gr.State
    running: gr.State

    @property
    def all(self) -> list[Any]:
        return [self.roll, self.status, self.report, *self.files.values(), self.send, self.shown]


def build() -> Output:
    """Lay the right-hand side out."""
    roll = Roll(elem_id="roll")
    status = gr.HTML(status_line(texts.READY), elem_id="status")
    with gr.Row(elem_classes="downloads"):
        send = gr.Button(texts.SEND, size="sm", interactive=False, min_width=120, elem_id="send")
        files = {
            kind: gr.DownloadButton(label, size="sm", interactive=False, min_width=70, elem_id=f"download-{kind}")
            for kind, label in texts.FILES.items()
        }  # fmt: skip
    table = gr.HTML("", elem_id="report")
    return Output(roll, status, table, files, send, gr.State(None, time_to_live=3600), gr.State(Running()))


def status_line(words: str, kind: str = "", lead: str = "") -> str:
    """One line that screen readers speak when it changes; ``lead`` goes before it, as a line that nobody overlooks."""
    lead = f'<b class="lead">{texts.escape(lead)}</b>' if lead else ""
    return f'<p class="status {kind}" role="status" aria-live="polite">{lead}{texts.escape(words)}</p>'


class Screen:
    """Turns clips, progress and results into updates of the ``Output``."""

    def __init__(self, out: Output, synth: Synthesizer, engines: Mapping[str, str]) -> None:
        """``engines``: what to say of each."""
        self.out = out
        self.shelf = Shelf(out.roll)
        self.synth = synth
        self.engines = engines

    def failed(self, words: str) -> Update:
        """Tell what went wrong; whatever is on the screen stays."""
        gr.Warning(texts.escape(words))
        return {self.out.status: status_line(words, "bad")}

    def live(self, clips: tuple[Clip, ...], step: int, steps: int, before: Clip | None, token: str) -> Update:
        """The roll while denoising."""
        value = payload(clips[0], before) | {
            "token": token, "live": [step, steps], "index": 0, "variants": [{"notes": mini(c), "fit": ""} for c in clips],
        }  # fmt: skip
        return {self.out.roll: value}

    def sound(self, clip: Clip, name: str) -> Sound | None:
        """Render a clip; None (and a warning) if nothing can play it."""
        try:
            audio = self.synth.render(clip)
        except MuseError as error:
            gr.Warning(texts.escape(str(error)))
            return None
        return Sound(self.shelf.keep(f"{name}.wav", to_wav(audio)), audio.synth)

    def heard(self, shown: Shown) -> Shown:
        """The same with the sound of its chosen variant."""
        if shown.sound is not None:
            return shown
        sound = self.sound(shown.clip, f"{shown.name}-{shown.index + 1}")
        return shown if sound is None else replace(shown, sounds=shown.sounds | {shown.index: sound})

    def result(self, shown: Shown) -> Update:
        """Roll, status and report of a result, with its sound if that is there."""
        sound, source = shown.sound, shown.source
        value = payload(shown.clip, shown.before) | {
            "token": f"{shown.token}-{shown.index}", "index": shown.index,
            "variants": [{"notes": mini(clip), "fit": report.fit(shown, i)} for i, clip in enumerate(shown.result.clips)],
            "audio": _address(sound), "audioBefore": _address(source and source.sound), "source": source and source.token,
        }  # fmt: skip
        found, others = report.found(shown)
        return {
            self.out.roll: value,
            self.out.status: status_line(self._status(shown, sound), lead=found),
            self.out.report: report.table(shown.asked, shown.clip, shown.track, others),
            self.out.shown: shown,
            self.out.send: gr.update(interactive=True),
        }

    def downloads(self, shown: Shown) -> Update:
        """The files of the chosen variant and the archive of all."""
        result, sound = shown.result, shown.sound
        everything = [(f"{shown.name}-{i + 1}.mid", result.midi(i)) for i in range(len(result.clips))]
        archive = zipped([*everything, ("settings.json", result.settings.encode())])
        return {
            self.out.files["midi"]: _offer(self.shelf.keep(*everything[shown.index])),
            self.out.files["wav"]: _offer(sound and sound.path),
            self.out.files["zip"]: _offer(self.shelf.keep(f"{shown.name}.zip", archive)),
        }

    def picture(self, shown: Shown) -> Any:
        """The piano-roll as a picture."""
        path = self.shelf.place(f"{shown.name}-{shown.index + 1}.png")
        pianoroll.save_png(shown.clip, path, before=shown.before)
        return _offer(str(path))

    def source(self, source: Source | None) -> Update:
        """A clip to work on, not yet changed. ``late_sound`` completes it. None: the empty roll."""
        if source is None:
            return {self.out.roll: None, self.out.status: status_line(texts.READY), self.out.report: ""}
        value = payload(source.clip) | {"token": source.token, "audio": _address(source.sound), "preparing": source.sound is None}
        return {self.out.roll: value, self.out.status: status_line(source.name), self.out.report: ""}

    def late_sound(self, source: Source) -> dict[str, Any]:
        """For the roll: the sound of a clip that it was given before. The browser drops it if another clip is there by now."""
        sound = source.sound
        played = f"{texts.PLAYED_BY} {sound.synth}" if sound else texts.NO_SOUND
        return {"soundOf": source.token, "audio": _address(sound), "played": played[:1].upper() + played[1:]}

    def no_result(self) -> Update:
        """Nothing to download or to send on: the roll shows a file that was just read."""
        off = gr.update(interactive=False)
        return {self.out.shown: None, self.out.send: off} | dict.fromkeys(self.out.files.values(), off)

    def _status(self, shown: Shown, sound: Sound | None) -> str:
        result = shown.result
        parts = [
            f"{texts.SEED[0]} {result.seed}", f"{result.seconds:.1f} s", self.engines[result.engine],
            f"{texts.PLAYED_BY} {sound.synth}" if sound else texts.NO_SOUND,
        ]  # fmt: skip
        return " · ".join(parts if result.complete else [texts.STOPPED, *parts])


def _address(sound: Sound | None) -> str | None:
    return sound and url(sound.path)


def _offer(path: str | None) -> Any:
    return gr.update(value=path, interactive=path is not None)
