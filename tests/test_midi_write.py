"""Writing MIDI: the same notes come back, and other programs read the same file."""

import io
import json
from itertools import pairwise

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD, CHORD_NAMES, NO_CHORD, chord_id
from musediff.clip import BAR_TICKS, INSTRUMENT_PROGRAM, INSTRUMENTS, KEY_INDEX, KEYS, ROLES, Clip, Note, Track
from musediff.midi.analyze import analyze
from musediff.midi.read import read
from musediff.midi.write import playable, write

NOTES = st.lists(
    st.builds(Note, st.integers(0, 4000), st.integers(58, 62) | st.integers(0, 127), st.integers(1, 3000), st.integers(1, 127)), max_size=40
)
PITCHED = [name for name in INSTRUMENTS if name not in ("drums_full", "drums_tops", "percussion")]


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    """Clips of up to 20 parts, with notes that overlap on purpose and may hang over the end."""
    metre = draw(st.sampled_from(sorted(BAR_TICKS)))
    bars = draw(st.integers(1, 3))
    chords = st.lists(st.integers(0, ANY_CHORD), min_size=bars * BAR_TICKS[metre] // 240, max_size=bars * BAR_TICKS[metre] // 240)
    part = st.builds(Track, NOTES.map(tuple), st.sampled_from(ROLES), st.sampled_from(INSTRUMENTS), name=st.text(max_size=12))
    return Clip(
        bars, tuple(draw(st.lists(part, max_size=20))), metre, draw(st.integers(20, 300)),
        draw(st.none() | st.sampled_from(KEYS)), chords=draw(st.none() | chords.map(tuple)),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(clips())
def test_notes_come_back_to_the_tick(clip: Clip) -> None:
    parts = [t for t in clip.tracks if t.notes]
    data = write(clip)
    if not parts:
        return
    score = read(data)
    assert score.notes == ()
    assert [t.notes for t in score.tracks] == [playable(t.notes) for t in parts]
    drums = [t.instrument in ("drums_full", "drums_tops", "percussion") for t in parts]
    assert [t.is_drum for t in score.tracks] == drums
    programs = [INSTRUMENT_PROGRAM[t.instrument] for t in parts if t.instrument]
    assert [t.program for t in score.tracks] == programs
    assert round(score.tempos[0][1]) == clip.bpm
    assert "/".join(map(str, score.time_signatures[0][1:])) == clip.time_signature
    assert [key for _, key in score.key_signatures] == ([] if clip.key is None else [KEY_INDEX[clip.key]])


@given(NOTES)
def test_playable_strikes_no_key_that_is_down(notes: list[Note]) -> None:
    kept = playable(notes)
    assert playable(kept) == kept
    assert {(n.onset_ticks, n.pitch) for n in kept} == {(n.onset_ticks, n.pitch) for n in notes}
    for pitch in {n.pitch for n in kept}:
        line = [n for n in kept if n.pitch == pitch]
        assert all(a.onset_ticks + a.duration_ticks <= b.onset_ticks for a, b in pairwise(line))
    strokes = {(n.onset_ticks, n.pitch): n.velocity for n in kept}
    assert all(strokes[n.onset_ticks, n.pitch] >= n.velocity for n in notes)


def test_playable_leaves_alone_what_can_be_played() -> None:
    chord = (Note(0, 60, 480, 80), Note(0, 64, 480, 80), Note(480, 60, 480, 80), Note(1000, 60, 1, 1))
    assert playable(reversed(chord)) == chord
    clash = [Note(0, 60, 960, 50), Note(480, 60, 100, 70), Note(480, 60, 200, 60)]
    assert playable(clash) == (Note(0, 60, 480, 50), Note(480, 60, 200, 70))


def four_bars() -> Clip:
    chords = tuple(chord_id(name) for name in ("Am", "F", "C", "G7") for _ in range(8))
    melody = Track(tuple(Note(480 * i, 60 + i % 12, 400, 60 + i) for i in range(16)), "main_melody", "string_violin", name="Tune é")
    drums = Track(tuple(Note(240 * i, 36 + i % 2 * 2, 100, 90) for i in range(32)), None, "drums_full")
    bass = Track(tuple(Note(960 * i, 36 + i, 900, 70) for i in range(8)), "bass", "electric_bass")
    return Clip(4, (melody, drums, bass), "4/4", 97, "f#minor", chords=chords)


def test_same_clip_same_bytes() -> None:
    assert write(four_bars(), "{}") == write(four_bars(), "{}")
    assert write(four_bars(), '{"seed": 1}') != write(four_bars(), '{"seed": 2}')


def test_settings_travel_in_a_text_event() -> None:
    settings_text = json.dumps({"seed": 7, "chords": "Am | F", "name": "Frühling"}, ensure_ascii=False)
    score = read(write(four_bars(), settings_text))
    assert score.texts == (f"musediff {settings_text}",)
    assert json.loads(score.texts[0].removeprefix("musediff ")) == json.loads(settings_text)
    assert read(write(four_bars())).texts == ("musediff",)


def test_chord_markers_stand_at_changes() -> None:
    assert read(write(four_bars())).markers == ((0, "Am"), (1920, "F"), (3840, "C"), (5760, "G7"))


@pytest.mark.parametrize("chord", [0, 50, NO_CHORD])
def test_chords_come_back(chord: int) -> None:
    chords = (ANY_CHORD,) * 3 + (chord,) * 5 + (ANY_CHORD,) * 8
    clip = Clip(2, (Track((Note(0, 60, 9, 9),)),), chords=chords)
    assert [text for _, text in read(write(clip)).markers] == [CHORD_NAMES[chord], "?"]
    assert analyze(read(write(clip))).clip.chords == chords


def test_nothing_to_play_is_still_a_file() -> None:
    assert mido.MidiFile(file=io.BytesIO(write(Clip(2, ())))).length == pytest.approx(2 * 4 * 60 / 100)


def test_twenty_parts_get_channels_without_the_drums() -> None:
    clip = Clip(1, (Track((Note(0, 60, 9, 9),)),) * 20)
    file = mido.MidiFile(file=io.BytesIO(write(clip)))
    channels = [m.channel for t in file.tracks for m in t if m.type == "note_on"]
    assert len(channels) == 20
    assert 9 not in channels
    assert len(set(channels)) == 15


def as_lists(clip: Clip) -> list[tuple[int, int, int, int]]:
    """Begin, end, pitch and velocity of all notes of all parts."""
    return sorted((n.onset_ticks, n.onset_ticks + n.duration_ticks, n.pitch, n.velocity) for t in clip.tracks for n in t.notes)


def test_miditoolkit_reads_the_same() -> None:
    miditoolkit = pytest.importorskip("miditoolkit")
    file = miditoolkit.MidiFile(file=io.BytesIO(write(four_bars(), '{"seed": 1}')))
    assert sorted((n.start, n.end, n.pitch, n.velocity) for i in file.instruments for n in i.notes) == as_lists(four_bars())
    assert [(i.program, i.is_drum) for i in file.instruments] == [(40, False), (0, True), (33, False)]
    assert [(m.time, m.text) for m in file.markers] == [(0, "Am"), (1920, "F"), (3840, "C"), (5760, "G7")]
    assert round(file.tempo_changes[0].tempo) == 97


def test_pretty_midi_reads_the_same() -> None:
    pretty_midi = pytest.importorskip("pretty_midi")
    file = pretty_midi.PrettyMIDI(io.BytesIO(write(four_bars(), '{"seed": 1}')))
    ticks = file.time_to_tick
    assert sorted((ticks(n.start), ticks(n.end), n.pitch, n.velocity) for i in file.instruments for n in i.notes) == as_lists(four_bars())
    assert file.key_signature_changes[0].key_number == 12 + 6  # F sharp minor
    assert (file.time_signature_changes[0].numerator, file.time_signature_changes[0].denominator) == (4, 4)
    assert [(i.program, i.is_drum) for i in file.instruments] == [(40, False), (0, True), (33, False)]
    assert file.instruments[2].name == "bass electric_bass"


def test_mido_reads_the_same() -> None:
    clip = four_bars()
    file = mido.MidiFile(file=io.BytesIO(write(clip, '{"seed": 1}')))
    assert (file.type, file.ticks_per_beat) == (1, 480)
    assert file.length == pytest.approx(clip.seconds, abs=1e-3)
    assert sum(m.type == "note_on" for t in file.tracks for m in t) == len(as_lists(clip))
    assert [m.text for t in file.tracks for m in t if m.type == "marker"] == ["Am", "F", "C", "G7"]
    assert [m.text for t in file.tracks for m in t if m.type == "text"] == ['musediff {"seed": 1}']


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_signature(key: str) -> None:
    score = read(write(Clip(1, (Track((Note(0, 60, 9, 9),)),), key=key)))
    assert score.key_signatures == ((0, KEY_INDEX[key]),)


@pytest.mark.parametrize("instrument", PITCHED)
def test_every_instrument_comes_back(instrument: str) -> None:
    clip = Clip(1, (Track((Note(0, 60, 9, 9),), "riff", instrument),))
    part = analyze(read(write(clip))).clip.tracks[0]
    assert (part.instrument, part.role) == (instrument, "riff")
