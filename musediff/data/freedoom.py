"""The music of Freedoom (BSD-3-Clause, 112 General MIDI files of metal, rock and ambient) -> Songs with inferred keys, chords, roles.

A part's role follows from its General MIDI program and, where that leaves it open, from its notes. Parts that double another
one, effects and drums are left out; whether there are drums decides the genre. Source: github.com/freedoom/freedoom.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np

from musediff.data.laying import Part, Run, lay, run_between, split_of
from musediff.data.quantise import SIXTEENTH_TICKS, TRIPLET_NEAR_TICKS, TRIPLET_TICKS
from musediff.data.roles import HIGHEST_BASS_MEAN, MIN_NOTES_PER_BAR, Numbers, accompanying_role, add_clips_by_role
from musediff.data.song import Song, SongTrack
from musediff.data.source import Item, files
from musediff.errors import BadData, BadMidi
from musediff.midi.instruments import instrument_of
from musediff.midi.read import read
from musediff.midi.score import Score, ScoreTrack

BASSES = frozenset({*range(32, 40), 43, 58})  # General MIDI programs, 0-based
GUITARS = frozenset(range(24, 32))
PADS = frozenset({*range(48, 55), *range(88, 96)})
LEADS = frozenset({*range(40, 43), *range(56, 58), *range(59, 88), 104, 106, 110, 111})
FIRST_EFFECT = 112  # and all above
FEWEST_NOTES = 16
DOUBLE_SHARE = 0.8  # of onsets and pitches in common: the part doubles another one
PAD_NOTE_TICKS = 480
RIFF_REPETITION, RIFF_MEAN_PITCH = 0.6, 60
MIN_ON_GRID = 0.8
ROCK_DRUMS_PER_BAR = 4


def items(source: Path) -> list[Item]:
    """Every MIDI file of a folder or archive."""
    return [Item(f"freedoom/{Path(name).stem}", data) for name, data in files(source, (".mid",))]


def convert(item: Item) -> Song:
    """One file with all its clips. Deterministic.

    Raises:
        BadData: it is no MIDI file, has no part to learn from, no beat, or no whole bar in a known metre.
    """
    try:
        score = read(item.data, item.name, pedal=False)
    except BadMidi as error:
        raise BadData(str(error)) from error
    tracks = without_doubles([t for t in score.tracks if not t.is_drum and t.program < FIRST_EFFECT and len(t.notes) >= FEWEST_NOTES])
    if not tracks:
        raise BadData(f"{item.name}: no part with at least {FEWEST_NOTES} notes.")
    if on_grid(tracks) < MIN_ON_GRID:
        raise BadData(f"{item.name}: its notes do not lie on its beats.")
    runs = runs_of(score)
    if not runs:
        raise BadData(f"{item.name}: no whole bar of a metre that is used.")
    parts = [Part(instrument_of(t), i, t.name, np.array(t.notes, dtype=np.int64)) for i, t in enumerate(tracks)]
    song = Song(item.name, "freedoom", split_of(item.name), _genre(score, sum(run.bars for run in runs)), [], [], [], [])
    song.tracks = [SongTrack([], part.instrument, part.group, part.name) for part in parts]
    for run in runs:
        lay(song, run, parts, score.tempos)
    programs = [track.program for track in tracks]
    add_clips_by_role(song, lambda window, bars: _roles(window, bars, programs))
    return song


def runs_of(score: Score) -> list[Run]:
    """The bars of a file between its time signatures; 4/4 before the first."""
    said = score.time_signatures if score.time_signatures and score.time_signatures[0][0] == 0 else ((0, 4, 4), *score.time_signatures)
    changes = [said[0], *(after for before, after in pairwise(said) if before[1:] != after[1:]), (score.end_ticks, 0, 0)]
    found = [run_between(before[0], after[0], before[1:], None) for before, after in pairwise(changes)]
    return [run for run in found if run is not None]


def without_doubles(tracks: list[ScoreTrack]) -> list[ScoreTrack]:
    """Tracks less those whose notes are, up to small shifts, those of a longer one."""
    kept: list[tuple[ScoreTrack, set[tuple[int, int]]]] = []
    for track in sorted(tracks, key=lambda t: -len(t.notes)):
        onsets = {(round(n.onset_ticks / SIXTEENTH_TICKS), n.pitch) for n in track.notes}
        if all(len(onsets & other) < DOUBLE_SHARE * len(onsets) for _, other in kept):
            kept.append((track, onsets))
    return [track for track in tracks if any(track is other for other, _ in kept)]


def on_grid(tracks: list[ScoreTrack]) -> float:
    """Share of notes near a sixteenth or an eighth triplet; half of them would be by chance."""
    onsets = np.array([n.onset_ticks for t in tracks for n in t.notes])
    away = [np.abs((onsets + step // 2) % step - step // 2) for step in (SIXTEENTH_TICKS, TRIPLET_TICKS)]
    return float((np.minimum(*away) <= TRIPLET_NEAR_TICKS).mean())


def _genre(score: Score, bars: int) -> str:
    drums = sum(len(t.notes) for t in score.tracks if t.is_drum)
    return "rock" if drums >= ROCK_DRUMS_PER_BAR * bars else "ambient"


def _roles(window: dict[int, Numbers], bars: int, programs: list[int]) -> dict[int, str]:
    """The highest lead instrument that plays has the melody, without one the highest second melody; the rest by family."""
    playing = {track: numbers for track, numbers in window.items() if numbers.notes >= MIN_NOTES_PER_BAR * bars}
    found = {track: _role(numbers, programs[track]) for track, numbers in playing.items()}
    leads = [track for track in playing if programs[track] in LEADS and found[track] != "bass"]
    leads = leads or [track for track in playing if found[track] == "sub_melody"]
    if leads:
        found[max(leads, key=lambda track: playing[track].mean_pitch)] = "main_melody"
    return found


def _role(numbers: Numbers, program: int) -> str:
    if program in BASSES or (numbers.mean_pitch < HIGHEST_BASS_MEAN - 12 and program not in GUITARS | PADS):
        return "bass"
    if program in PADS and numbers.mean_ticks >= PAD_NOTE_TICKS:
        return "pad"
    if program in GUITARS and numbers.repetition >= RIFF_REPETITION and numbers.mean_pitch < RIFF_MEAN_PITCH:
        return "riff"
    return accompanying_role(numbers)
