"""OpenScore and Freedoom -> Songs: what is known of real works, and what must hold of every clip."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musediff.chords import pitch_classes
from musediff.clip import BAR_TICKS, Clip, Note, Track
from musediff.data import freedoom, openscore
from musediff.data.build import pack
from musediff.data.roles import MIN_CHORD_TONES, MIN_CHORD_TONES_MELODY, MIN_IN_KEY
from musediff.data.song import Song
from musediff.data.source import Item
from musediff.data.store import TRAIN, VALID
from musediff.data.windows import cut
from musediff.errors import BadData
from musediff.midi.harmony import key_scale
from musediff.midi.write import write

ASSETS = Path(__file__).parent / "assets"


def converted(name: str, strings: bool = False) -> Song:
    """A song of the sample scores by the end of its path."""
    items = [i for i in openscore.items(ASSETS) if i.strings == strings and name in i.text[:300]]
    assert len(items) == 1
    return openscore.convert(items[0])


def score(measures: list[tuple[int, int, int, int]], notes: list[Note], **of_part: Any) -> openscore.Item:
    """A score of one part; a measure is (length, beats, beat type, fifths)."""
    starts = np.cumsum([0, *(m[0] for m in measures)]).tolist()
    part = {"name": "Violin", "instrument": "Violin", "program": 41, "staff": 1} | of_part
    columns = zip(*notes, strict=True)
    part |= dict(zip(("start", "pitch", "dur", "vel"), map(list, columns), strict=True))
    rows = [[start, *m, ""] for start, m in zip(starts, measures, strict=False)]
    whole = {"src": "scores/A/B/x.mxl", "aligned": True, "measures": rows, "tempos": [[0, 90.0]], "parts": [part]}
    return openscore.Item(json.dumps(whole))


def scale(count: int, ticks: int = 480, first: int = 0) -> list[Note]:
    return [Note(first + i * ticks, (60, 62, 64, 65, 67, 65, 64, 62)[i % 8], ticks, 80) for i in range(count)]


# OpenScore


def test_a_known_song_is_read_as_it_is_written() -> None:
    """Brahms, Wiegenlied op. 49 no. 4: E flat major, 3/4 from a pickup, voice and piano."""
    song = converted("Wiegenlied")
    source = next(json.loads(i.text) for i in openscore.items(ASSETS) if "Wiegenlied" in i.text[:300])
    assert {(bar.meter, bar.key, bar.bpm) for bar in song.bars} == {("3/4", 3, 75)}
    assert [(t.instrument, t.group) for t in song.tracks] == [("vocal", 0), ("acoustic_piano", 1), ("acoustic_piano", 1)]
    pickup = source["measures"][0][1]
    voice = [(start - pickup, pitch) for start, pitch in zip(source["parts"][0]["start"], source["parts"][0]["pitch"], strict=True)]
    assert [(n.onset_ticks, n.pitch) for n in song.tracks[0].notes] == [v for v in voice if v[0] < song.bars[-1].end_ticks]
    assert song.chords[:6] == [3 * 9] * 6  # over a bass on E flat, bar after bar
    roles = {track: {clip.role for clip in song.clips if clip.track == track} for track in range(3)}
    assert roles == {0: {"main_melody"}, 1: {"accompaniment"}, 2: {"bass"}}


def test_the_bass_is_part_of_the_piano_and_one_voice() -> None:
    song = converted("Wiegenlied")
    piano, bass = song.tracks[1].notes, song.tracks[2].notes
    assert {(n.onset_ticks, n.pitch) for n in bass} <= {(n.onset_ticks, n.pitch) for n in piano}
    assert all(a.onset_ticks + a.duration_ticks <= b.onset_ticks for a, b in pairwise(bass))


@pytest.mark.parametrize(("name", "key"), [("Bologne", 19), ("BWV.232_22", 19), ("Gräber", 8)])
def test_keys_of_known_works(name: str, key: int) -> None:
    """A quartet in G minor, Bach's Agnus Dei in G minor, Hensel's song in A flat major: most bars, and the first."""
    keys = [bar.key for bar in converted(name).bars]
    assert keys[0] == key
    assert keys.count(key) > len(keys) * 0.4


def test_a_quartet_has_a_leader_and_a_bass() -> None:
    song = converted("Bologne")
    assert [t.instrument for t in song.tracks] == ["string_violin", "string_violin", "string_viola", "string_cello"]
    by_role = {role: [c.track for c in song.clips if c.role == role] for role in ("main_melody", "bass")}
    assert by_role["main_melody"].count(0) > len(by_role["main_melody"]) / 2
    assert by_role["bass"].count(3) > len(by_role["bass"]) / 2


def test_held_strings_become_a_pad() -> None:
    song = converted("Mayer", strings=True)
    assert {clip.role for clip in song.clips} == {"pad"}
    assert [t.instrument for t in song.tracks] == ["string_ensemble"]
    for clip in song.clips:
        notes = cut(song.tracks[0].notes, song.bars[clip.bar].start_ticks, song.bars[clip.bar + clip.bars - 1].end_ticks)
        assert sum(n.duration_ticks for n in notes) > 2 * clip.bars * BAR_TICKS["3/4"]  # more than two voices at a time
        assert sum(n.duration_ticks for n in notes) / len(notes) >= 480


@pytest.mark.parametrize(
    ("measures", "metre", "bars"),
    [
        ([(1920, 2, 2, 0)] * 5, "4/4", 5),
        ([(960, 2, 4, 0)] * 9, "4/4", 4),
        ([(720, 3, 8, 0)] * 8, "6/8", 4),
        ([(2880, 6, 4, 0)] * 3, "3/4", 6),
        ([(480, 4, 4, 0), *[(1920, 4, 4, 0)] * 4], "4/4", 4),
        ([*[(1440, 3, 4, 0)] * 2, (960, 3, 4, 0), (480, 3, 4, 0), *[(1440, 3, 4, 0)] * 2], "3/4", 5),
    ],
    ids=["2/2", "2/4", "3/8", "6/4", "pickup", "bar cut by a repeat"],
)
def test_metres(measures: list[tuple[int, int, int, int]], metre: str, bars: int) -> None:
    length = sum(m[0] for m in measures)
    song = openscore.convert(score(measures, scale(length // 480)))
    assert [bar.meter for bar in song.bars] == [metre] * bars
    assert len({bar.segment for bar in song.bars}) == 1
    pickup = 480 if measures[0][0] == 480 else 0
    assert song.tracks[0].notes[0].pitch == (62 if pickup else 60)
    assert song.tracks[0].notes[-1].onset_ticks < song.bars[-1].end_ticks


def test_other_metres_part_the_song() -> None:
    measures = [(1920, 4, 4, 0)] * 4 + [(2160, 9, 8, 0)] * 2 + [(1920, 4, 4, 0)] * 4
    song = openscore.convert(score(measures, scale(8) + scale(9, first=7680) + scale(8, first=7680 + 4320)))
    assert [bar.segment for bar in song.bars] == [0] * 4 + [1] * 4
    assert [n.onset_ticks for n in song.tracks[0].notes] == [n.onset_ticks for n in [*scale(8), *scale(8, first=7680)]]


@pytest.mark.parametrize(("name", "words"), [("Corder", "line up"), ("Maiabend", "no note in a whole bar")])
def test_what_cannot_be_used_says_so(name: str, words: str) -> None:
    with pytest.raises(BadData, match=words):
        converted(name)


def test_a_folder_without_scores_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no scores"):
        openscore.items(tmp_path)


@pytest.mark.parametrize(
    ("name", "instrument", "expected"),
    [
        ("Singstimme", "Oboe", "vocal"),
        ("Violoncello", "Cello", "string_cello"),
        ("Bass Clarinet", "", "clarinet"),
        ("Bass", "", "vocal"),
        ("Contrabassoon", "", "bassoon"),
        ("Contrabass", "", "string_double_bass"),
        ("Viola", "", "string_viola"),
        ("Pauken", "", "timpani"),
        ("Altposaune", "", "trombone"),
        ("English Horn", "", "oboe"),
        ("Triangle", "", None),
        ("", "Grand Piano", "acoustic_piano"),
        ("", "Instrument 12", "glockenspiel"),
    ],
)
def test_instruments_by_name(name: str, instrument: str, expected: str | None) -> None:
    assert openscore.instrument_named({"name": name, "instrument": instrument, "program": 10}) == expected


def test_songs_of_a_cycle_stay_on_one_side() -> None:
    def of(src: str) -> int:
        item = score([(1920, 4, 4, 0)] * 4, scale(16))
        return openscore.convert(openscore.Item(item.text.replace("scores/A/B/x.mxl", src))).split

    splits = [{of(f"scores/Composer/Cycle_{c}/Song_{s}/lc{s}.mxl") for s in range(3)} for c in range(60)]
    assert all(len(split) == 1 for split in splits)
    assert {split for sides in splits for split in sides} == {TRAIN, VALID}
    assert len({of(f"scores/Composer/_/Song_{s}/lc{s}.mxl") for s in range(60)}) == 2


# What must hold of every song


SONGS: dict[str, Callable[[], Song]] = {
    "lied": lambda: converted("Wiegenlied"),
    "quartet": lambda: converted("Mayer"),
    "mass": lambda: converted("BWV.232_22"),
    "rock": lambda: game("freedoom_dm24"),
    "ambient": lambda: game("freedoom_e1m8"),
}


def game(name: str) -> Song:
    return freedoom.convert(next(i for i in freedoom.items(ASSETS / "midi") if i.name.endswith(name)))


@pytest.mark.parametrize("name", SONGS)
def test_clips_are_good_examples(name: str) -> None:
    song = SONGS[name]()
    assert len(song.clips) >= 10
    assert pack(song).clips == len(song.clips)  # the form is checked on the way
    starts = np.array([bar.start_ticks for bar in song.bars])
    for clip in song.clips:
        bars = song.bars[clip.bar : clip.bar + clip.bars]
        notes = [n for n in song.tracks[clip.track].notes if bars[0].start_ticks <= n.onset_ticks < bars[-1].end_ticks]
        keys = [song.bars[np.searchsorted(starts, n.onset_ticks, side="right") - 1].key for n in notes]
        assert np.mean([n.pitch % 12 in key_scale(key) for n, key in zip(notes, keys, strict=True)]) >= MIN_IN_KEY
        tones = np.mean([n.pitch % 12 in pitch_classes(song.chords[n.onset_ticks // 240]) for n in notes])
        assert tones >= (MIN_CHORD_TONES_MELODY if "melody" in clip.role else MIN_CHORD_TONES)
        assert all((n.onset_ticks - bars[0].start_ticks) % 480 in (0, 120, 160, 240, 320, 360) for n in notes)


# Freedoom


def test_roles_follow_general_midi() -> None:
    song = game("freedoom_dm24")
    assert song.genre == "rock"
    assert not any(t.instrument and t.instrument.startswith("drums") for t in song.tracks)
    basses = {song.tracks[clip.track].instrument for clip in song.clips if clip.role == "bass"}
    assert basses == {"electric_bass"}
    assert "synth_lead" in {song.tracks[clip.track].instrument for clip in song.clips if clip.role == "main_melody"}


def _midi(tracks: list[Track], bars: int = 8) -> bytes:
    return write(Clip(bars, tuple(tracks), bpm=110))


def test_doubled_parts_are_left_out() -> None:
    lead = Track(tuple(scale(32)), instrument="synth_lead", name="a")
    shifted = Track(tuple(n._replace(onset_ticks=n.onset_ticks + 20, velocity=50) for n in scale(30)), instrument="synth_lead", name="b")
    other = Track(tuple(n._replace(pitch=n.pitch - 24) for n in scale(32)), instrument="electric_bass", name="c")
    song = freedoom.convert(Item("freedoom/x", _midi([lead, shifted, other])))
    assert [t.name for t in song.tracks] == ["a", "c"]
    assert song.genre == "ambient"  # there are no drums


def test_notes_off_the_beat_are_bad_data() -> None:
    adrift = tuple(Note(i * 487 + 60, 60, 200, 80) for i in range(0, 200))
    with pytest.raises(BadData, match="beats"):
        freedoom.convert(Item("freedoom/x", _midi([Track(adrift, instrument="synth_lead")], 52)))
