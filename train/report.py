"""What an evaluation found, and the models -> a folder to read and listen to: report.md, report.html and what they show.

Everything lies in the folder, names are relative: it may be moved, and needs no network.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from musediff.cli_output import fill, write
from musediff.pipeline import MusePipeline
from musediff.render.audio import Synthesizer, to_wav
from musediff.render.pianoroll import save_png
from train.evaluate_plots import save
from train.evaluate_tables import tables
from train.report_document import Block, Clips, Heading, Items, Picture, Text, to_html, to_markdown
from train.report_plots import pictures
from train.report_requests import WISHES, Take, takes

TITLE = "How good the weights are"
ALTS = {
    "overview.png": "The main figures of every role, beside those of real clips",
    "strengths.png": "Share of notes changed by the place of the strength slider",
    "steps.png": "Quality by the number of steps; dotted: real clips",
}


def write_report(folder: Path, report: Mapping[str, Any], models: Mapping[str, MusePipeline]) -> Path:
    """Write all but figures.json, over what is there; returns the page.

    Raises:
        BadRequest: the disk does not take it.
    """
    blocks: list[Block] = [Heading(1, TITLE), Text(about(report)), Items([f"{name}: {text}" for name, text in report["models"].items()])]
    for name, figure in pictures(report["roles"]).items():
        save(figure, folder / name, force=True)
        blocks.append(Picture(name, ALTS[name]))
    blocks += tables(report["roles"])
    blocks += listening(folder, models)
    write(folder / "report.md", (to_markdown(blocks) + "\n").encode(), force=True)
    write(folder / "report.html", to_html(blocks, TITLE).encode(), force=True)
    return folder / "report.html"


def about(report: Mapping[str, Any]) -> str:
    """What was done, in a few sentences."""
    said = report["settings"]
    return (
        f"Clips of 8 bars, made from the metadata and chords of held-out clips of {report['data']}: up to {said['clips']} a role in each "
        f"of {said['seeds']} round(s) with other clips and other noise. Of each role {said['repairs']} clips are damaged and repaired, and "
        f"have bars 3-6 refilled; {said['strengths']} are changed at ten strengths. The column of real clips is about held-out clips, "
        "beside clips of other songs in the same mix of corpora. 1NNC takes one clip of a song. docs/cli.md says what each figure is."
    )


def listening(folder: Path, models: Mapping[str, MusePipeline]) -> list[Block]:
    """Make and write the clips of the ten requests; what shows them."""
    synthesizer, shown = Synthesizer(), []
    for number, wish in enumerate(tqdm(WISHES, desc="ten requests", leave=False, disable=None), 1):
        meta = wish.meta
        facts = (
            f"{meta.track_role}, {meta.inst}, {meta.audio_key}, {meta.time_signature}, {meta.bpm} bpm: {wish.asked['chord_progression']}"
        )
        stem = f"{number:02}-{wish.name.replace(' ', '-')}"
        rows = [saved(folder, f"{stem}-{k}", take, synthesizer) for k, take in enumerate(takes(wish, number, models), 1)]
        shown.append(Clips(f"{number}. {wish.name} ({facts})", rows))
    played = f"The same metadata and seeds for every model, made one by one; played by {synthesizer.name}."
    return [Heading(2, "Ten requests to listen to"), Text(played), *shown]


def saved(folder: Path, stem: str, take: Take, synthesizer: Synthesizer) -> tuple[str, str, str, str, str]:
    """Write MIDI file, sound and piano-roll: a take of ``Clips``."""
    result, clip = take.result, take.clip
    if result is None or clip is None:
        return take.model, "", "", "", take.refused
    midi, sound, roll = (f"{stem}.{kind}" for kind in ("mid", "wav", "png"))
    write(folder / midi, result.midi(), force=True)
    write(folder / sound, to_wav(synthesizer.render(clip)), force=True)
    fill(folder / roll, lambda part: save_png(clip, part), force=True)
    return take.model, roll, sound, midi, f"{len(clip.tracks[0].notes)} notes in {result.seconds:.2f} s"
