"""Form values <-> metadata, sampling and bars; what the roll is told; words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import form, texts
from demo.handlers import read_bars, sampling, whole
from demo.roll.payload import payload, summary
from demo.roll.roll import script, template
from musediff.clip import CHOICES, META_FIELDS, RANGES, Clip, Meta, Note, Track
from musediff.errors import BadRequest


def song() -> Clip:
    notes = tuple(Note(i * 480, 60 + i % 12, 460, 50 + i) for i in range(16))
    return Clip(4, (Track(notes, "main_melody", "acoustic_piano"),), bpm=120, key="cmajor")


metas = st.builds(
    Meta,
    **{name: st.none() | st.sampled_from(values) for name, values in CHOICES.items()},
    bpm=st.none() | st.integers(*RANGES["bpm"]),
    num_measures=st.none() | st.integers(*RANGES["num_measures"]),
    min_velocity=st.none() | st.integers(1, 60),
    max_velocity=st.none() | st.integers(60, 127),
)


@given(metas)
def test_form_shows_and_reads_every_meta(meta: Meta) -> None:
    assert form.read(form.show(meta)) == meta


@pytest.mark.parametrize("time_signature", ["4/4", "3/4", "6/8", "12/8"])
def test_form_keeps_chords(time_signature: str) -> None:
    values = dict(zip(META_FIELDS, form.show(Meta(num_measures=4, time_signature=time_signature, audio_key="aminor")), strict=True))
    values["chord_progression"] = "Am | F G | C | E7"
    meta = form.read(list(values.values()))
    assert meta.chord_progression is not None
    assert form.read(form.show(meta)) == meta


def test_chord_feedback_says_bars_or_what_is_wrong() -> None:
    good = form.chord_feedback("Am | F", "aminor", "4/4", "8")
    assert "8 bars" in good and 'class="feedback good"' in good
    bad = form.chord_feedback("Am | <b>H7", "aminor", "4/4", "8")
    assert 'class="feedback bad"' in bad and "H7" in bad and "<b>" not in bad
    assert texts.CHORDS_ANY in form.chord_feedback("  ", "any", "any", "")


@given(st.sets(st.integers(0, 15), min_size=1))
def test_bars_are_read_as_people_write_them(bars: set[int]) -> None:
    assert read_bars(", ".join(str(bar + 1) for bar in sorted(bars)), 16) == bars
    assert read_bars(f"{min(bars) + 1}-{max(bars) + 1}", 16) == set(range(min(bars), max(bars) + 1))


@pytest.mark.parametrize("text", ["0", "5", "3-2", "1-", "-", "x", "1,,2", "1.5", "²"])
def test_bad_bars_are_explained(text: str) -> None:
    with pytest.raises(BadRequest, match="Bars to change"):
        read_bars(text, 4)


@pytest.mark.parametrize("text", ["-1", "abc", "1e5", "9" * 30, "٣x"])
def test_bad_seed_is_explained(text: str) -> None:
    with pytest.raises(BadRequest, match="Seed"):
        whole("Seed", text, 0)
    assert whole("Seed", " ", 0) is None


def test_every_choice_has_words() -> None:
    assert set(texts.INSTRUMENTS) == set(CHOICES["inst"])
    for words, name in ((texts.ROLES, "track_role"), (texts.RANGES, "pitch_range"), (texts.GENRES, "genre"), (texts.RHYTHMS, "rhythm")):
        assert set(words) == set(CHOICES[name])
    assert set(texts.FIELDS) == set(META_FIELDS)
    assert [texts.strength_words(s / 100) for s in range(101)]


def test_payload_says_what_became_of_each_note() -> None:
    before, track = song(), song().tracks[0]
    after = Clip(4, (Track((*track.notes[1:], Note(0, 72, 480, 90)), track.role, track.instrument),), bpm=120, key="cmajor")
    marks = [note[4] for note in payload(after, before)["tracks"][0]["notes"]]
    assert (marks.count("kept"), marks.count("added"), marks.count("removed")) == (15, 1, 1)
    assert "15 of 16 notes kept, 1 new, 1 removed" in summary(after, before)


def test_roll_has_no_template_holes_and_asks_nobody() -> None:
    assert "${" not in template() and "{{" not in template()
    for text in (template(), script()):
        assert "http://" not in text and "https://" not in text


def test_sampling_of_the_page() -> None:
    assert sampling((2, "7", 4, 1.5, 0.95, 0)).seed == 7
    with pytest.raises(BadRequest):
        sampling((0, "", 16, 1.5, 0.95, 0))
