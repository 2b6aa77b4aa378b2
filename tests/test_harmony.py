"""Keys and chords that are known are found: cadences in every key, block chords in every metre, labelled songs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD, INTERVALS, NO_CHORD, QUALITIES, transpose
from musediff.clip import BAR_TICKS, TICKS_PER_CHORD, TIME_SIGNATURES, Note
from musediff.data import pop909
from musediff.midi.harmony import infer_chords, infer_key, infer_keys, key_correlations, key_scale, pitch_weights

SAMPLE = Path(__file__).parent / "assets" / "sample"
TRIADS = [root * 9 + QUALITIES.index(quality) for root in range(12) for quality in ("", "m")]


def block(chord: int, onset: int, ticks: int) -> list[Note]:
    """Root in the bass, the chord in close position above it."""
    root, quality = divmod(chord, 9)
    return [Note(onset, pitch, ticks, 80) for pitch in (36 + root, *(60 + root + step for step in INTERVALS[quality]))]


def cadence(key: int) -> list[Note]:
    """I IV V I, or i iv V i."""
    tonic, minor = key % 12 * 9, 4 * (key >= 12)
    chords = (tonic + minor, transpose(tonic, 5) + minor, transpose(tonic, 7), tonic + minor)
    return [note for bar, chord in enumerate(chords) for note in block(chord, bar * 1920, 1920)]


@pytest.mark.parametrize("key", range(24))
def test_a_cadence_tells_its_key(key: int) -> None:
    found, correlation = infer_key(pitch_weights(cadence(key)))
    assert found == key
    assert 0.7 < correlation <= 1.0


def test_nothing_tells_no_key() -> None:
    assert infer_key(np.zeros(12))[1] == 0.0
    assert infer_key(np.ones(12))[1] == pytest.approx(0.0)


@given(st.lists(st.integers(0, 1000), min_size=12, max_size=12), st.integers(0, 11))
def test_correlations_turn_with_the_pitches(weights: list[int], semitones: int) -> None:
    plain, turned = key_correlations(np.array(weights)), key_correlations(np.roll(weights, semitones))
    assert np.allclose(turned, np.concatenate([np.roll(plain[:12], semitones), np.roll(plain[12:], semitones)]))


def test_scales_hold_the_leading_note() -> None:
    assert key_scale(0) == {0, 2, 4, 5, 7, 9, 11}
    assert key_scale(21) == {9, 11, 0, 2, 4, 5, 7, 8}


def test_a_modulation_is_found_where_it_happens() -> None:
    bars = [pitch_weights(cadence(0))] * 8 + [pitch_weights(cadence(4))] * 8
    keys = infer_keys(np.array(bars)).tolist()
    assert keys[:7] == [0] * 7
    assert keys[9:] == [4] * 7


def test_a_favoured_key_decides_between_equals() -> None:
    favoured = np.zeros((3, 24))
    favoured[:, 21] = 0.1
    assert infer_keys(np.zeros((3, 12)), favoured).tolist() == [21] * 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(TRIADS), min_size=1, max_size=8), st.sampled_from(TIME_SIGNATURES))
def test_block_triads_come_back(chords: list[int], metre: str) -> None:
    bar = BAR_TICKS[metre]
    notes = [note for i, chord in enumerate(chords) for note in block(chord, i * bar, bar)]
    found = infer_chords(notes, len(chords), metre)
    assert found == tuple(chord for chord in chords for _ in range(bar // TICKS_PER_CHORD))


@pytest.mark.parametrize("quality", ["7", "m7", "maj7", "dim", "m7b5", "+"])
def test_other_chords_come_back(quality: str) -> None:
    chord = 7 * 9 + QUALITIES.index(quality)
    assert infer_chords(block(chord, 0, 1920), 1, "4/4") == (chord,) * 8


def test_silence_has_no_chord() -> None:
    assert infer_chords([], 2, "3/4") == (NO_CHORD,) * 12
    found = infer_chords(block(0, 0, 1920), 4, "4/4")
    assert found[:8] == (0,) * 8
    assert found[-8:] == (NO_CHORD,) * 8


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(Note, st.integers(-500, 6000), st.integers(0, 127), st.integers(1, 9000), st.integers(1, 127)), max_size=40),
    st.integers(0, 4),
    st.sampled_from(TIME_SIGNATURES),
    st.none() | st.integers(0, 23),
)
def test_any_notes_give_a_chord_for_every_half_beat(notes: list[Note], bars: int, metre: str, key: int | None) -> None:
    found = infer_chords(notes, bars, metre, key)
    assert len(found) == bars * BAR_TICKS[metre] // TICKS_PER_CHORD
    assert all(0 <= chord <= NO_CHORD for chord in found)


def test_most_chords_and_keys_of_labelled_songs_are_found() -> None:
    same = roots = total = keys = songs = 0
    for item in pop909.items(SAMPLE):
        song = pop909.convert(item)
        notes = sorted(note for track in song.tracks[:3] for note in track.notes)
        songs += 1
        keys += infer_key(pitch_weights(notes))[0] in {bar.key for bar in song.bars}
        first, last = song.bars[0], song.bars[-1]
        if (last.end_ticks - first.start_ticks) != len(song.bars) * BAR_TICKS[first.meter]:
            continue  # gaps between the bars
        found = infer_chords(notes, len(song.bars), first.meter)
        for got, label in zip(found, song.chords, strict=True):
            if label not in (ANY_CHORD, NO_CHORD):
                total += 1
                same += got == label
                roots += got // 9 == label // 9
    assert total > 500
    assert same / total > 0.7
    assert roots / total > 0.85
    assert keys >= songs - 1
