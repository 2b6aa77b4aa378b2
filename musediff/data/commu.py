"""ComMU as published (commu_meta.csv and commu_midi.tar or the folder unpacked from it) -> Songs of one track, labels as given.

Every file is a clip of 4, 8 or 16 bars, some with a pickup bar before it, and the table says its twelve metadata; chords are names,
one per half beat. The data are CC BY-NC-SA 4.0. Source: Hyun et al., "ComMU: Dataset for Combinatorial Music Generation",
NeurIPS 2022.
"""

import ast
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from musediff.chords import ANY_CHORD, NO_CHORD, fold, split_root
from musediff.clip import BAR_TICKS, GENRES, INSTRUMENTS, KEY_INDEX, MAX_BARS, RHYTHMS, ROLES, TICKS_PER_CHORD
from musediff.data.laying import Part, Run, placed_notes
from musediff.data.song import Bar, Song, SongTrack
from musediff.data.source import Item, files
from musediff.data.store import TRAIN, VALID
from musediff.data.windows import add_clips, windows
from musediff.errors import BadData, BadMidi
from musediff.midi.read import read

TABLE, ARCHIVE = "commu_meta.csv", "commu_midi.tar"
COLUMNS = (
    "id", "audio_key", "chord_progressions", "num_measures", "bpm", "genre", "track_role", "inst", "sample_rhythm", "time_signature",
    "split_data",
)  # fmt: skip
NO_CHORD_NAMES = frozenset({"NN", "N", "N.C."})
PHRASE_BARS = 4  # one bar more than a multiple of it: a pickup


def items(source: Path) -> list[Item]:
    """The files that the table names, of a folder with table and archive (or the unpacked archive).

    Raises:
        BadData: the table is missing or lacks a column, or there is no MIDI file.
    """
    table = next((data for name, data in files(source, (".csv",)) if PurePosixPath(name).name == TABLE), None)
    if table is None:
        raise BadData(f"{source}: no {TABLE} in it.")
    rows = list(csv.DictReader(io.StringIO(table.decode("utf-8-sig"))))
    missing = [column for column in COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise BadData(f"{source}: {TABLE} has no {'row' if not rows else 'column ' + ', '.join(missing)}.")
    archive = next(source.rglob(ARCHIVE), source) if source.is_dir() else source
    midi = {PurePosixPath(name).stem: data for name, data in files(archive, (".mid", ".midi"))}
    if not midi:
        raise BadData(f"{source}: no {ARCHIVE} and no MIDI file in it.")
    chosen = sorted((row for row in rows if row["id"] in midi), key=lambda row: row["id"])
    return [Item(f"commu/{row['id']}", midi[row["id"]], json.dumps({c: row[c] for c in COLUMNS})) for row in chosen]


def convert(item: Item) -> Song:
    """One file as a song. Deterministic.

    Raises:
        BadData: it is no MIDI file, or a value of its row cannot be used.
    """
    row: dict[str, str] = json.loads(item.about)
    meter, role = _known(row, "time_signature", tuple(BAR_TICKS)), _known(row, "track_role", ROLES)
    rhythm, key = _known(row, "sample_rhythm", RHYTHMS), KEY_INDEX[_known(row, "audio_key", tuple(KEY_INDEX))]
    count, bpm = _whole(row, "num_measures", MAX_BARS + 1), _whole(row, "bpm", 999)
    try:
        score = read(item.data, item.name, pedal=False)
    except BadMidi as error:
        raise BadData(str(error)) from error
    pickup = count % PHRASE_BARS
    bars = [Bar(i * BAR_TICKS[meter], meter, key, bpm, int(i >= pickup)) for i in range(count)]
    name = re.sub(r"-\d+$", "", row["inst"])
    table = np.array(sorted(n for track in score.tracks for n in track.notes), dtype=np.int64)
    notes = placed_notes(Part(name, 0, name, table), Run(0, meter, count, None))
    song = Song(item.name, "commu", VALID if row["split_data"].startswith("val") else TRAIN, None, bars, [], [], [])
    song.genre = row["genre"] if row["genre"] in GENRES else None
    song.chords = _chords(row, count, pickup, BAR_TICKS[meter] // TICKS_PER_CHORD)
    song.tracks = [SongTrack(notes, name if name in INSTRUMENTS else None, 0, name)]
    add_clips(song, 0, role, windows(bars))
    song.clips = [replace(clip, rhythm=rhythm) for clip in song.clips]
    return song


def _known(row: dict[str, str], column: str, values: tuple[str, ...]) -> str:
    if row[column] not in values:
        raise BadData(f"commu/{row['id']}: {column} {row[column]!r} is not one of {', '.join(values)}.")
    return row[column]


def _whole(row: dict[str, str], column: str, highest: int) -> int:
    try:
        number = round(float(row[column]))
    except (ValueError, OverflowError):
        number = 0
    if not 1 <= number <= highest:
        raise BadData(f"commu/{row['id']}: {column} {row[column]!r} is not a number from 1 to {highest}.")
    return number


def _chords(row: dict[str, str], bars: int, pickup: int, per_bar: int) -> list[int]:
    """Ids of the progression, a list of one list of names; a pickup has no chord."""
    try:
        said = ast.literal_eval(row["chord_progressions"])
        names = [str(name) for part in said for name in ([part] if isinstance(part, str) else part)]
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise BadData(f"commu/{row['id']}: its chord progression cannot be read.") from None
    missing = bars * per_bar - len(names)
    if missing not in (0, pickup * per_bar):
        raise BadData(f"commu/{row['id']}: {len(names)} chords, {bars} bars want {bars * per_bar}.")
    return [ANY_CHORD] * missing + [chord_id(name, row["id"]) for name in names]


def chord_id(name: str, where: str = "") -> int:
    """ "Bbm7/F" -> id of A#m7; basses and brackets are dropped.

    Raises:
        BadData: no chord of that name.
    """
    if name.upper() in NO_CHORD_NAMES:
        return NO_CHORD
    root = split_root(name[:1].upper() + name[1:])
    quality = re.sub(r"\(.*?\)|/.*", "", root[1]) if root else ""
    chord = None if root is None else fold(root[0], quality)
    if chord is None:
        raise BadData(f"commu/{where}: chord {name!r} is not known.")
    return chord
