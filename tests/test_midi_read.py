"""Reading MIDI: what a file means, what is refused and why."""

from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from musediff.clip import Note
from musediff.errors import BadMidi
from musediff.midi.analyze import analyze
from musediff.midi.read import MAX_BYTES, MAX_NOTES, MAX_TICKS, read
from tests.midi_bytes import END, header, meta, off, on, one_track, track

ASSETS = Path(__file__).parent / "assets" / "midi"
REAL = sorted([*ASSETS.glob("plain/*.mid"), *ASSETS.glob("hard/*.mid")])
PEDAL_DOWN, PEDAL_UP = b"\xb0\x40\x7f", b"\xb0\x40\x00"


def notes_of(data: bytes) -> list[Note]:
    """Notes of all tracks together."""
    return sorted(n for t in read(data).tracks for n in t.notes)


def test_running_status_and_velocity_zero() -> None:
    data = one_track((0, on(60)), (240, b"\x3c\x00"), (0, b"\x40\x50"), (240, b"\x40\x00"))
    assert notes_of(data) == [Note(0, 60, 240, 100), Note(240, 64, 240, 80)]
    assert read(data).notes == ()


def test_running_status_goes_on_past_a_meta_event() -> None:
    data = one_track((0, on(60)), (0, meta(6, b"here")), (240, b"\x3c\x00"))
    assert notes_of(data) == [Note(0, 60, 240, 100)]


def test_first_note_off_ends_the_first_of_two_equal_notes() -> None:
    data = one_track((0, on(60, 90)), (240, on(60, 91)), (240, off(60)), (240, off(60)))
    assert notes_of(data) == [Note(0, 60, 480, 90), Note(240, 60, 480, 91)]


@pytest.mark.parametrize("division", [1, 24, 89, 96, 480, 960, 1024, 32767])
def test_any_resolution_becomes_480_per_quarter(division: int) -> None:
    data = one_track((3 * division, on(60)), (division, off(60)), division=division)
    assert notes_of(data) == [Note(1440, 60, 480, 100)]


def test_resolution_that_does_not_divide_is_reported() -> None:
    assert "Times were rounded from 89 to 480 ticks per quarter." in read(one_track((1, on(60)), (7, off(60)), division=89)).notes
    assert read(one_track((1, on(60)), (7, off(60)), division=96)).notes == ()


def test_film_frames_are_laid_over_beats() -> None:
    division = (256 - 25) << 8 | 40  # 1,000 ticks a second
    score = read(one_track((1000, on(60)), (500, off(60)), division=division))
    assert score.tracks[0].notes == (Note(960, 60, 480, 100),)
    assert any("120 bpm" in s for s in score.notes)


def test_type_0_is_split_by_channel_and_program() -> None:
    data = one_track(
        (0, meta(3, b"song")), (0, b"\xc0\x05"), (0, b"\xc1\x20"), (0, on(60)), (0, on(40, channel=1)), (0, on(36, channel=9)),
        (240, off(60)), (0, off(40, channel=1)), (0, off(36, channel=9)), (0, b"\xc0\x10"), (0, on(62)), (240, off(62)),
    )  # fmt: skip
    parts = [(t.program, t.is_drum, [n.pitch for n in t.notes]) for t in read(data).tracks]
    assert sorted(parts) == [(0, True, [36]), (5, False, [60]), (16, False, [62]), (32, False, [40])]
    assert len({t.name for t in read(data).tracks}) == 4


def test_programs_of_another_track_hold() -> None:
    data = header(1, 2) + track((0, b"\xc3\x28"), (0, END)) + track((0, on(60, channel=3)), (9, off(60, 3)), (0, END))
    assert read(data).tracks[0].program == 40


def test_stuck_note_is_ended_and_reported() -> None:
    data = one_track((0, on(60)), (0, on(64)), (240, off(64)), (960, on(60)), (100, on(67)), (9600, off(67)))
    score = read(data)
    stuck = [n for n in score.tracks[0].notes if n.pitch == 60]
    assert stuck == [Note(0, 60, 1200, 100), Note(1200, 60, 1920, 100)]
    assert any(s.startswith("2 notes never end") for s in score.notes)


def test_note_of_no_length_becomes_audible() -> None:
    score = read(one_track((0, on(60)), (0, off(60)), (480, on(62)), (1, off(62))))
    assert score.tracks[0].notes == (Note(0, 60, 60, 100), Note(480, 62, 1, 100))
    assert any("1 note of no length" in s for s in score.notes)


def test_what_notes_do_not_hold_is_counted() -> None:
    bend, volume, lyric = b"\xe0\x00\x50", b"\xb0\x07\x60", meta(5, b"la")
    score = read(one_track((0, volume), (0, PEDAL_UP), (0, on(60)), (0, lyric), (240, bend), (240, off(60))))
    assert score.notes == ("2 events are left out: volume, pan, pitch bends and other controls.",)
    assert read(one_track((0, bend), (0, on(60)), (9, off(60)))).notes[0].startswith("1 event is left out")


def test_pedal_holds_to_its_release_or_the_next_stroke() -> None:
    data = one_track(
        (0, PEDAL_DOWN), (0, on(60)), (100, off(60)), (380, on(62)), (100, off(62)), (140, PEDAL_UP), (0, on(64)), (50, off(64))
    )
    score = read(data)
    assert score.tracks[0].notes == (Note(0, 60, 480, 100), Note(480, 62, 240, 100), Note(720, 64, 50, 100))
    assert any(s.startswith("2 notes were lengthened") for s in score.notes)
    assert [n.duration_ticks for n in read(data, pedal=False).tracks[0].notes] == [100, 100, 50]


def test_pedal_that_is_never_released_ends_after_four_quarters() -> None:
    score = read(one_track((0, PEDAL_DOWN), (0, on(60)), (100, off(60)), (48000, meta(6, b"far"))))
    assert score.tracks[0].notes == (Note(0, 60, 100 + 4 * 480, 100),)


def test_all_notes_off() -> None:
    assert notes_of(one_track((0, on(60)), (480, b"\xb0\x7b\x00"), (480, on(62)), (9, off(62))))[0] == Note(0, 60, 480, 100)


def test_everything_said_beside_the_notes() -> None:
    data = header(1, 2) + track(
        (0, meta(0x51, b"\x07\xa1\x20")), (0, meta(0x58, b"\x06\x03\x24\x08")), (0, meta(0x59, b"\xfd\x01")), (0, meta(1, b"hello")),
        (480, meta(6, b"Am")), (0, meta(0x51, b"\x00\x00\x00")), (0, meta(0x59, b"\x63\x00")), (480, meta(0x51, b"\x0f\x42\x40")), (0, END),
    ) + track((0, meta(3, "Flöte".encode())), (0, on(60)), (10, off(60)), (0, END))  # fmt: skip
    score = read(data)
    assert score.tempos == ((0, 120.0), (960, 60.0))  # a tempo of zero is no tempo
    assert score.time_signatures == ((0, 6, 8),)
    assert score.key_signatures == ((0, 12), (480, None))
    assert score.markers == ((480, "Am"),)
    assert score.texts == ("hello",)
    assert score.tracks[0].name == "Flöte"
    assert score.end_ticks == 960


def test_latin_and_control_characters_in_names() -> None:
    assert read(one_track((0, meta(3, b"Fl\xf6te\x00\n")), (0, on(60)), (9, off(60)))).tracks[0].name == "Flöte"


def test_wrappers_and_foreign_chunks_are_passed_over() -> None:
    tune = track((0, on(60)), (9, off(60)), (0, END))
    riff = b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + header() + tune
    alien = header() + b"XFIH\x00\x00\x00\x02ab" + tune
    long_header = b"MThd\x00\x00\x00\x08\x00\x00\x00\x01\x01\xe0zz" + tune
    for data in (riff, alien, long_header, header() + tune + b"\x00" * 100):
        assert notes_of(data) == [Note(0, 60, 9, 100)]


@pytest.mark.parametrize("length", [0, 3, 2**31, 2**32 - 1])
def test_track_length_that_lies_costs_nothing(length: int) -> None:
    first = track((0, on(60)), (9, off(60)), (0, END), length=length)
    second = track((0, on(62)), (9, off(62)), (0, END))
    assert [n.pitch for n in notes_of(header(1, 2) + first + second)] == [60, 62]


def test_type_2_gives_its_first_piece() -> None:
    data = header(2, 2) + track((0, on(60)), (9, off(60)), (0, END)) + track((0, on(62)), (9, off(62)), (0, END))
    assert [n.pitch for n in notes_of(data)] == [60]
    assert any("type 2" in s for s in read(data).notes)


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"hello world", "not a MIDI file: it begins with 'hello world'"),
    "wav": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "RIFF"),
    "zip": (b"PK\x03\x04rest", "a zip archive"),
    "header cut": (header()[:10], "cut off inside its header, after 10 bytes"),
    "header lies": (b"MThd\xff\xff\xff\xff" + header()[8:] + track((0, on(60))), "claims to be 4294967295 bytes long"),
    "header too short": (header(length=2) + track((0, on(60))), "claims to be 2 bytes long"),
    "no division": (one_track((0, on(60)), (9, off(60)), division=0), "0 ticks"),
    "no film speed": (one_track((0, on(60)), division=0x8000 | 99 << 8), "frames"),
    "no track": (header(), "no track behind it"),
    "no notes": (one_track((0, meta(3, b"silent"))), "has no notes"),
    "damaged at once": (header() + track((0, b"\x3c\x40"), (0, on(60))), "no note could be read"),
    "far out": (one_track((0x0FFFFFFF, on(60)), (9, off(60))), "quarters after the start"),
    "far out and round again": (one_track(*[(0x0FFFFFFF, on(60)), (9, off(60))] * 20), "quarters after the start"),
    "too many tracks": (header(1, 600) + track((0, on(60))) * 600, "600 tracks"),
    "too large": (b"MThd" + bytes(MAX_BYTES), "at most 512 KB"),
    "too many notes": (header() + track(*[(0, b"\x90\x3c\x40")] * (MAX_NOTES + 1)), "20,001 notes"),
    "120,000 notes": (one_track(*[(1, on(60)), (1, off(60))] * 120_000), "at most 512 KB"),
    "80,000 short notes": (header() + track((0, on(60)), *[(1, b"\x3c\x40")] * 80_000), "80,001 notes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_with_its_reason(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(BadMidi) as caught:
        read(data, "tune.mid")
    assert reason in str(caught.value)
    assert str(caught.value).startswith("tune.mid")


def test_far_end_mark_does_not_matter() -> None:
    score = read(header() + track((0, on(60)), (480, off(60)), (0x0FFFFFFF, END)))
    assert score.end_ticks == MAX_TICKS
    assert analyze(score).clip.num_measures == 1


def test_damage_inside_a_track_keeps_what_comes_before() -> None:
    data = header() + track((0, on(60)), (480, off(60)), (0, b"\x90\x90\x90"), (0, on(62)), (0, END))
    score = read(data)
    assert [n.pitch for n in score.tracks[0].notes] == [60]
    assert score.notes == ("Track 1 is cut off or damaged; what comes before the damage was read.",)


def test_missing_tracks_are_reported() -> None:
    assert any("announces 7 tracks, 1 could be found" in s for s in read(header(1, 7) + track((0, on(60)), (9, off(60)), (0, END))).notes)


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.stem)
def test_same_notes_as_another_reader(path: Path) -> None:
    symusic = pytest.importorskip("symusic")
    other = symusic.Score.from_midi(path.read_bytes())

    def ticks(time: int) -> int:
        return int(Fraction(time * 480, other.tpq) + Fraction(1, 2))

    theirs = Counter(
        (ticks(n.time), n.pitch, ticks(n.time + n.duration) - ticks(n.time) or 60, n.velocity) for t in other.tracks for n in t.notes
    )
    ours = Counter(tuple(n) for t in read(path.read_bytes(), pedal=False).tracks for n in t.notes)
    assert len(ours) > 100
    assert ours == theirs
