"""Groove MIDI Dataset (CC BY 4.0): human drumming in 4/4 -> Songs with one drum track on the training grid.

Drums have no role of their own among the six; their clips are filed under "riff" with the instrument "drums_full", and a recipe
may leave the corpus out. Fills (a bar or two long) are not used. Source: Gillick et al., "Learning to Groove with Inverse
Sequence Transformations", ICML 2019.
"""

import csv
import io
from pathlib import Path

import numpy as np

from musediff.chords import ANY_CHORD
from musediff.clip import BAR_TICKS, TICKS_PER_CHORD, Note
from musediff.data.laying import Part, Run, placed_notes
from musediff.data.song import Bar, Song, SongTrack
from musediff.data.source import Item, files
from musediff.data.store import TRAIN, VALID
from musediff.data.windows import add_clips, windows
from musediff.errors import BadData, BadMidi
from musediff.midi.read import read

METER = "4/4"
# Rims of the hi-hat on the electronic kit that was played, which General MIDI does not know.
GENERAL_MIDI = {22: 42, 26: 46}


def items(source: Path) -> list[Item]:
    """The beats in 4/4 of a folder or archive.

    Raises:
        BadData: it has no info.csv.
    """
    found = dict(files(source, (".csv", ".mid")))
    table = next((name for name in found if name.endswith("info.csv")), None)
    if table is None:
        raise BadData(f"{source}: no info.csv in it.")
    root = table.removesuffix("info.csv")
    rows = csv.DictReader(io.StringIO(found[table].decode()))
    beats = [row for row in rows if row["beat_type"] == "beat" and row["time_signature"] == "4-4"]
    named = [(row, root + row["midi_filename"]) for row in beats]
    return [Item(f"groove/{row['id']}", found[name], f"{row['bpm']} {row['split']}") for row, name in named if name in found]


def convert(item: Item) -> Song:
    """One performance with all its clips. Deterministic.

    Raises:
        BadData: it is no MIDI file or shorter than a bar.
    """
    try:
        score = read(item.data, item.name, pedal=False)
    except BadMidi as error:
        raise BadData(str(error)) from error
    bpm, split = item.about.split()
    notes = sorted(n._replace(pitch=GENERAL_MIDI.get(n.pitch, n.pitch)) for track in score.tracks for n in track.notes)
    count = (notes[-1].onset_ticks + 1) // BAR_TICKS[METER]
    if count == 0:
        raise BadData(f"{item.name}: shorter than a bar.")
    placed = placed_notes(Part("drums_full", 0, "drums", _table(notes)), Run(0, METER, count, None))
    bars = [Bar(i * BAR_TICKS[METER], METER, None, round(float(bpm)), 0) for i in range(count)]
    chords = [ANY_CHORD] * (count * BAR_TICKS[METER] // TICKS_PER_CHORD)
    song = Song(item.name, "groove", TRAIN if split == "train" else VALID, "rock", bars, chords, [SongTrack(placed, "drums_full", 0)], [])
    add_clips(song, 0, "riff", windows(bars))
    return song


def _table(notes: list[Note]) -> np.ndarray:
    return np.array(notes, dtype=np.int64).reshape(-1, 4)
