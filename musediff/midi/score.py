"""A MIDI file as it was read: tracks of notes at 480 ticks per quarter, and what the file says beside them.

Times are ticks from the start of the file. One ``ScoreTrack`` is one instrument: a MIDI track is split by channel and program.
"""

from dataclasses import dataclass

from musediff.clip import Note

SIGNATURE = "musediff"  # first word of a text event in the files that ``write`` makes; the settings follow as JSON


@dataclass(frozen=True, slots=True)
class ScoreTrack:
    """Notes of one instrument, sorted. ``program`` is the 0-based General MIDI program, meaningless for drums."""

    name: str
    program: int
    is_drum: bool
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """Every list is sorted by tick and holds only what the file says itself.

    ``key_signatures``: (tick, index as in ``clip.KEY_NAMES``, or None for one that names no key).
    ``notes``: plain sentences on what was changed on the way in, for the user's eyes.
    """

    tracks: tuple[ScoreTrack, ...]
    tempos: tuple[tuple[int, float], ...]
    time_signatures: tuple[tuple[int, int, int], ...]
    key_signatures: tuple[tuple[int, int | None], ...]
    markers: tuple[tuple[int, str], ...]
    texts: tuple[str, ...]
    end_ticks: int
    notes: tuple[str, ...]


def is_own(score: Score) -> bool:
    """Whether ``write`` made the file."""
    return any(text.split(" ", 1)[0] == SIGNATURE for text in score.texts) and bool(score.time_signatures)
