"""Clip -> what a synthesizer is told: one program per MIDI channel and the note events in order, also as MIDI file bytes."""

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from musediff.clip import DRUM_INSTRUMENTS, INSTRUMENT_PROGRAM, TICKS_PER_QUARTER, Clip, Track

DRUM_CHANNEL = 9
MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
VOLUME, QUIET = 7, 50  # half of the usual 100, -12 dB: a synth that gives 16 bits clips a dense clip otherwise
PIANO = INSTRUMENT_PROGRAM["acoustic_piano"]  # heard where no instrument is known


class Event(NamedTuple):
    """Note on, or note off where the velocity is 0. In sorted order the offs of a tick come before its ons."""

    ticks: int
    velocity: int
    channel: int
    pitch: int


@dataclass(frozen=True, slots=True)
class Performance:
    """``programs``: (channel, General MIDI program), channel 9 for drums. ``end_ticks``: end of the last whole bar."""

    programs: tuple[tuple[int, int], ...]
    events: tuple[Event, ...]
    end_ticks: int
    bpm: int

    @property
    def seconds_per_tick(self) -> float:
        return 60 / self.bpm / TICKS_PER_QUARTER


def is_drums(track: Track) -> bool:
    return track.instrument in DRUM_INSTRUMENTS


def program_of(track: Track) -> int:
    """General MIDI program, 0-based."""
    return INSTRUMENT_PROGRAM.get(track.instrument or "", PIANO)


def channels(clip: Clip) -> tuple[int, ...]:
    """MIDI channel of each track. From the 16th melodic track on they share."""
    melodic = iter(range(len(clip.tracks)))
    return tuple(DRUM_CHANNEL if is_drums(t) else MELODIC_CHANNELS[next(melodic) % len(MELODIC_CHANNELS)] for t in clip.tracks)


def perform(clip: Clip) -> Performance:
    """What to play. Notes are held at most to the end of the last bar, and to the next note of the same key."""
    keys: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
    of_track = channels(clip)
    for track, channel in zip(clip.tracks, of_track, strict=True):
        for note in track.notes:
            off = min(note.onset_ticks + note.duration_ticks, clip.end_ticks)
            keys[channel, note.pitch].append((note.onset_ticks, off, note.velocity))
    events = sorted(event for (channel, pitch), notes in keys.items() for event in key_events(channel, pitch, sorted(notes)))
    programs = {channel: 0 if is_drums(track) else program_of(track) for track, channel in zip(clip.tracks, of_track, strict=True)}
    return Performance(tuple(sorted(programs.items())), tuple(events), clip.end_ticks, clip.bpm)


def key_events(channel: int, pitch: int, notes: list[tuple[int, int, int]]) -> Iterator[Event]:
    """Ons and offs of one key: a note off would end every note that sounds there, so each one ends where the next begins."""
    following = [on for on, _, _ in notes[1:]] + [None]
    for (on, off, velocity), after in zip(notes, following, strict=True):
        end = off if after is None else min(off, after)
        if end > on:
            yield Event(on, velocity, channel, pitch)
            yield Event(end, 0, channel, pitch)


def midi_file(performance: Performance, tail_seconds: float) -> bytes:
    """A standard MIDI file, type 0, whose end of track lies ``tail_seconds`` after the last bar, for synths that read files."""
    track = bytearray(b"\x00\xff\x51\x03" + round(60_000_000 / performance.bpm).to_bytes(3, "big"))
    for channel, program in performance.programs:
        track += bytes((0, 0xC0 | channel, program, 0, 0xB0 | channel, VOLUME, QUIET))
    now = 0
    for event in performance.events:
        track += variable_length(event.ticks - now) + bytes((0x90 | event.channel, event.pitch, event.velocity))
        now = event.ticks
    end = performance.end_ticks + round(tail_seconds / performance.seconds_per_tick)
    track += variable_length(end - now) + b"\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_QUARTER)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def variable_length(value: int) -> bytes:
    """Big-endian groups of 7 bits, the top bit set on all but the last."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
