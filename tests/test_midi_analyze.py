"""Analysis: labels of our own files come back, labels of real files are found, and what is assumed is said."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from musediff.chords import EXACT, FOLDED, NO_CHORD, QUALITIES, chord_id, split_root
from musediff.clip import INSTRUMENT_PROGRAM, INSTRUMENTS, KEY_INDEX, Clip, Note, Track
from musediff.errors import BadMidi, BadRequest
from musediff.midi.analyze import Analysis, analyze, track_infos
from musediff.midi.grid import bar_grid, nearest_metre
from musediff.midi.read import read
from musediff.midi.roles import roles
from musediff.midi.score import Score, ScoreTrack
from musediff.midi.write import write

ASSETS = Path(__file__).parent / "assets"
SAMPLE = ASSETS / "sample"


def score_of(*parts: ScoreTrack, tempos=((0, 100.0),), metres=((0, 4, 4),), keys=()) -> Score:
    end = max(n.onset_ticks + n.duration_ticks for p in parts for n in p.notes)
    return Score(parts, tuple(tempos), tuple(metres), tuple(keys), (), (), end, ())


def line(bars: int = 4, start: int = 0, step: int = 480, pitch: int = 72, bar: int = 1920) -> tuple[Note, ...]:
    """A tune with a bar line to be heard: steps of a scale."""
    scale = (0, 2, 4, 5, 7, 9, 11)
    return tuple(Note(start + i * step, pitch + scale[i * 3 % 7], step - 60, 70 + i % 20) for i in range(bars * bar // step))


def waltz(bars: int, start: int = 0, beats: int = 3) -> tuple[Note, ...]:
    """Low root on one, chords on the other beats, a new chord every bar."""
    notes = []
    for bar in range(bars):
        root = (48, 53, 55, 45)[bar % 4]
        begin = start + bar * beats * 480
        notes.append(Note(begin, root - 12, 480, 90))
        notes += [Note(begin + b * 480, root + step, 400, 60) for b in range(1, beats) for step in (0, 4 if root != 45 else 3, 7)]
    return tuple(sorted(notes))


def said(analysis: Analysis, words: str) -> bool:
    return any(words in sentence for sentence in analysis.notes)


@pytest.mark.parametrize("metre", ["4/4", "3/4", "6/8", "12/8"])
def test_own_file_comes_back_as_it_was(metre: str) -> None:
    """Silence at the start and the end, chords, key, metre, tempo and number of bars are all kept."""
    chords = tuple(chord_id(name) for name in ("Am", "E7"))
    per_bar = {"4/4": 8, "3/4": 6, "6/8": 6, "12/8": 12}[metre]
    tune = Track(
        tuple(Note(960 + i * 240, 60 + i, 200, 64 + i) for i in range(8)), "sub_melody", "ukulele", "mid", 64, 71, "sub_melody ukulele"
    )
    bass = Track((Note(3000, 33, 100, 50),), "bass", "synth_bass", "very_low", 50, 50, "bass synth_bass")
    clip = Clip(5, (tune, bass), metre, 133, "aminor", rhythm="standard", chords=(chords * 5 * per_bar)[: 5 * per_bar])
    analysis = analyze(read(write(clip)), tracks=(0, 1))
    assert analysis.clip == clip
    assert analysis.notes == ()


@pytest.mark.parametrize("song", ["049", "250", "420"])
def test_labels_of_a_real_song(song: str) -> None:
    """Key, tempo and metre as annotated, the melody chosen, and most chords (0.86 of the half beats over many songs)."""
    lines = (SAMPLE / "pop909_annotations.jsonl").read_text().splitlines()
    about = next(a for a in map(json.loads, lines) if a["id"] == song)
    score = read((SAMPLE / song / f"{song}.mid").read_bytes())
    analysis = analyze(score)
    clip = analysis.clip
    assert clip.tracks[0].role == "main_melody"
    assert clip.tracks[0].name.strip() == "MELODY"
    assert clip.time_signature == about["time_signature"]
    assert abs(clip.bpm - about["bpm"]) <= 1
    tonic, mode = about["keys"][0][1:]
    assert clip.key is not None
    assert KEY_INDEX[clip.key] == tonic + 12 * (mode == "minor")
    assert [i.role for i in track_infos(score)] == ["main_melody", "sub_melody", "accompaniment"]
    assert chord_accuracy(score, clip, about) > 0.65


def chord_accuracy(score: Score, clip: Clip, about: dict) -> float:
    """Share of labelled half beats with the annotated chord. The first note of the tune tells where the clip lies in the song."""
    melody = next(t for t in score.tracks if t.name.strip() == "MELODY")
    start = melody.notes[0].onset_ticks - clip.tracks[0].notes[0].onset_ticks - about["tick_offset"]
    assert clip.chords is not None
    right = total = 0
    for begin, end, label in about["chords"]:
        root, _, quality = label.partition(":")
        quality = quality.partition("/")[0]
        name = EXACT.get(quality, FOLDED.get(quality))
        found = split_root(root)
        wanted = NO_CHORD if found is None else found[0] * 9 + QUALITIES.index(name or "")
        steps = range(-(-(begin - start - 120) // 240), -(-(end - start - 120) // 240))
        heard = [clip.chords[step] for step in steps if 0 <= step < len(clip.chords)]
        right, total = right + heard.count(wanted), total + len(heard)
    assert total > 100
    return right / total


def test_every_field_is_inferred() -> None:
    clip = analyze(score_of(ScoreTrack("", 73, False, line()), tempos=((0, 88.0),))).clip
    meta = clip.meta()
    assert meta.inst == "flute"
    assert meta.genre is None
    assert (meta.bpm, meta.time_signature, meta.num_measures, meta.rhythm, meta.track_role) == (88, "4/4", 4, "standard", "main_melody")
    assert (meta.min_velocity, meta.max_velocity, meta.pitch_range) == (70, 85, "mid_high")
    assert meta.audio_key == "cmajor"
    assert meta.chord_progression is not None
    assert len(meta.chord_progression) == 32


def test_silence_before_is_left_out_and_said() -> None:
    analysis = analyze(score_of(ScoreTrack("", 0, False, line(2, start=3 * 1920))))
    assert analysis.clip.num_measures == 2
    assert analysis.clip.tracks[0].notes[0].onset_ticks == 0
    assert said(analysis, "3 bars of silence")


def test_early_note_begins_its_bar() -> None:
    early = (Note(1900, 60, 460, 80), *line(2, start=1920 + 480)[:7])
    clip = analyze(score_of(ScoreTrack("", 0, False, early))).clip
    assert clip.tracks[0].notes[0] == Note(0, 60, 440, 80)
    assert clip.num_measures == 2


def test_pick_up_bar_is_filled_from_the_left() -> None:
    """A first bar of 1/4 before bars of 3/4: the upbeat lands on the third beat."""
    tune = (Note(0, 60, 400, 80), *line(4, start=480, bar=1440))
    analysis = analyze(score_of(ScoreTrack("", 0, False, tune), metres=((0, 1, 4), (480, 3, 4))))
    assert analysis.clip.time_signature == "3/4"
    assert [n.onset_ticks for n in analysis.clip.tracks[0].notes[:2]] == [960, 1440]
    assert analysis.clip.num_measures == 5


def test_at_most_64_bars_are_kept_and_the_rest_can_be_had() -> None:
    score = score_of(ScoreTrack("", 0, False, line(100)))
    first, second = analyze(score), analyze(score, first_bar=64)
    assert (first.clip.num_measures, second.clip.num_measures) == (64, 36)
    assert said(first, "Bars 1 to 64 of 100")
    assert len(first.clip.tracks[0].notes) + len(second.clip.tracks[0].notes) == 400
    assert analyze(score, max_bars=8).clip.num_measures == 8
    with pytest.raises(BadRequest, match="bars 1 to 100"):
        analyze(score, first_bar=100)


def test_note_over_the_end_is_cut() -> None:
    analysis = analyze(score_of(ScoreTrack("", 0, False, (*line(3), Note(5700, 80, 300, 80)))), max_bars=2)
    assert analysis.clip.num_measures == 2
    held = analyze(score_of(ScoreTrack("", 0, False, (Note(0, 60, 1920 + 100, 80),))))
    assert held.clip.num_measures == 1
    assert held.clip.tracks[0].notes == (Note(0, 60, 1920, 80),)
    assert said(held, "1 note was cut")


def test_tempo_is_the_median_of_the_time() -> None:
    tempos = ((0, 60.0), (480, 120.0), (6000, 131.0), (6100, 30.0))
    analysis = analyze(score_of(ScoreTrack("", 0, False, line(4)), tempos=tempos))
    assert analysis.clip.bpm == 120
    assert said(analysis, "changes from 30 to 131 bpm")
    assert said(analyze(score_of(ScoreTrack("", 0, False, line(4)), tempos=())), "120 bpm is assumed")
    assert said(analyze(score_of(ScoreTrack("", 0, False, line(4)), tempos=((0, 999.0),))), "300 bpm is used")
    assert said(analyze(score_of(ScoreTrack("", 0, False, line(4)), tempos=((0, 97.5),))), "97.50 bpm is rounded to 98")


@pytest.mark.parametrize(
    ("number", "unit", "metre"),
    [
        (4, 4, "4/4"), (2, 4, "4/4"), (2, 2, "4/4"), (8, 8, "4/4"), (5, 4, "4/4"), (7, 8, "4/4"), (3, 4, "3/4"), (6, 4, "3/4"),
        (3, 2, "3/4"), (6, 8, "6/8"), (3, 8, "6/8"), (9, 8, "6/8"), (12, 8, "12/8"), (6, 16, "6/8"), (24, 16, "12/8"),
    ],
)  # fmt: skip
def test_nearest_metre(number: int, unit: int, metre: str) -> None:
    assert nearest_metre(number, unit) == metre
    grid = bar_grid(score_of(ScoreTrack("", 0, False, line(8)), metres=((0, number, unit),)))
    assert grid.time_signature == metre
    assert bool(grid.notes) == (f"{number}/{unit}" != metre)


def test_change_of_metre_is_said() -> None:
    analysis = analyze(score_of(ScoreTrack("", 0, False, line(16)), metres=((0, 4, 4), (7680, 7, 8), (9600, 3, 4))))
    assert said(analysis, "changes (4/4, 7/8, 3/4); bars of 3/4")


@pytest.mark.parametrize("beats", [3, 4])
def test_metre_is_heard_where_none_is_written(beats: int) -> None:
    analysis = analyze(score_of(ScoreTrack("", 0, False, waltz(24, beats=beats)), metres=()))
    assert analysis.clip.time_signature == f"{beats}/4"
    assert said(analysis, f"sound like {beats}/4")


@pytest.mark.parametrize("shift", [40, 100, 480, 960 + 77])
def test_tune_beside_the_grid_of_its_file_is_moved_onto_it(shift: int) -> None:
    """A recorder that counted from a moment of its own: the same notes come out as from the file in place."""
    accompaniment = ScoreTrack("", 0, False, waltz(24, start=shift, beats=4))
    metres = ((0, 1, 4),)
    moved = analyze(score_of(accompaniment, metres=metres))
    assert moved.clip.tracks[0].notes == waltz(24, beats=4)
    assert said(moved, "placed by ear")


def test_key_signature_stands_only_if_it_fits() -> None:
    tune = ScoreTrack("", 0, False, line(8))
    assert said(analyze(score_of(tune, keys=((0, 6),))), "key signature says F# major; the notes sound like C major")
    assert analyze(score_of(tune, keys=((0, 7),))).clip.key in ("cmajor", "gmajor")
    assert analyze(score_of(tune, keys=((0, None),))).clip.key == "cmajor"


def test_triplets_and_notes_off_the_grid() -> None:
    triplets = tuple(Note(i * 160, 60 + i % 5, 150, 80) for i in range(48))
    clip = analyze(score_of(ScoreTrack("", 0, False, triplets))).clip
    assert clip.rhythm == "triplet"
    assert clip.tracks[0].notes == triplets
    random = np.random.default_rng(1)
    loose = tuple(sorted(Note(int(t), 60, 50, 80) for t in random.integers(0, 7680, 200)))
    analysis = analyze(score_of(ScoreTrack("", 0, False, loose)))
    assert said(analysis, "off the grid")
    assert {n.onset_ticks for n in analysis.clip.tracks[0].notes} == {n.onset_ticks for n in loose}


def test_drums_alone_are_refused_unless_asked_for() -> None:
    score = read((ASSETS / "midi/broken/freedoom_dummy.mid").read_bytes())
    with pytest.raises(BadMidi, match="only drums"):
        analyze(score)
    part = analyze(score, tracks=(0,)).clip.tracks[0]
    assert (part.instrument, part.role) == ("drums_full", None)


def test_choice_of_track() -> None:
    tune = ScoreTrack("", 40, False, line(8))
    drums = ScoreTrack("kit", 0, True, tuple(Note(i * 120, 36, 60, 90) for i in range(256)))
    effect = ScoreTrack("solo lead", 80, False, (Note(0, 90, 240, 127),))
    analysis = analyze(score_of(drums, ScoreTrack("chords", 0, False, waltz(8, beats=4)), effect, tune))
    assert analysis.clip.tracks[0].notes == tune.notes
    assert said(analysis, "“track 4” was chosen (string_violin, sub_melody)")
    assert said(analyze(score_of(tune, drums)), "1 drum track is left out")
    assert analyze(score_of(tune)).notes == ()
    several = analyze(score_of(drums, tune), tracks=(1, 0)).clip
    assert [t.instrument for t in several.tracks] == ["string_violin", "drums_full"]
    for wrong in ((2,), (-1,), ()):
        with pytest.raises(BadRequest, match="tracks 1 to 2"):
            analyze(score_of(drums, tune), tracks=wrong)


def test_chords_come_from_all_tracks_but_drums() -> None:
    drums = ScoreTrack("", 0, True, tuple(Note(i * 240, 42, 60, 90) for i in range(32)))
    harmony = ((45, 57, 60, 64), (41, 53, 57, 60))
    chords = ScoreTrack("", 0, False, tuple(Note(bar * 1920, pitch, 1900, 80) for bar, chord in enumerate(harmony) for pitch in chord))
    tune = ScoreTrack("melody", 0, False, line(2, step=960))
    found = analyze(score_of(tune, chords, drums)).clip.chords
    assert found is not None
    assert {found[0], found[4]} == {chord_id("Am")}
    assert found[8] == found[12] == chord_id("F")


def test_roles_by_name_and_by_manner() -> None:
    tune, low = line(8), tuple(Note(i * 960, 36 + i % 5, 900, 80) for i in range(16))
    pad = tuple(Note(b * 1920, p, 1900, 60) for b in range(8) for p in (55, 60, 64))
    riff = tuple(Note(i * 240, (64, 67, 64, 71)[i % 4], 200, 90) for i in range(64))
    drums = ScoreTrack("bass drum", 0, True, low)
    by_manner = [ScoreTrack("", 0, False, notes) for notes in (tune, low, pad, riff, waltz(8, beats=4))]
    assert roles([*by_manner, drums], 1920) == ("main_melody", "bass", "pad", "riff", "accompaniment", None)
    by_name = [replace(track, name=name) for track, name in zip(by_manner, ("BRIDGE", "Lead", "chords", "Bass", "pad 2"), strict=True)]
    assert roles(by_name, 1920) == ("sub_melody", "main_melody", "accompaniment", "bass", "pad")
    assert roles([ScoreTrack("bassoon solo", 70, False, tune)], 1920) == ("main_melody",)


def test_every_program_has_an_instrument() -> None:
    for program in range(128):
        infos = track_infos(score_of(ScoreTrack("", program, False, line())))
        assert infos[0].instrument in INSTRUMENTS
        assert (infos[0].name, infos[0].num_notes, infos[0].is_drum) == ("track 1", 16, False)
        exact = program in {p for name, p in INSTRUMENT_PROGRAM.items() if not name.startswith(("drums", "perc"))}
        assert exact == (INSTRUMENT_PROGRAM[infos[0].instrument] == program)


@pytest.mark.parametrize("path", sorted((ASSETS / "midi").glob("[ph]*/*.mid")), ids=lambda p: p.stem)
def test_windows_of_a_real_file_join_without_loss(path: Path) -> None:
    score = read(path.read_bytes())
    for info in track_infos(score):
        whole = score.tracks[info.index].notes
        bars, onsets, first = [], [], 0
        while True:
            try:
                clip = analyze(score, (info.index,), first).clip
            except BadRequest:
                break
            bars.append(clip.num_measures)
            onsets += [n.onset_ticks + first * clip.bar_ticks for n in clip.tracks[0].notes]
            first += 64
        assert all(b == 64 for b in bars[:-1])
        assert len(whole) <= len(onsets) <= len(whole) + 64  # a note just before a window's first bar line is heard in both
        assert all(b - a < 20_000 for a, b in pairwise(sorted(onsets)) if len(whole) > 500)
