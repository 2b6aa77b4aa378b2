"""Clip (and the clip before it) -> the dictionary of plain lists that the roll in the browser draws."""

from typing import Any

from demo import texts
from musediff.chords import ROOTS
from musediff.clip import Clip
from musediff.render.pianoroll import ADDED, KEPT, REMOVED, roll_json


def payload(clip: Clip, before: Clip | None = None) -> dict[str, Any]:
    """What the roll draws of one clip; with ``before`` every note says what became of it."""
    drawn = roll_json(clip, before)
    return drawn | {"compare": before is not None, "summary": summary(clip, before)}


def mini(clip: Clip) -> list[list[int]]:
    """Notes for a thumbnail: onset, pitch, duration."""
    return [[n.onset_ticks, n.pitch, n.duration_ticks] for track in clip.tracks for n in track.notes]


def summary(clip: Clip, before: Clip | None = None) -> str:
    """One or two sentences that say in words what the picture shows."""
    notes = [n for track in clip.tracks for n in track.notes]
    parts = [f"{clip.num_measures} bars of {clip.time_signature} at {clip.bpm} BPM", f"{len(notes)} notes"]
    if clip.key:
        parts.insert(1, texts.key(clip.key))
    if notes:
        parts.append(f"from {pitch_name(min(n.pitch for n in notes))} to {pitch_name(max(n.pitch for n in notes))}")
    text = ", ".join(parts) + "."
    if before is None:
        return text
    marks = [note[4] for track in roll_json(clip, before)["tracks"] for note in track["notes"]]
    old = marks.count(KEPT) + marks.count(REMOVED)
    return f"{text} {marks.count(KEPT)} of {old} notes kept, {marks.count(ADDED)} new, {marks.count(REMOVED)} removed."


def pitch_name(pitch: int) -> str:
    """60 -> "C4"."""
    return f"{ROOTS[pitch % 12]}{pitch // 12 - 1}"
