"""Chord text: every way to write it, where chords fall in the bar, what is said about it, and the way back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD, CHORD_NAMES, EXACT, FOLDED, NO_CHORD, NUM_CHORDS, chord_id
from musediff.clip import BAR_TICKS, KEYS, MAX_BARS, TICKS_PER_CHORD, TIME_SIGNATURES
from musediff.errors import BadRequest
from musediff.progression import MAX_CHARACTERS, PRESETS, Progression, parse
from musediff.progression import format as format_chords


def read(text: str, key: str | None = None, metre: str = "4/4", bars: int | None = None) -> Progression:
    return parse(text, key=key, time_signature=metre, num_measures=bars)


def names(text: str, key: str | None = None, metre: str = "4/4", bars: int | None = None) -> list[str]:
    """Name of the chord on each half beat."""
    return [CHORD_NAMES[chord] for chord in read(text, key, metre, bars).chords]


def per_bar(text: str, **options) -> list[str]:
    """The chord of each bar, where no bar has two."""
    metre = options.get("metre", "4/4")
    slots = BAR_TICKS[metre] // TICKS_PER_CHORD
    chords = names(text, **options)
    bars = [set(chords[i : i + slots]) for i in range(0, len(chords), slots)]
    assert all(len(bar) == 1 for bar in bars), bars
    return [bar.pop() for bar in bars]


def test_bars_beats_slash_bass_and_no_chord() -> None:
    found = read("Am | F C | G7/B | N.C.")
    assert found.num_measures == 4
    assert [CHORD_NAMES[c] for c in found.chords] == ["Am"] * 8 + ["F"] * 4 + ["C"] * 4 + ["G7"] * 8 + ["N.C."] * 8
    assert found.notes == ("The bass after a slash is dropped: G7/B as G7.",)


@pytest.mark.parametrize(
    ("text", "metre", "halves"),
    [
        ("| C G Am", "4/4", "C C C C G G Am Am"),
        ("| C G Am F", "4/4", "C C G G Am Am F F"),
        ("| C G Am F Dm", "4/4", "C C G G Am Am F Dm"),
        ("| C G", "3/4", "C C C C G G"),
        ("| C G Am F", "3/4", "C C G G Am F"),
        ("| C G", "6/8", "C C C G G G"),
        ("| C G Am", "6/8", "C C G G Am Am"),
        ("| C G", "12/8", "C C C C C C G G G G G G"),
        ("| C G Am", "12/8", "C C C C C C G G G Am Am Am"),
    ],
)
def test_chords_share_a_bar_on_its_beats(text: str, metre: str, halves: str) -> None:
    assert names(text, metre=metre) == halves.split()


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("B♭", "A#"), ("F♯m", "F#m"), ("Db7", "C#7"), ("Cb", "B"), ("E#", "F"), ("Gaug", "G+"), ("A-7", "Am7"), ("Bø", "Bm7b5"),
        ("Bm7-5", "Bm7b5"), ("C°", "Cdim"), ("CΔ", "Cmaj7"), ("CM7", "Cmaj7"), ("CMAJ7", "Cmaj7"), ("Csus", "Csus4"), ("am", "Am"),
        ("bb", "A#"), ("b", "B"), ("NC", "N.C."), ("n.c.", "N.C."), ("NN", "N.C."), ("Cm/G", "Cm"), ("G / B", "G"), ("C6/9", "C"),
        ("C(add9)", "C"), ("Am(maj7)", "Am"), ("E7(b9,b13)", "E7"), ("Csus4(b7,9)", "Csus4"), ("A-", "A"),
    ],
)  # fmt: skip
def test_spellings(symbol: str, name: str) -> None:
    assert set(names(symbol)) == {name}


def test_a_minor_dash_is_no_separator_and_a_separating_dash_no_minor() -> None:
    assert per_bar("A-7-D7-GΔ") == ["Am7", "D7", "Gmaj7"]
    assert per_bar("D- | G7 | C-") == ["Dm", "G7", "Cm"]
    assert per_bar("C-G-Am-F-") == ["C", "G", "Am", "F"]


def test_every_alias_is_read_and_only_a_fold_is_mentioned() -> None:
    for alias, quality in EXACT.items():
        found = read(f"F#{alias} | %")
        assert found.chords == (chord_id("F#" + quality),) * 16, alias
        assert found.notes == (), alias
    for alias, quality in FOLDED.items():
        found = read(f"| F#{alias}")
        assert found.chords == (chord_id("F#" + quality),) * 8, alias
        assert found.notes == (f"Played as the nearest of the nine chord qualities: F#{alias} as F#{quality}.",)


@pytest.mark.parametrize(
    "text", ["Am | % | F | ", "|| Am || Am | F ||", "|Am|Am\n|F|", "Am\n\nAm\nF", "Am | |\nF", "Am;Am;F", "| Am | % | F |"]
)
def test_bar_lines_line_ends_and_repeats(text: str) -> None:
    assert per_bar(text)[:3] == ["Am", "Am", "F"]


def test_an_empty_bar_at_the_end_counts_a_closing_line_does_not() -> None:
    assert per_bar("Am | F | |") == ["Am", "F", "F"]
    assert per_bar("| Am | F |") == ["Am", "F"]


def test_percent_inside_a_bar_holds_the_chord_before() -> None:
    assert names("Am | % F") == ["Am"] * 12 + ["F"] * 4
    assert names("| Am % % F") == ["Am"] * 6 + ["F"] * 2


def test_question_mark_leaves_a_chord_open() -> None:
    assert read("| Am ?").chords == (chord_id("Am"),) * 4 + (ANY_CHORD,) * 4


@pytest.mark.parametrize("text", ["I–V–vi–IV", "I-V-vi-IV", "I - V - vi - IV", "I | V | vi | IV", "I V vi IV", "I, V, vi, IV", "I→V→vi→IV"])
def test_numerals_in_every_form(text: str) -> None:
    assert per_bar(text, key="gmajor") == ["G", "D", "Em", "C"]
    assert "Numerals were read in G major." in read(text, key="gmajor").notes


@pytest.mark.parametrize(
    ("text", "key", "chords"),
    [
        ("i–VII–VI–V", "aminor", "Am G F E"),
        ("i–♭VII–♭VI–V", "aminor", "Am G F E"),
        ("i–bVII–bVI–V", "amajor", "Am G F E"),
        ("ii° | vii° | VII | #vi° | bII", "aminor", "Bdim G#dim G F#dim A#"),
        ("Imaj7 | ii7 | V7 | viiø | III+ | ivm7 | Vsus4", "cmajor", "Cmaj7 Dm7 G7 Bm7b5 E+ Fm7 Gsus4"),
        ("V/V | V7/ii | IV/bVII", "cmajor", "D A7 D#"),
        ("ii-7 | V7 | IM7", "f#major", "G#m7 C#7 F#maj7"),
    ],
)
def test_numerals_in_major_and_minor(text: str, key: str, chords: str) -> None:
    assert per_bar(text, key=key) == chords.split()


def test_numerals_without_a_key_are_read_in_c_and_that_is_said() -> None:
    assert per_bar("I-V") == ["C", "G"]
    assert "No key was given: numerals were read in C major." in read("I-V").notes
    assert per_bar("i-VI-VII") == ["Cm", "G#", "A#"]
    assert "No key was given: numerals were read in C minor." in read("i-VI-VII").notes
    assert "key" not in " ".join(read("C-G").notes)


@pytest.mark.parametrize(("metre", "slots"), [("4/4", 8), ("3/4", 6), ("6/8", 6), ("12/8", 12)])
def test_the_original_form_of_one_chord_per_half_beat(metre: str, slots: int) -> None:
    chords = ["Am"] * slots + ["G"] * slots + ["F"] * (slots // 2) + ["E"] * (slots // 2) + ["N.C."] * slots
    for text in ("-".join(chords), "[" + ", ".join(chords) + "]", str([chords]), " ".join(chords).lower()):
        for bars in (None, 4):
            found = read(text, metre=metre, bars=bars)
            assert [CHORD_NAMES[c] for c in found.chords] == chords
            assert f"{4 * slots} chords, read as one per half beat: 4 bars." in found.notes


def test_a_chord_list_and_the_half_beat_form_are_told_apart_by_length() -> None:
    assert read("C-G-Am-F").notes == ("4 chords, read as one bar each.",)
    eight = "C-G-Am-F-C-G-Am-F"
    assert read(eight).num_measures == 8  # no chord is held: not the half-beat form
    assert read(eight, bars=8).num_measures == 8
    assert read(eight, bars=1).num_measures == 1
    assert len(set(read("-".join(["C"] * 16), bars=4).chords)) == 1
    assert read("-".join(["C"] * 16), bars=4).notes[0] == "16 chords, read as one per half beat: 2 bars."
    assert read("Am F - C G").num_measures == 2
    assert read("Am F C G").num_measures == 4


def test_short_progressions_repeat_and_long_ones_are_refused() -> None:
    found = read("Am | F C", bars=5)
    assert found.num_measures == 5
    assert found.chords == (read("Am | F C").chords * 3)[:40]
    assert found.notes == ("The chords fill 2 bars and repeat until 5 are full, the last time not to its end.",)
    with pytest.raises(BadRequest, match=r"fill 4 bars, but there is room for 3: shorten them, or ask for 4 bars"):
        read("C-G-Am-F", bars=3)
    assert read(" | ".join(["C"] * MAX_BARS)).num_measures == MAX_BARS
    with pytest.raises(BadRequest, match=rf"fill {MAX_BARS + 1} bars, but there is room for {MAX_BARS}: shorten them\."):
        read(" | ".join(["C"] * (MAX_BARS + 1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Am | F | C | G | H7", "bar 5: 'H7' is not a chord; did you mean B7?"),
        ("Am-F-Hm-G", "bar 3: 'Hm' is not a chord; did you mean Bm?"),
        ("Am | Fmajj7", "bar 2: 'Fmajj7' is not a chord; did you mean Fmaj7?"),
        ("C maj7 | F", "bar 1: 'maj7' is not a chord; did you mean Cmaj7?"),
        ("-".join(["C"] * 12 + ["Ammm"] * 4), "bar 2: 'Ammm' is not a chord; did you mean Am?"),
        ("Bbadd7", "bar 1: 'Bbadd7' is not a chord; did you mean Bb"),
        ("Am | xyz", "bar 2: 'xyz' is not a chord; write chords like"),
        ("Am | " + "C " * 9, "bar 2 has 9 chords; 8 fit"),
        ("% | Am", "bar 1: nothing stands before it"),
        ("| | Am |", "bar 1: nothing stands before it"),
        ("|: Am :|", "Repeat signs"),
        ("", "There are no chords"),
        (" \n|\n ", "There are no chords"),
        ("C" * (MAX_CHARACTERS + 1), "characters"),
    ],
)
def test_errors_say_where_and_what_instead(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert str(caught.value).startswith(message) or message in str(caught.value)


def test_unknown_metre_and_key_are_refused() -> None:
    with pytest.raises(BadRequest, match="time_signature"):
        read("Am", metre="5/4")
    with pytest.raises(BadRequest, match="audio_key"):
        read("Am", key="A minor")


@given(text=st.text(alphabet=st.sampled_from("AbCGHm7#♭/|%-–, \n()IVi.sus4ø?"), max_size=60), bars=st.none() | st.integers(1, 8))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_whole_bars_or_a_sentence(text: str, bars: int | None) -> None:
    try:
        found = read(text, key="aminor", metre="6/8", bars=bars)
    except BadRequest as error:
        assert len(str(error)) > 20
    else:
        assert len(found.chords) == found.num_measures * 6
        assert bars in (None, found.num_measures)
        assert all(0 <= chord < NUM_CHORDS for chord in found.chords)


@st.composite
def progressions(draw: st.DrawFn) -> tuple[str, str | None, tuple[int, ...]]:
    """Metre, key and chords that are held for a while, as in music, or change on every half beat."""
    metre = draw(st.sampled_from(TIME_SIGNATURES))
    size = draw(st.integers(1, 6)) * BAR_TICKS[metre] // TICKS_PER_CHORD
    pool = draw(st.lists(st.integers(0, NUM_CHORDS - 1), min_size=1, max_size=4))
    held = draw(st.sampled_from((1, 2, 3, 6, 12)))
    chords = draw(st.lists(st.sampled_from(pool), min_size=size // held + 1, max_size=size // held + 1))
    return metre, draw(st.none() | st.sampled_from(KEYS)), tuple(chord for chord in chords for _ in range(held))[:size]


@given(progressions())
@settings(max_examples=400, deadline=None)
def test_format_and_back(case: tuple[str, str | None, tuple[int, ...]]) -> None:
    metre, key, chords = case
    bars = len(chords) * TICKS_PER_CHORD // BAR_TICKS[metre]
    text = format_chords(chords, metre, key)
    assert read(text, key, metre).chords == chords
    assert read(text, key, metre, bars) == Progression(chords, bars, ())


@given(st.sampled_from(TIME_SIGNATURES), st.data())
@settings(max_examples=100, deadline=None)
def test_the_half_beat_form_of_any_progression_reads_the_same(metre: str, data: st.DataObject) -> None:
    slots = BAR_TICKS[metre] // TICKS_PER_CHORD
    bars = data.draw(st.integers(1, 4))
    chords = data.draw(st.lists(st.integers(0, NO_CHORD), min_size=bars * slots, max_size=bars * slots))
    text = "-".join(CHORD_NAMES[c] for c in chords)
    assert read(text, metre=metre, bars=bars).chords == tuple(chords)


def test_format_is_short_and_spells_as_the_key_does() -> None:
    chords = read("Bb | Eb F | % | N.C.").chords
    assert format_chords(chords, "4/4") == "A# | D# F | % | N.C."
    assert format_chords(chords, "4/4", "bbmajor") == "Bb | Eb F | % | N.C."
    assert format_chords(chords, "4/4", "bmajor") == "A# | D# F | % | N.C."
    assert format_chords(read("| C G").chords, "4/4") == "| C G"


@pytest.mark.parametrize(("name", "text"), PRESETS)
def test_presets_are_readable_in_every_key_and_metre(name: str, text: str) -> None:
    assert len({n for n, _ in PRESETS}) == len(PRESETS) >= 12
    for key in KEYS:
        for metre in TIME_SIGNATURES:
            found = read(text, key=key, metre=metre)
            assert found.num_measures <= 12
            assert len(set(found.chords)) >= 2
            assert not any("nearest" in note for note in found.notes), (name, found.notes)


def test_presets_are_what_they_are_called() -> None:
    preset = dict(PRESETS)
    assert per_bar(preset["Pachelbel's canon"], key="dmajor") == ["D", "A", "Bm", "F#m", "G", "D", "G", "A"]
    assert per_bar(preset["Andalusian (minor)"], key="aminor") == ["Am", "G", "F", "E"]
    assert per_bar(preset["Jazz ii–V–I"], key="cmajor") == ["Dm7", "G7", "Cmaj7", "Cmaj7"]
    assert len(per_bar(preset["Twelve-bar blues"], key="emajor")) == 12
    assert per_bar(preset["Jazz ii–V–i (minor)"], key="cminor") == ["Dm7b5", "G7", "Cm", "Cm"]
