"""Metadata from JSON, forms and command lines, and back."""

import json
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import CHORD_NAMES, NUM_CHORDS
from musediff.clip import BAR_TICKS, CHOICES, GENRES, INSTRUMENT_GROUPS, INSTRUMENTS, KEYS, META_FIELDS, RANGES, TICKS_PER_CHORD, Meta
from musediff.errors import BadRequest
from musediff.meta_json import parse_meta, template, to_dict

# The original's example call, as its script writes it into a JSON file.
ORIGINAL = {
    "bpm": 70,
    "audio_key": "aminor",
    "time_signature": "4/4",
    "pitch_range": "mid_high",
    "num_measures": 8.0,
    "inst": "acoustic_piano",
    "genre": "newage",
    "min_velocity": 60,
    "max_velocity": 80,
    "track_role": "main_melody",
    "rhythm": "standard",
    "chord_progression": "-".join(name for name in ("Am", "G", "F", "E") * 2 for _ in range(8)),
}


def test_the_originals_example() -> None:
    meta, notes = parse_meta(ORIGINAL)
    assert meta.chord_progression is not None
    assert [CHORD_NAMES[c] for c in meta.chord_progression[::8]] == ["Am", "G", "F", "E"] * 2
    assert {name: getattr(meta, name) for name in META_FIELDS if name != "chord_progression"} == {
        name: value for name, value in ORIGINAL.items() if name != "chord_progression"
    }
    assert notes == ("64 chords, read as one per half beat: 8 bars.",)


def test_complete_lists_of_values() -> None:
    assert len(META_FIELDS) == len(fields(Meta)) == 12
    assert len(KEYS) == 34
    assert len(INSTRUMENTS) == 62
    assert len(INSTRUMENT_GROUPS) == 9
    assert {"newage", "cinematic"} <= set(GENRES)
    assert [len(CHOICES[n]) for n in ("track_role", "pitch_range", "time_signature", "rhythm")] == [6, 7, 4, 2]
    for name, choices in CHOICES.items():
        for value in choices:
            assert getattr(parse_meta({name: value})[0], name) == value


@pytest.mark.parametrize("nothing", [None, "", "any", "ANY", "unknown", " Unknown ", []])
def test_any_in_every_field(nothing: object) -> None:
    assert parse_meta(dict.fromkeys(META_FIELDS, nothing)) == (Meta(), ())
    assert parse_meta({}) == (Meta(), ())


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("A minor", "aminor"), ("am", "aminor"), ("Am", "aminor"), ("Aminor", "aminor"), ("a-minor", "aminor"), ("A min", "aminor"),
        ("A", "amajor"), ("A maj", "amajor"), ("F# minor", "f#minor"), ("F♯m", "f#minor"), ("F sharp minor", "f#minor"),
        ("Bb", "bbmajor"), ("B♭ major", "bbmajor"), ("b flat minor", "bbminor"), ("B", "bmajor"), ("bm", "bminor"), ("bbm", "bbminor"),
        ("Abmajor", "abmajor"), ("c moll", "cminor"), ("C-Dur", "cmajor"), ("Cb", "bmajor"), ("E# minor", "fminor"),
    ],
)  # fmt: skip
def test_spellings_of_a_key(said: str, key: str) -> None:
    assert parse_meta({"audio_key": said})[0].audio_key == key


def test_free_spellings_of_the_rest() -> None:
    meta, notes = parse_meta(
        {
            "Track-Role": "Main Melody",
            "inst": "Acoustic Piano-2",
            "pitch_range": "mid-high",
            "bpm": "70.0",
            "time signature": " 6 / 8 ",
            "bars": "8",
        }
    )
    assert meta == Meta(
        track_role="main_melody", inst="acoustic_piano", pitch_range="mid_high", bpm=70, time_signature="6/8", num_measures=8
    )
    assert notes == ()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"gnre": "pop"}, "'gnre' is not a field; did you mean genre?"),
        ({"inst": "piano"}, "inst: 'piano' is not known; did you mean acoustic_piano or electric_piano?"),
        ({"inst": "acustic_pianno"}, "did you mean acoustic_piano"),
        ({"inst": "zzz"}, "inst: 'zzz' is not known. Choose any or one of acoustic_piano, "),
        ({"track_role": "mainmelody"}, "did you mean main_melody"),
        ({"genre": "jazz"}, "genre: 'jazz' is not known. Choose any or one of newage, "),
        ({"audio_key": "H minor"}, "audio_key: 'H minor' is not a key"),
        ({"audio_key": 3}, "audio_key: '3' is not a key"),
        ({"time_signature": "5/4"}, "Choose any or one of 4/4, 3/4, 6/8, 12/8."),
        ({"bpm": -50}, "bpm: -50 is not a whole number from 20 to 300."),
        ({"bpm": "fast"}, "bpm: 'fast' is not a whole number from 20 to 300."),
        ({"bpm": 70.5}, "bpm: '70.5' is not a whole number"),
        ({"bpm": True}, "bpm: 'True' is not a whole number"),
        ({"bpm": float("nan")}, "bpm: 'nan' is not a whole number"),
        ({"bpm": 10**400}, "is not a whole number"),
        ({"min_velocity": 200}, "min_velocity: 200 is not a whole number from 1 to 127."),
        ({"min_velocity": 90, "max_velocity": 60}, "min_velocity 90 is above max_velocity 60"),
        ({"num_measures": 65}, "num_measures: 65"),
        ({"chords": "Am | H"}, "bar 2: 'H' is not a chord; did you mean B?"),
        ({"chords": 3}, "chord_progression: write it as text"),
        ({"chords": [["Am", 3]]}, "chord_progression: write it as text"),
        ({"key": "a", "audio_key": "b"}, "given twice"),
        ({"inst": {"a": 1}}, "is not known"),
    ],
)
def test_what_is_refused_and_with_which_words(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_meta(values)
    assert sentence in str(caught.value)


def test_chords_decide_what_is_not_given_and_say_so() -> None:
    meta, notes = parse_meta({"chords": "Am | F C"})
    assert (meta.num_measures, meta.time_signature) == (2, "4/4")
    assert any("4/4" in note for note in notes)
    assert any("2 bars" in note for note in notes)
    meta, _ = parse_meta({"chords": ["Am", "F"], "num_measures": 6, "time_signature": "12/8"})
    assert len(meta.chord_progression or ()) == 6 * 12
    meta, _ = parse_meta({"chords": "i-V", "audio_key": "d minor"})
    assert [CHORD_NAMES[c] for c in (meta.chord_progression or ())[::8]] == ["Dm", "A"]


def test_template_is_json_that_parses() -> None:
    text = json.dumps(template())
    assert tuple(json.loads(text)) == META_FIELDS
    meta, _ = parse_meta(json.loads(text))
    assert meta.num_measures == 8
    assert len(meta.chord_progression or ()) == 64


@st.composite
def metas(draw: st.DrawFn) -> Meta:
    values: dict[str, object] = {name: draw(st.none() | st.sampled_from(choices)) for name, choices in CHOICES.items()}
    values |= {name: draw(st.none() | st.integers(*limits)) for name, limits in RANGES.items()}
    low, high = values["min_velocity"], values["max_velocity"]
    if isinstance(low, int) and isinstance(high, int) and low > high:
        values |= {"min_velocity": high, "max_velocity": low}
    if draw(st.booleans()):
        metre, bars = draw(st.sampled_from(CHOICES["time_signature"])), draw(st.integers(1, 4))
        size = bars * BAR_TICKS[metre] // TICKS_PER_CHORD
        chords = draw(st.lists(st.integers(0, NUM_CHORDS - 1), min_size=size, max_size=size))
        values |= {"time_signature": metre, "num_measures": bars, "chord_progression": tuple(chords)}
    return Meta(**values)  # type: ignore[arg-type]


@given(metas())
@settings(max_examples=200, deadline=None)
def test_to_dict_and_back_through_json(meta: Meta) -> None:
    values = json.loads(json.dumps(to_dict(meta)))
    assert tuple(values) == META_FIELDS
    assert parse_meta(values) == (meta, ())
