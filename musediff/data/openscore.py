"""OpenScore Lieder, String Quartets and Orchestra (CC0) as "scores.jsonl" -> Songs with inferred keys, chords and roles.

One line is one score: measures, tempos, and per staff the notes in ticks of 480 per quarter (see the data folder's README).
Whole measures in one metre and signature are laid one after the other.
Sources: github.com/OpenScore/Lieder, github.com/OpenScore/StringQuartets,
github.com/MarkGotham/Hauptstimme (its annotations are not used).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from musediff.data.laying import Part, Run, lay, run_between, split_of
from musediff.data.quantise import without_overlaps
from musediff.data.roles import Measured, Numbers, add_clips_by_role, fits_role, roles, unfit
from musediff.data.song import Song, SongTrack
from musediff.data.source import files
from musediff.data.windows import add_clips, windows
from musediff.errors import BadData
from musediff.midi.instruments import instrument_of
from musediff.midi.score import ScoreTrack

SUSTAINED_TICKS, MIN_SUSTAINED_PARTS = 600, 3
KEYBOARDS = frozenset({"acoustic_piano", "harpsichord", "organ", "harp", "celesta"})
STRINGS = frozenset({"string_violin", "string_viola", "string_cello", "string_double_bass"})
# First match wins. Names of parts are in English, German, French and Italian.
INSTRUMENT_WORDS = (
    (r"triangle|cymbal|tambourine|drum|tamburo|becken|gong", ""),
    (r"cello|violone\b|continuo|gamba", "string_cello"),
    (r"contrabass(?!oon)|contrebasse|kontrabass|double bass|string bass", "string_double_bass"),
    (r"bassoon|fagott|sarrusophone", "bassoon"),
    (r"viola|bratsche", "string_viola"),
    (r"violin|geige", "string_violin"),
    (r"clarinet|klarinette", "clarinet"),
    (r"oboe|hautbois|english horn|cor anglais", "oboe"),
    (r"recorder|blockfl", "recorder"),
    (r"flute|fl\u00f6te|flauto|travers|piccolo", "flute"),
    (r"\bhorn|corno", "horn"),
    (r"trombone|posaune", "trombone"),
    (r"trumpet|trompete|tromba|clarino", "trumpet"),
    (r"tuba|ophicleide|serpent", "tuba"),
    (r"timpan|pauke", "timpani"),
    (r"harpsichord|cembalo|clavecin", "harpsichord"),
    (r"harmonium|organ\b|orgel|orgue", "organ"),
    (r"\bharp|harfe|arpa", "harp"),
    (r"celesta", "celesta"),
    (r"glockenspiel", "glockenspiel"),
    (r"piano(?!rum)|klavier|clavier|fortepiano", "acoustic_piano"),
    (r"guitar|gitarre", "nylon_guitar"),
    (r"voice|vocal|voix|stimme|sopran|mezzo|\balto?\b|tenor|t\u00e9nor|bariton|\bbass[eo]?\b|\b(wo)?men\b|canto|sing|choir|chor", "vocal"),
)


@dataclass(frozen=True, slots=True)
class Item:
    """One score, and whether its sustained strings are to be merged into a pad instead of its parts being kept."""

    text: str
    strings: bool = False


def items(source: Path) -> list[Item]:
    """The scores of a folder or archive; those with strings come twice.

    Raises:
        BadData: there is no scores.jsonl.
    """
    lines = [line for name, text in files(source, (".jsonl",)) if name.endswith("scores.jsonl") for line in text.decode().splitlines()]
    if not lines:
        raise BadData(f"{source}: no scores.jsonl in it.")
    return [Item(line, strings) for line in lines for strings in (False, True) if not strings or line.count('"Viol') >= 2]


def convert(item: Item) -> Song:
    """One score with all its clips. Deterministic.

    Raises:
        BadData: the parts of the score do not line up, or no whole bar in a known metre has a note.
    """
    score = json.loads(item.text)
    src = PurePosixPath(score["src"])
    corpus = {"lc": "lieder", "sq": "quartets"}.get(src.stem[:2], "orchestra")
    if not score["aligned"]:
        raise BadData(f"{src}: its parts do not line up.")
    parts = _parts(score["parts"])
    genre = "orchestral" if corpus == "orchestra" else "classical"
    song = Song(f"{corpus}/{src.stem}", corpus, split_of(_work(src)), genre, [], [], [], [])
    song.tracks = [SongTrack([], part.instrument, part.group, part.name) for part in parts]
    for run in _runs(_mended(score["measures"])):
        lay(song, run, parts, score["tempos"])
    if not any(track.notes for track in song.tracks):
        raise BadData(f"{src}: no note in a whole bar of a metre that is used.")
    if item.strings:
        return _string_pad(song)
    basses = frozenset(i for i, part in enumerate(parts) if part.is_bass)
    add_clips_by_role(song, lambda window, bars: _roles(song, window, basses, bars), basses)
    return song


def _work(src: PurePosixPath) -> str:
    """Composer and work: the songs of a cycle, or the movements of a symphony, stay together."""
    return "/".join(src.parts[1:4] if src.parts[2] == "_" else src.parts[1:3])


def _parts(staves: Sequence[dict[str, Any]]) -> list[Part]:
    """Staves of one keyboard become one part, followed by a bass cut from the lowest staff. Unpitched drums are left out."""
    parts: list[Part] = []
    for i, staff in enumerate(staves):
        name = instrument_named(staff)
        notes = np.array([staff["start"], staff["pitch"], staff["dur"], staff["vel"]], dtype=np.int64).T
        if name is None or not len(notes):
            continue
        same = i > 0 and staff["staff"] > staves[i - 1]["staff"] and staff["name"] == staves[i - 1]["name"]
        label = " ".join(staff["name"].split())
        if not (name in KEYBOARDS and same and parts and parts[-1].instrument == name):
            parts.append(Part(name, len(parts), label, notes, is_voice=name == "vocal"))
            continue
        upper = parts[-2] if parts[-1].is_bass else parts[-1]
        parts = [p for p in parts if p.group != upper.group]
        parts.append(replace(upper, notes=np.concatenate([upper.notes, notes])))
        parts.append(Part(name, upper.group, label, notes, is_bass=True))
    return parts


def instrument_named(staff: dict[str, Any]) -> str | None:
    """One of the 62 instruments for a staff, by its name, the name of its sound or its program (1-based); None for drums."""
    for text in (staff["name"], staff["instrument"]):
        for words, instrument in INSTRUMENT_WORDS:
            if re.search(words, text.lower()):
                return instrument or None
    return instrument_of(ScoreTrack("", max(0, staff["program"] - 1), False, ()))


def _mended(measures: Sequence[Sequence[Any]]) -> list[tuple[int, int, tuple[int, int], int]]:
    """(start, length, metre, fifths) of every measure; two that a repeat sign cut from one are put together."""
    whole: list[tuple[int, int, tuple[int, int], int]] = []
    for start, length, beats, beat_type, fifths, _ in measures:
        full = 1920 * beats // beat_type
        if whole and length < full and whole[-1][1] + length == full and whole[-1][2:] == ((beats, beat_type), fifths):
            start, length = whole.pop()[0], full
        whole.append((start, length, (beats, beat_type), fifths))
    return whole


def _runs(measures: Sequence[tuple[int, int, tuple[int, int], int]]) -> Iterator[Run]:
    """The parts of a score that can be used; a first measure of a pair without a second is left out."""
    first = 0
    for end in range(1, len(measures) + 1):
        start, length, meter, fifths = measures[first]
        before = measures[end - 1]
        if end < len(measures) and measures[end] == (before[0] + before[1], length, meter, fifths):
            continue
        if length == 1920 * meter[0] // meter[1]:
            run = run_between(start, before[0] + before[1], meter, fifths)
            if run is not None:
                yield run
        first = end


def _roles(song: Song, window: dict[int, Numbers], basses: frozenset[int], bars: int) -> dict[int, str]:
    """The highest voice leads, other voices second it; keyboards accompany; other instruments by ``roles``, none leading a voice."""
    found = dict.fromkeys(basses & window.keys(), "bass")
    rest = {track: numbers for track, numbers in window.items() if track not in basses}
    voices = [track for track in rest if song.tracks[track].instrument == "vocal" and rest[track].notes >= bars]
    others = {track: numbers for track, numbers in rest.items() if song.tracks[track].instrument not in KEYBOARDS | {"vocal"}}
    found |= dict.fromkeys((track for track in rest if song.tracks[track].instrument in KEYBOARDS), "accompaniment")
    found |= roles(others, bars)
    if voices:
        found = {track: "sub_melody" if role == "main_melody" else role for track, role in found.items()}
        found |= dict.fromkeys(voices, "sub_melody")
        found[max(voices, key=lambda track: rest[track].mean_pitch)] = "main_melody"
    return found


def _string_pad(song: Song) -> Song:
    """The same song with one track: the strings that hold long notes in four bars, where at least three of them do."""
    measured = Measured(song)
    strings = [i for i, track in enumerate(song.tracks) if track.instrument in STRINGS]
    held = np.zeros((len(song.tracks), len(song.bars)), dtype=bool)
    for first, bars in windows(song.bars, {4: 4}):
        for track, numbers in measured.window_of_all((first, bars), strings).items():
            held[track, first : first + bars] = numbers.mean_ticks >= SUSTAINED_TICKS
    held &= held.sum(axis=0) >= MIN_SUSTAINED_PARTS
    notes = without_overlaps(note for track in strings for note in measured.notes(track, held[track]))
    pad = Song(f"{song.name}#strings", song.corpus, song.split, song.genre, song.bars, song.chords, [], [])
    pad.tracks = [SongTrack(notes, "string_ensemble", 0, "strings")]
    measured = Measured(pad)
    places = []
    for place in windows(song.bars, {4: 4, 8: 4, 16: 4}):
        window = measured.window_of_all(place, [0]) if held[:, place[0] : sum(place)].any(axis=0).all() else {}
        if window and unfit(window, song.bars[place[0]]) is None and fits_role(window[0], "pad") is None:
            places.append(place)
    add_clips(pad, 0, "pad", places)
    return pad
