"""The picture of a clip: what is in the figure and in the dictionary for the page."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from musediff.chords import ANY_CHORD, NO_CHORD, chord_id
from musediff.clip import Clip, Note, Track
from musediff.render.pianoroll import ADDED, KEPT, REMOVED, chord_changes, figure, notes_diff, roll_json, save_png

MELODY = tuple(Note(i * 480, 60 + i, 400, 40 + 5 * i) for i in range(16))
CHORDS = tuple(chord_id(name) for name in ("Am", "F", "C", "G7") for _ in range(8))
CLIP = Clip(
    4,
    (Track(MELODY, "main_melody", "flute"), Track((Note(0, 36, 120, 100), Note(960, 38, 120, 90)), None, "drums_full", name="Beat")),
    bpm=90, key="aminor", chords=CHORDS,
)  # fmt: skip
# Bar 3 (index 2) of the melody an octave higher.
CHANGED = replace(
    CLIP,
    tracks=(
        replace(CLIP.tracks[0], notes=tuple(n._replace(pitch=n.pitch + 12) if n.onset_ticks // 1920 == 2 else n for n in MELODY)),
        CLIP.tracks[1],
    ),
)
notes = st.lists(st.builds(Note, st.integers(0, 40), st.integers(60, 63), st.integers(1, 3), st.integers(1, 2)), max_size=30)


def boxes(fig, status):
    return [p for ax in fig.axes for p in ax.patches if isinstance(p, Rectangle) and p.get_gid() == status]


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


@given(notes, notes)
def test_diff_accounts_for_every_note(old, new):
    kept, added, removed = notes_diff(Track(tuple(old)), Track(tuple(new)))
    assert Counter(kept) + Counter(removed) == Counter(old)
    assert Counter(kept) + Counter(added) == Counter(new)
    assert not set(added) & set(removed)


def test_figure_shows_every_note_bar_and_chord():
    fig = figure(CLIP)
    lane, roll, drums = fig.axes
    assert len(boxes(fig, KEPT)) == 18 and len(boxes(fig, ADDED)) == len(boxes(fig, REMOVED)) == 0
    assert [text.get_text() for text in lane.texts] == ["Am", "F", "C", "G7"]
    assert [text.get_text() for text in drums.get_xticklabels()] == ["1", "2", "3", "4"]
    assert names(roll) == ["C4", "C5"] and names(drums) == ["kick", "snare"]
    assert roll.get_ylim()[0] <= 58 and roll.get_ylim()[1] < 85, "cropped to what is played"
    opacity = [box.get_facecolor()[3] for box in sorted(boxes(fig, KEPT)[:16], key=lambda box: box.get_x())]
    assert opacity == sorted(opacity) and opacity[0] < opacity[-1], "louder is more opaque"
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["main melody, flute", "Beat"]
    assert "A minor" in fig.get_suptitle()


def test_figure_tells_kept_added_and_removed_apart_without_colour():
    fig = figure(CHANGED, before=CLIP, bars=frozenset({2}))
    kept, added, removed = (boxes(fig, status) for status in (KEPT, ADDED, REMOVED))
    assert (len(kept), len(added), len(removed)) == (14, 4, 4)
    assert all(not box.get_fill() and box.get_hatch() for box in removed)
    assert min(box.get_linewidth() for box in added) > max(box.get_linewidth() for box in kept)
    shaded = [p for p in fig.axes[1].patches if p.get_gid() is None and p.get_width() == 1920]
    assert [p.get_x() for p in shaded] == [2 * 1920]
    assert [text.get_text() for text in fig.legends[0].get_texts()][-2:] == [ADDED, REMOVED]


def test_tracks_differ_in_pattern_not_only_in_colour():
    fig = figure(Clip(1, tuple(Track((Note(0, 60 + i, 480, 80),)) for i in range(6))))
    assert len({box.get_hatch() for box in boxes(fig, KEPT)}) == 6


@pytest.mark.parametrize(("time_signature", "lines"), [("4/4", 9), ("3/4", 7), ("6/8", 5), ("12/8", 9)])
def test_beats_follow_the_metre(time_signature, lines):
    clip = Clip(2, (Track((Note(0, 60, 240, 80),)),), time_signature)
    assert len([line for line in figure(clip).axes[0].lines if line.get_xdata()[0] == line.get_xdata()[1]]) == lines


def test_an_empty_clip_can_be_drawn(tmp_path):
    for clip in (Clip(64, ()), Clip(1, (Track(()),)), replace(CLIP, tracks=())):
        save_png(clip, tmp_path / "empty.png", before=CLIP)
        assert imread(tmp_path / "empty.png").shape[0] > 200


def test_png_is_not_blank(tmp_path):
    save_png(CHANGED, tmp_path / "roll.png", before=CLIP, bars=frozenset({2}))
    picture = imread(tmp_path / "roll.png")
    assert picture.shape[1] > 800 and len({tuple(pixel) for pixel in picture.reshape(-1, 4)[::7].tolist()}) > 30


def test_chords_are_named_where_they_change():
    clip = Clip(1, (), chords=(chord_id("Am"),) * 2 + (NO_CHORD,) * 2 + (ANY_CHORD,) * 2 + (chord_id("C"),) * 2)
    assert chord_changes(clip) == [(0, "Am"), (480, "N.C."), (960, ""), (1440, "C")]
    assert chord_changes(Clip(1, ())) == []


def test_roll_json_is_plain_and_complete():
    roll = json.loads(json.dumps(roll_json(CLIP, audio_seconds=12.5)))
    assert (roll["bars"], roll["bar_ticks"], roll["beat_ticks"], roll["seconds"], roll["region"]) == (4, 1920, 480, 12.5, [])
    assert roll["seconds_per_tick"] * 4 * 1920 == pytest.approx(CLIP.seconds)
    assert roll["key"] == {"name": "aminor", "tonic": 9, "scale": [9, 11, 0, 2, 4, 5, 7]}
    assert roll["chords"][1] == {"tick": 1920, "name": "F"}
    assert roll["low"] <= 60 and roll["high"] >= 75
    assert [Note(*note) for note in roll["tracks"][0]["notes"]] == list(MELODY)
    assert [track["drums"] for track in roll["tracks"]] == [False, True]


def test_roll_json_marks_what_changed():
    roll = roll_json(CHANGED, CLIP, bars=frozenset({2}))
    assert roll["region"] == [2]
    assert Counter(note[4] for note in roll["tracks"][0]["notes"]) == {KEPT: 12, ADDED: 4, REMOVED: 4}
    assert {note[4] for note in roll["tracks"][1]["notes"]} == {KEPT}
    dropped = roll_json(replace(CLIP, tracks=CLIP.tracks[:1]), CLIP)
    assert [note[4] for note in dropped["tracks"][1]["notes"]] == [REMOVED] * 2
