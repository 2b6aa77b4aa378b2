"""Any folder of MIDI files -> Songs whose labels are all inferred: roles and metre by ``analyze``, keys and chords per bar."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from musediff.clip import MAX_BARS, Clip
from musediff.data.laying import Part, Run, lay, split_of
from musediff.data.song import Song, SongTrack
from musediff.data.source import Item, files
from musediff.data.windows import add_clips, windows
from musediff.errors import BadData, BadMidi, BadRequest
from musediff.midi.analyze import analyze
from musediff.midi.read import read
from musediff.midi.score import Score


def items(source: Path) -> list[Item]:
    """Every MIDI file of a folder or archive.

    Raises:
        BadData: there is none.
    """
    found = [Item(f"folder/{name.rpartition('.')[0]}", data) for name, data in files(source, (".mid", ".midi"))]
    if not found:
        raise BadData(f"{source}: no .mid or .midi file in it.")
    return found


def convert(item: Item) -> Song:
    """One file with all its pitched tracks and their clips. Deterministic.

    Raises:
        BadData: it is no MIDI file or has only drums.
    """
    try:
        score = read(item.data, item.name, pedal=False)
    except BadMidi as error:
        raise BadData(str(error)) from error
    pitched = [i for i, track in enumerate(score.tracks) if not track.is_drum]
    if not pitched:
        raise BadData(f"{item.name}: it has only drums (MIDI channel 10).")
    song = Song(item.name, "folder", split_of(item.name), None, [], [], [], [])
    for clip in _pieces(score, pitched):
        parts = [Part(t.instrument or "", i, t.name, np.array(t.notes, dtype=np.int64).reshape(-1, 4)) for i, t in enumerate(clip.tracks)]
        song.tracks = song.tracks or [SongTrack([], part.instrument or None, part.group, part.name) for part in parts]
        lay(song, Run(0, clip.time_signature, clip.num_measures, None), parts, ((0, clip.bpm),))
        roles = [track.role for track in clip.tracks]
    for track, role in enumerate(roles):
        if role is not None:
            add_clips(song, track, role, windows(song.bars))
    return song


def _pieces(score: Score, tracks: list[int]) -> Iterator[Clip]:
    """The whole file, as many bars at a time as a clip may have."""
    first = 0
    while True:
        try:
            clip = analyze(score, tracks, first).clip
        except BadRequest:  # no such bar
            return
        yield clip
        first += clip.num_measures
        if clip.num_measures < MAX_BARS:
            return
