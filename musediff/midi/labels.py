"""Key and chords of a window of a score: from what the file says where that can be trusted, else from the notes."""

from collections.abc import Sequence

from musediff.chords import ANY_CHORD, CHORD_NAMES, chord_id
from musediff.clip import KEY_NAMES, TICKS_PER_CHORD, Note
from musediff.midi.grid import Grid
from musediff.midi.harmony import infer_chords, infer_key, key_correlations, pitch_weights
from musediff.midi.score import Score, is_own

TRUSTED_KEY_GAP = 0.15  # a written key stands if it fits the notes at most so much worse than the best one


def key_of(score: Score, notes: Sequence[Note], start_ticks: int) -> tuple[int | None, list[str]]:
    """Key index of the sounding notes. A written key of C major is believed only in our own files: many programs write it unasked."""
    before = [key for tick, key in score.key_signatures if tick <= start_ticks] or [key for _, key in score.key_signatures[:1]]
    written = before[-1] if before else None
    if written is not None and is_own(score):
        return written, []
    if not notes:
        return written, []
    weights = pitch_weights(notes)
    key, correlation = infer_key(weights)
    if written is not None and written != 0 and key_correlations(weights)[written] >= correlation - TRUSTED_KEY_GAP:
        key = written
    if written is not None and written != key:
        return key, [f"The file's key signature says {_spoken(written)}; the notes sound like {_spoken(key)}, which is taken."]
    return key, []


def _spoken(key: int) -> str:
    name = KEY_NAMES[key]
    return f"{name[0].upper()}{name[1:-5]} {name[-5:]}"


def chords_of(score: Score, notes: Sequence[Note], grid: Grid, start_ticks: int, bars: int, key: int | None) -> tuple[int, ...]:
    """One chord id per half beat: from the markers of our own files, else by ear. Notes count from ``start_ticks``."""
    said = ((tick, _marked_chord(text)) for tick, text in score.markers)
    marked = [(tick, chord) for tick, chord in said if chord is not None]
    if not (is_own(score) and marked):
        return infer_chords(notes, bars, grid.time_signature, key)
    chords, at = [], 0
    sounding = ANY_CHORD
    for step in range(bars * grid.bar_ticks // TICKS_PER_CHORD):
        while at < len(marked) and marked[at][0] <= start_ticks + step * TICKS_PER_CHORD:
            sounding = marked[at][1]
            at += 1
        chords.append(sounding)
    return tuple(chords)


def _marked_chord(text: str) -> int | None:
    """Chord id of a marker that ``write`` made ("?" is a chord not known), None for any other marker."""
    return chord_id(text) if text in CHORD_NAMES else ANY_CHORD if text == "?" else None
