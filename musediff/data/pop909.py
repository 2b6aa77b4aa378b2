"""POP909 (909 pop songs as MIDI with melody, bridge and piano) and hand-aligned annotations -> Songs with five to six tracks.

The MIDI files have no usable bar lines; the annotations say where bars start, piece by piece ("bar_segments"), and give keys,
chord labels and an expert's chord notes, all in ticks of 480 per beat after subtracting "tick_offset".
Source: Wang et al., "POP909: A Pop-song Dataset for Music Arrangement Generation", ISMIR 2020 (MIT).
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from musediff.chords import ANY_CHORD, NO_CHORD, fold, split_root
from musediff.clip import BAR_TICKS, KEY_INDEX, KEY_NAMES, TICKS_PER_CHORD, Note, scale_of
from musediff.data.laying import bar_weights
from musediff.data.parts import BASS_INSTRUMENTS, PAD_INSTRUMENTS, bass_line, pad_notes
from musediff.data.quantise import EARLY_TICKS, to_grid, top_line
from musediff.data.song import Bar, Song, SongTrack
from musediff.data.source import Item, files
from musediff.data.store import TRAIN, VALID
from musediff.data.windows import add_clips, cut, spans, windows
from musediff.errors import BadData, BadMidi
from musediff.midi.harmony import infer_keys, key_scale
from musediff.midi.read import read

ANNOTATIONS = "pop909_annotations.jsonl"
LEFT_HAND = 59  # the upper voice of the piano is looked for above
MAX_UNLABELLED_SHARE = 1 / 8
BEAT_TICKS = 480
MISHEARD_SHARE = 0.1  # of the sounding time that another key has and the annotated one lacks: songs 024 and 779 lack .3
BRIDGE_REPETITION, PIANO_REPETITION = 0.7, 0.8  # at least: a riff


def items(source: Path) -> list[Item]:
    """Usable songs of a folder or archive; the annotations lie in it or beside it under the name with "_derived"."""
    beside = source.with_name(source.name.replace("pop909", "pop909_derived"))
    inside = source.is_dir() and next(source.rglob(ANNOTATIONS), None) is not None
    lines = [text for name, text in files(source if inside else beside, (".jsonl",)) if name.endswith(ANNOTATIONS)]
    if not lines:
        raise BadData(f"{source}: no {ANNOTATIONS} in it or in {beside.name} beside it.")
    about = {json.loads(line)["id"]: line.decode() for line in lines[0].splitlines()}
    usable = {song for song, line in about.items() if json.loads(line)["usable"]}
    midi = {Path(name).stem: data for name, data in files(source, (".mid",))}
    return [Item(f"pop909/{song}", midi[song], about[song]) for song in sorted(usable & midi.keys())]


def convert(item: Item) -> Song:
    """One song with all its clips. Deterministic.

    Raises:
        BadData: the MIDI file is damaged or lacks a track, or no whole bar with a chord is in it.
    """
    about = json.loads(item.about)
    played = _read(item, about["tick_offset"])
    origin, bars = _bars(about, [n for notes in played.values() for n in notes])
    if not bars:
        raise BadData(f"{item.name}: no whole bar with a chord.")
    chords = _chords(about, bars, origin)
    split = VALID if about["split"] == "valid" else TRAIN
    song = Song(item.name, "pop909", split, "pop", bars, chords, _tracks(item.name, about, played, origin, bars), [])
    places = []
    for place in windows(bars):
        reason = _unfit(song, place)
        if reason is None:
            places.append(place)
        else:
            song.dropped[reason] += 1
    for track, role in enumerate(("main_melody", "sub_melody", "accompaniment", "bass", "pad")):
        add_clips(song, track, role, places)
    add_clips(song, 1, "riff", [p for p in places if _repetition(song, 1, p) >= BRIDGE_REPETITION])
    add_clips(song, 5, "riff", [p for p in places if _repetition(song, 5, p) >= PIANO_REPETITION])
    if not any(clip.track == 5 for clip in song.clips):
        song.tracks.pop()
    return song


def _read(item: Item, offset_ticks: int) -> dict[str, list[Note]]:
    """Notes by track name in annotation ticks."""
    try:
        score = read(item.data, item.name, pedal=False)
    except BadMidi as error:
        raise BadData(str(error)) from error
    tracks = {track.name: [n._replace(onset_ticks=n.onset_ticks - offset_ticks) for n in track.notes] for track in score.tracks}
    if not all(tracks.get(name) for name in ("MELODY", "BRIDGE", "PIANO")):
        raise BadData(f"{item.name}: has no MELODY, BRIDGE and PIANO track with notes but {', '.join(tracks) or 'none'}.")
    return tracks


def _bars(about: dict[str, Any], notes: Sequence[Note]) -> tuple[int, list[Bar]]:
    """Annotation tick of the first bar, and all whole bars from the first with a chord to the last note."""
    last_ticks = max(n.onset_ticks for n in notes)
    first_chord = next((start for start, _, label in about["chords"] if label != "N"), last_ticks)
    meter, step, bpm = about["time_signature"], about["bar_ticks"], round(about["bpm"])
    assert step == BAR_TICKS[meter], about["id"]
    placed: list[tuple[int, int]] = []  # start, piece
    reached = first_chord - EARLY_TICKS
    for piece, (begin, end, aligned) in enumerate(about["bar_segments"]):
        begin, end = max(begin, reached), min(end, last_ticks + 1)
        reached = max(reached, end)  # song 041 has a piece that runs backwards: it and its overlap are left out
        origin = _on_beat(about, aligned, begin, end)
        starts = range(origin + -((origin - begin) // step) * step, end - step + 1 if end <= last_ticks else end, step)
        placed += [(start, piece) for start in starts]
    if not placed:
        return 0, []
    first = placed[0][0]
    blank = [Bar(start - first, meter, _key_at(about, start + step // 2), bpm, piece) for start, piece in placed]
    keys = _heard(blank, np.array([(n.onset_ticks - first, *n[1:]) for n in notes]))
    bars, segment = [], 0
    for i, (bar, key) in enumerate(zip(blank, keys, strict=True)):
        segment += i > 0 and (key, bar.segment) != (keys[i - 1], blank[i - 1].segment)
        bars.append(replace(bar, key=key, segment=segment))
    return first, bars


def _on_beat(about: dict[str, Any], aligned: int, begin: int, end: int) -> int:
    """The first bar line of a piece, on the beat.

    Melodies sung ahead of or behind the beat drew the hand-made bar lines of 46 pieces a sixteenth to an eighth away from it
    (4 % of the notes), while every chord label, and most of the piano, is on a beat: the nearest one, of two the one with more chords.
    """
    step = about["bar_ticks"]
    chords = [start for start, _, _ in about["chords"] if begin <= start < end]
    beats = {aligned // BEAT_TICKS * BEAT_TICKS, -(-aligned // BEAT_TICKS) * BEAT_TICKS}
    return min(sorted(beats), key=lambda beat: (abs(beat - aligned), -sum((start - beat) % step == 0 for start in chords)))


def _heard(bars: Sequence[Bar], notes: np.ndarray) -> list[int | None]:
    """Keys of the bars: as annotated, but inferred for every stretch in one key that lacks much of what sounds."""
    weights = bar_weights(bars, notes)
    scales = np.array([[pitch in key_scale(key) for pitch in range(12)] for key in range(24)])
    keys = [bar.key for bar in bars]
    edges = [0, *(i for i in range(1, len(keys)) if keys[i] != keys[i - 1]), len(keys)]
    for start, end in pairwise(edges):
        share = scales @ weights[start:end].sum(0) / max(1.0, weights[start:end].sum())
        annotated = keys[start]
        if annotated is None or share.max() - share[annotated] > MISHEARD_SHARE:
            keys[start:end] = infer_keys(weights[start:end]).tolist()
    return keys


def _key_at(about: dict[str, Any], ticks: int) -> int | None:
    """Key in the middle of a bar: a change less than half a bar off a bar line counts as on it."""
    known = [key for i, key in enumerate(about["keys"]) if i == 0 or key[0] <= ticks]
    if known:
        _, tonic, mode = known[-1]
        return tonic + 12 * (mode == "minor")
    if not about["key_dai"]:
        return None
    tonic_text, _, mode = about["key_dai"][0].partition(":")
    return KEY_INDEX[tonic_text.lower() + ("minor" if mode.startswith("min") else "major")]


def chord_of(label: str, key: int) -> int:
    """Annotated chord label -> chord id: "Bb:min7/b7" -> A#m7. A "sus2" becomes the triad that belongs to the key.

    Raises:
        BadData: an unknown label.
    """
    if label == "N":
        return NO_CHORD
    root_text, _, rest = label.partition(":")
    root, quality = split_root(root_text), rest.partition("/")[0]
    if quality == "sus2" and root is not None:
        minor_third, major_third = ((root[0] + step) % 12 in scale_of(KEY_NAMES[key]) for step in (3, 4))
        quality = "m" if minor_third and not major_third else ""
    chord = None if root is None else fold(root[0], quality)
    if chord is None:
        raise BadData(f"chord label {label!r} is not known.")
    return chord


def _chords(about: dict[str, Any], bars: Sequence[Bar], origin: int) -> list[int]:
    """The label sounding in the middle of each half beat."""
    ids, i, labels = [], 0, about["chords"]
    for bar in bars:
        for slot in range(bar.chords):
            middle = origin + bar.start_ticks + slot * TICKS_PER_CHORD + TICKS_PER_CHORD // 2
            while i < len(labels) and labels[i][1] <= middle:
                i += 1
            known = i < len(labels) and labels[i][0] <= middle
            ids.append(chord_of(labels[i][2], bar.key or 0) if known else ANY_CHORD)
    return ids


def _tracks(name: str, about: dict[str, Any], played: dict[str, list[Note]], origin: int, bars: list[Bar]) -> list[SongTrack]:
    chance = Random(name)
    piano = _on_bars(played["PIANO"], origin, bars)
    half_bar = BAR_TICKS[bars[0].meter] // 2
    bass = [n for start, end in spans(bars) for n in bass_line([n for n in piano if start <= n.onset_ticks < end], half_bar, start)]
    expert = [(start - origin, end - origin, tuple(pitches)) for start, end, pitches in about["expert_chords"]]
    upper = top_line([n for n in piano if n.pitch > LEFT_HAND])
    return [
        SongTrack(top_line(_on_bars(played["MELODY"], origin, bars)), "acoustic_piano", 0, "MELODY"),
        SongTrack(_on_bars(played["BRIDGE"], origin, bars), "acoustic_piano", 1, "BRIDGE"),
        SongTrack(piano, "acoustic_piano", 2, "PIANO"),
        SongTrack(bass, chance.choice(BASS_INSTRUMENTS), 2, "BASS"),
        SongTrack(pad_notes(expert, bars, chance), chance.choice(PAD_INSTRUMENTS), 3, "PAD"),
        SongTrack(upper, "acoustic_piano", 2, "UPPER"),
    ]


def _on_bars(notes: Sequence[Note], origin: int, bars: Sequence[Bar]) -> list[Note]:
    """Notes of each segment on the grid that counts from its first bar line; notes outside all bars are left out."""
    placed = []
    for start, end in spans(bars):
        first, length = origin + start, end - start
        from_first = (n._replace(onset_ticks=n.onset_ticks - first) for n in notes)
        near = to_grid(n for n in from_first if -EARLY_TICKS <= n.onset_ticks < length - EARLY_TICKS)
        placed += [n._replace(onset_ticks=n.onset_ticks + start) for n in near if n.onset_ticks < length]
    return placed


def _window_chords(song: Song, place: tuple[int, int]) -> list[int]:
    slots = song.bars[place[0]].chords  # all bars of a song of this corpus are in one metre
    return song.chords[place[0] * slots : sum(place) * slots]


def _unfit(song: Song, place: tuple[int, int]) -> str | None:
    """Why a window is no material for any role: too much without chord, or bars that its chord changes contradict."""
    chords = _window_chords(song, place)
    if sum(chord >= NO_CHORD for chord in chords) > MAX_UNLABELLED_SHARE * len(chords):
        return "window: too much without a chord"
    beats = song.bars[place[0]].chords // 2
    changes = [0] * beats
    before = song.chords[song.bars[0].chords * place[0] - 1] if place[0] else ANY_CHORD
    for i, (last, chord) in enumerate(pairwise([before, *chords])):
        changes[i // 2 % beats] += chord != last
    if beats == 4:
        shifted = changes[1] + changes[3] > changes[0] + changes[2] or changes[2] > 1.5 * changes[0]
    else:
        shifted = sum(changes[1:]) > changes[0]
    return "window: chord changes off the bar lines" if shifted else None


def _repetition(song: Song, track: int, place: tuple[int, int]) -> float:
    """Mean likeness (Jaccard) of the onsets of neighbouring bars."""
    bar_ticks = BAR_TICKS[song.bars[place[0]].meter]
    start = song.bars[place[0]].start_ticks
    onsets: list[set[int]] = [set() for _ in range(place[1])]
    for note in cut(song.tracks[track].notes, start, start + place[1] * bar_ticks):
        onsets[note.onset_ticks // bar_ticks].add(note.onset_ticks % bar_ticks)
    return sum(len(a & b) / len(a | b) if a | b else 0.0 for a, b in pairwise(onsets)) / (place[1] - 1)
