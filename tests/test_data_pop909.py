"""POP909 -> Songs: the grid rules, the windows, and three real songs note for note against clips of another converter."""

import json
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD, CHORD_NAMES, chord_id, pitch_classes, transpose
from musediff.clip import Note
from musediff.data import pop909
from musediff.data.parts import bass_line, pad_notes
from musediff.data.quantise import is_triplet_beat, to_grid, top_line, without_overlaps
from musediff.data.song import Bar, Song
from musediff.data.source import Item
from musediff.data.store import TRAIN, VALID
from musediff.data.windows import add_clips, cut, fault, windows
from musediff.errors import BadData

SAMPLE = Path(__file__).parent / "assets" / "sample"
TRACKS = {"MELODY": 0, "BRIDGE": 1, "PIANO": 2, "BASS": 3}

performed = st.lists(st.builds(Note, st.integers(0, 7600), st.integers(20, 100), st.integers(1, 3000), st.integers(1, 127)), max_size=60)


@pytest.fixture(scope="module")
def sample() -> dict[str, tuple[dict, Song]]:
    return {Path(item.name).name: (json.loads(item.about), pop909.convert(item)) for item in pop909.items(SAMPLE)}


@given(performed)
def test_grid_notes_are_on_the_grid_and_near_where_they_were(notes: list[Note]) -> None:
    placed = to_grid(notes)
    assert placed == sorted(placed)
    assert all(n.onset_ticks % 480 in (0, 120, 160, 240, 320, 360) and n.duration_ticks > 0 for n in placed)
    origins = {n.pitch: [o.onset_ticks for o in notes if o.pitch == n.pitch] for n in placed}
    assert all(min(abs(n.onset_ticks - onset) for onset in origins[n.pitch]) <= 80 for n in placed)
    assert {n.pitch for n in placed} == {n.pitch for n in notes}


@given(performed)
def test_one_pitch_never_sounds_twice_and_one_voice_never_overlaps(notes: list[Note]) -> None:
    placed = to_grid(notes)
    for pitch in {n.pitch for n in placed}:
        same = [n for n in placed if n.pitch == pitch]
        assert all(a.onset_ticks + a.duration_ticks <= b.onset_ticks for a, b in pairwise(same))
    line = top_line(placed)
    assert all(a.onset_ticks + a.duration_ticks <= b.onset_ticks for a, b in pairwise(line))
    assert [n.onset_ticks for n in line] == sorted({n.onset_ticks for n in placed})
    assert to_grid(to_grid(line)) == to_grid(line)


def test_triplets_are_recognised_beat_by_beat() -> None:
    swung, straight = [3, 158, 325], [2, 118, 241]
    assert is_triplet_beat(swung) and not is_triplet_beat(straight)
    notes = [Note(onset, 60 + i, 100, 80) for i, onset in enumerate([*swung, *(480 + t for t in straight)])]
    assert [n.onset_ticks for n in to_grid(notes)] == [0, 160, 320, 480, 600, 720]


def test_doubles_merge_and_small_gaps_close() -> None:
    assert without_overlaps([Note(0, 60, 120, 50), Note(0, 60, 240, 40)]) == [Note(0, 60, 240, 50)]
    assert without_overlaps([Note(0, 60, 480, 50), Note(240, 60, 240, 40)])[0].duration_ticks == 240
    line = top_line([Note(0, 50, 900, 80), Note(0, 60, 180, 80), Note(240, 62, 120, 80), Note(480, 64, 120, 80)])
    assert line == [Note(0, 60, 240, 80), Note(240, 62, 120, 80), Note(480, 64, 120, 80)]


def test_windows_stay_inside_segments() -> None:
    bars = [Bar(1920 * i, "4/4", 0, 100, segment=int(i >= 9)) for i in range(14)]
    places = windows(bars, {4: 2, 8: 4})
    assert places == [(0, 4), (2, 4), (4, 4), (0, 8), (9, 4)]


def test_content_rules() -> None:
    steady = [Note(480 * i, 60, 480, 80) for i in range(16)]
    assert fault(steady, "main_melody", 4, 1920) is None
    assert fault(steady[:4], "main_melody", 4, 1920) == "too few notes"
    assert fault([n._replace(onset_ticks=n.onset_ticks + 1920) for n in steady[:12]], "main_melody", 4, 1920) == "first bar empty"
    assert fault(steady[:8], "main_melody", 4, 1920) == "too many empty bars"
    held = [Note(0, 60 + i, 7680, 80) for i in range(8)]
    assert fault(held, "pad", 4, 1920) is None
    assert cut(steady, 960, 2000)[0] == Note(0, 60, 480, 80) and cut(steady, 960, 2000)[-1].duration_ticks == 80


def test_bass_keeps_the_bottom_of_the_left_hand() -> None:
    arpeggio = [Note(0, 36, 960, 90), Note(240, 43, 240, 70), Note(480, 48, 240, 80), Note(480, 52, 240, 80), Note(960, 41, 900, 90)]
    assert [n.pitch for n in bass_line(arpeggio, 960)] == [36, 48, 41]


@pytest.mark.parametrize("seed", range(12))
def test_pads_sound_every_chord_tone(seed: int) -> None:
    bars = [Bar(1920 * i, "4/4", 0, 90, 0) for i in range(4)]
    chords = [(0, 1920, (48, 52, 55)), (1920, 3840, (45, 48, 52, 55)), (3840, 7680, (53, 57, 60))]
    notes = pad_notes(chords, bars, Random(seed))
    assert notes == pad_notes(chords, bars, Random(seed))
    for start, end, pitches in chords:
        for bar in range(start, end, 1920):
            assert {n.pitch % 12 for n in notes if n.onset_ticks == bar} == {p % 12 for p in pitches}
    assert all(40 <= n.velocity <= 100 and 36 <= n.pitch <= 88 and n.onset_ticks + n.duration_ticks <= 7680 for n in notes)


def test_labels_fold_onto_the_nine_qualities() -> None:
    names = {"Bb:min7/b7": "A#m7", "F#:maj/5": "F#", "G:sus4(b7)": "Gsus4", "B:hdim7": "Bm7b5", "N": "N.C.", "D:sus2": "Dm", "G:sus2": "G"}
    assert {label: CHORD_NAMES[pop909.chord_of(label, 0)] for label in names} == names
    assert pop909.chord_of("D:sus2", 2) == chord_id("D")
    with pytest.raises(BadData, match="H:maj"):
        pop909.chord_of("H:maj", 0)


def test_songs_follow_the_annotations(sample: dict[str, tuple[dict, Song]]) -> None:
    assert {name: song.split for name, (_, song) in sample.items()} == {"049": TRAIN, "250": VALID, "420": TRAIN}
    for about, song in sample.values():
        assert [t.name for t in song.tracks][:5] == ["MELODY", "BRIDGE", "PIANO", "BASS", "PAD"]
        assert {c.role for c in song.clips} >= {"main_melody", "accompaniment", "bass", "pad"}
        assert {bar.bpm for bar in song.bars} == {round(about["bpm"])}
        slots = {bar.start_ticks + 240 * i for bar in song.bars for i in range(bar.chords)}
        chord_at = dict(zip(sorted(slots), song.chords, strict=True))
        tones = [n.pitch % 12 in pitch_classes(chord_at[n.onset_ticks // 240 * 240]) for n in song.tracks[3].notes]
        assert len(tones) > 40 and sum(tones) >= 0.9 * len(tones)
    assert len({bar.segment for bar in sample["420"][1].bars}) == 2, "this song has inserted beats"


def test_bar_lines_drawn_off_the_beat_go_to_the_nearest_one_with_chords() -> None:
    about = {"bar_ticks": 1920, "chords": [(960 + 1920 * i, 2880 + 1920 * i, "C:maj") for i in range(8)]}
    moved = {aligned: pop909._on_beat(about, aligned, 0, 20_000) for aligned in (960, 840, 1080, 720, 1200)}
    assert moved == {960: 960, 840: 960, 1080: 960, 720: 960, 1200: 960}, "720 and 1200 are as near to a beat without chords"


def test_a_key_that_lacks_what_sounds_is_heard_anew(sample: dict[str, tuple[dict, Song]]) -> None:
    about, song = sample["049"]
    item = next(item for item in pop909.items(SAMPLE) if item.name.endswith("049"))
    wrong = {**about, "keys": [[0, (song.bars[0].key + 6) % 12, "major"]], "key_dai": []}  # a tritone off: five notes of seven are foreign
    mended = pop909.convert(Item(item.name, item.data, json.dumps(wrong)))
    scale = {(mended.bars[0].key + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)}
    assert len({bar.key for bar in mended.bars}) <= 3 and mended.bars[0].key != wrong["keys"][0][1]
    inside = [n.pitch % 12 in scale for n in mended.tracks[2].notes]
    assert sum(inside) > 0.9 * len(inside)
    assert [bar.key for bar in song.bars] == [pop909._key_at(about, 0)] * len(song.bars), "one that fits stays as annotated"


def _origin(about: dict) -> int:
    """Annotation tick of the first bar line at or after the first chord."""
    first = next(start for start, _, label in about["chords"] if label != "N") - 30
    origin = about["bar_segments"][0][2]
    return origin + -((origin - first) // about["bar_ticks"]) * about["bar_ticks"]


def test_notes_and_chords_equal_the_reference_clips(sample: dict[str, tuple[dict, Song]]) -> None:
    lines = [json.loads(line) for line in (SAMPLE / "reference_clips.jsonl").read_text().splitlines()]
    exact, differing, bass_notes = dict.fromkeys(TRACKS, 0), 0, 0
    for clip in lines:
        about, song = sample[clip["song"]]
        start, length = clip["start_tick"] - _origin(about), clip["num_measures"] * about["bar_ticks"]
        mine = [
            (n.onset_ticks, n.duration_ticks, n.pitch + clip["transpose"], n.velocity)
            for n in cut(song.tracks[TRACKS[clip["track"]]].notes, start, start + length)
        ]
        theirs = sorted(map(tuple, clip["notes"]), key=lambda n: (n[0], n[2]))
        exact[clip["track"]] += mine == theirs
        if clip["track"] == "BASS":
            # They count half bars from the start of the file, we from the bar line: some passing notes differ.
            differing += len({(n[0], n[2]) for n in mine} ^ {(n[0], n[2]) for n in theirs})
            bass_notes += len(theirs)
        else:
            # They cut notes at the end of the clip before rounding, we round whole songs: lengths may differ at the end only.
            assert [(n[0], *n[2:]) for n in mine] == [(n[0], *n[2:]) for n in theirs]
            ends = [(a[0] + a[1], b[0] + b[1]) for a, b in zip(mine, theirs, strict=True) if a != b]
            assert all(abs(a - b) <= 60 and length - b <= 120 for a, b in ends)
        first = next(i for i, bar in enumerate(song.bars) if bar.start_ticks == start) * 8
        ids = song.chords[first : first + len(clip["chords"])]
        names = [None if c >= ANY_CHORD else CHORD_NAMES[transpose(c, clip["transpose"])] for c in ids]
        assert names == clip["chords"]
    totals = {track: sum(clip["track"] == track for clip in lines) for track in TRACKS}
    assert min(totals.values()) >= 10
    assert all(exact[track] >= 0.9 * totals[track] for track in ("MELODY", "BRIDGE", "PIANO")), (exact, totals)
    assert differing <= 0.1 * bass_notes, (differing, bass_notes)


def test_songs_that_repeat_themselves_count_once(sample: dict[str, tuple[dict, Song]]) -> None:
    _, song = sample["049"]
    before = len(song.clips)
    add_clips(song, 2, "accompaniment", [(0, 4), (0, 4), (0, 4)])
    assert len(song.clips) - before <= 1 and song.dropped["accompaniment: repetition"] + song.dropped["accompaniment: too few notes"] >= 2
    del song.clips[before:]


def test_damage_is_reported() -> None:
    item = pop909.items(SAMPLE)[0]
    with pytest.raises(BadData, match=item.name):
        pop909.convert(Item(item.name, b"MThd nonsense", item.about))
    with pytest.raises(BadData, match="MELODY"):
        pop909.convert(Item(item.name, item.data.replace(b"MELODY", b"VOCALS"), item.about))


def test_missing_annotations_are_reported(tmp_path: Path) -> None:
    (tmp_path / "pop909").mkdir()
    with pytest.raises(BadData, match="pop909_derived"):
        pop909.items(tmp_path / "pop909")
