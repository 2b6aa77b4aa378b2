"""The tracks of a score -> the role that each of them plays: by its name, else by how it is played beside the others.

Thresholds were read off POP909 (60 songs) and 380 eight-bar clips of twelve of its songs: a melody sounds alone .99 of the
time over 17 semitones, a second melody .83 over 29, an accompaniment .14 with 2.8 notes at once, a pad three notes of a bar each.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musediff.clip import ROLES, Note
from musediff.midi.score import ScoreTrack

# First match counts. "piano", "strings" and "guitar" say too little to stand here: how they play decides.
_HINTS = (
    *((re.compile(rf"\b{role}\b"), role) for role in ROLES),
    (re.compile(r"bass(?!oon)"), "bass"),
    (re.compile(r"\bpads?\b|\bsweep\b"), "pad"),
    (re.compile(r"\b(riff|hook|ostinato)s?\b"), "riff"),
    (re.compile(r"bridge|counter|backing|harmony|\bsub|second voice|2nd voice"), "sub_melody"),
    (re.compile(r"melod|vocal|\bvoice\b|\blead\b|\bsolo\b|\bsing|\btune\b"), "main_melody"),
    (re.compile(r"accomp|\bcomp(ing)?\b|chords?\b|rhythm|arpegg|\barp\b"), "accompaniment"),
)
_BASS_PROGRAMS = frozenset({*range(32, 40), 43, 58})
_GUITAR_PROGRAMS = frozenset(range(24, 32))  # tuned down they go as low as a bass, and play riffs there
CHORDAL_VOICES = 1.75  # notes at once, while anything sounds
SURE_BASS_PITCH, BASS_PITCH, BASS_STROKES, SOLO_SHARE = 50, 55, 4, 0.9
PAD_QUARTERS, PAD_STROKES = 1.5, 2.5  # median length, at most so many onsets a bar
DRONE_QUARTERS = 3.5
RIFF_REPETITION, RIFF_PITCHES = 0.7, 8
_STEP_TICKS = 60


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a track is played. ``voices``: notes at once on average while it sounds; ``solo``: share of that time with one note."""

    pitch: float
    pitches: int
    semitones: int
    voices: float
    solo: float
    quarters: float
    strokes_per_bar: float
    repetition: float
    velocity: float
    bars: int  # in which it plays


def roles(tracks: Sequence[ScoreTrack], bar_ticks: int) -> tuple[str | None, ...]:
    """One role per track, None for drums and empty tracks. Of several lines without a telling name one leads, the rest are second."""
    found: list[str | None] = []
    manners: dict[int, _Manner] = {}
    for index, track in enumerate(tracks):
        role = None
        if track.notes and not track.is_drum:
            role = hinted_role(track.name)
            manners[index] = _manner(track.notes, bar_ticks)
            role = role or _role(manners[index], track.program)
        found.append(role)
    named = {i for i in manners if hinted_role(tracks[i].name)}
    leads = [i for i, role in enumerate(found) if role == "main_melody" and i not in named]
    taken = any(found[i] == "main_melody" for i in named)
    for index in sorted(leads, key=lambda i: _lead(manners[i]), reverse=True)[0 if taken else 1 :]:
        found[index] = "sub_melody"
    return tuple(found)


def hinted_role(name: str) -> str | None:
    """What the name of a track says."""
    return next((role for pattern, role in _HINTS if pattern.search(name.lower())), None)


def _role(manner: _Manner, program: int) -> str:
    low = manner.pitch < SURE_BASS_PITCH and manner.voices < CHORDAL_VOICES
    calm = manner.pitch < BASS_PITCH and manner.solo >= SOLO_SHARE and manner.strokes_per_bar < BASS_STROKES
    if program in _BASS_PROGRAMS or ((low or calm) and program not in _GUITAR_PROGRAMS):
        return "bass"
    if manner.voices >= CHORDAL_VOICES:
        return "pad" if manner.quarters >= PAD_QUARTERS and manner.strokes_per_bar <= PAD_STROKES else "accompaniment"
    if manner.quarters >= DRONE_QUARTERS:
        return "pad"
    if manner.repetition >= RIFF_REPETITION and manner.pitches <= RIFF_PITCHES and manner.strokes_per_bar >= 3:
        return "riff"
    return "main_melody"


def _lead(manner: _Manner) -> float:
    """How much a line sounds like the first voice: alone, in the range of a singer, loud, and in many bars."""
    return 2 * manner.solo - manner.semitones / 24 + manner.velocity / 64 + math.log2(manner.bars)


def _manner(notes: Sequence[Note], bar_ticks: int) -> _Manner:
    table = np.array(notes, dtype=np.int64)
    onset, pitch, ticks, velocity = table.T
    first = (onset + _STEP_TICKS // 2) // _STEP_TICKS
    last = np.maximum((onset + ticks + _STEP_TICKS // 2) // _STEP_TICKS, first + 1)
    size = int(last.max()) + 1
    sounding = np.cumsum(np.bincount(first, minlength=size) - np.bincount(last, minlength=size))
    sounding = sounding[sounding > 0]
    return _Manner(
        pitch=float(pitch.mean()), pitches=len(np.unique(pitch)), semitones=int(pitch.max() - pitch.min()),
        voices=float(sounding.mean()), solo=float((sounding == 1).mean()), quarters=float(np.median(ticks)) / 480,
        strokes_per_bar=len(np.unique(first)) / len(np.unique(onset // bar_ticks)), repetition=_repetition(first, pitch, bar_ticks),
        velocity=float(velocity.mean()), bars=len(np.unique(onset // bar_ticks)),
    )  # fmt: skip


def _repetition(steps: np.ndarray, pitches: np.ndarray, bar_ticks: int) -> float:
    """Mean share of strokes that a bar has in common with the one or the second before it."""
    per_bar = bar_ticks // _STEP_TICKS
    bars: dict[int, set[tuple[int, int]]] = {}
    for step, pitch in zip(steps.tolist(), pitches.tolist(), strict=True):
        bars.setdefault(step // per_bar, set()).add((step % per_bar, pitch))
    shares = [
        max(len(here & bars[bar - back]) / len(here | bars[bar - back]) for back in (1, 2) if bar - back in bars)
        for bar, here in bars.items()
        if bar - 1 in bars or bar - 2 in bars
    ]
    return float(np.mean(shares)) if shares else 0.0
