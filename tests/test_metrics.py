"""Control, distribution and repair metrics: hand-counted cases, an integral done the slow way, and their edges."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD, NO_CHORD, chord_id
from musediff.clip import BAR_TICKS, KEY_INDEX, KEYS, META_FIELDS, TIME_SIGNATURES, Clip, Meta, Note, scale_of
from musediff.metrics import control, distribution
from musediff.metrics.compare import compare, describe
from musediff.metrics.repair import damage, detection_f1, note_f1, slips
from musediff.metrics.similarity import COMPONENTS
from musediff.metrics.table import table
from musediff.tokens import commu, vocab
from tests.random_clips import clip_of, random_clips
from tests.token_clips import any_clips

# --- control


def scale_clip() -> Clip:
    """C major up and down over C | G7, one note off the scale, a last bar without a chord."""
    chords = (chord_id("C"),) * 8 + (chord_id("G7"),) * 8 + (NO_CHORD,) * 4 + (ANY_CHORD,) * 4
    pitches = (60, 62, 64, 65, 67, 65, 62, 61, 60, 60)
    notes = [Note(i * 480, pitch, 480, 60 + i) for i, pitch in enumerate(pitches)]
    return clip_of(notes, 3, key="cmajor", chords=chords)


def test_shares_of_chord_and_key() -> None:
    clip = scale_clip()
    notes = clip.tracks[0].notes
    assert control.chord_tone_ratio(notes, clip) == pytest.approx(5 / 8)  # 60 64 over C; 67 65 62 over G7; N.C. left out
    assert control.in_key_share(notes, "cmajor") == pytest.approx(0.9)
    assert control.in_key_share(notes, "aminor") == pytest.approx(0.9)
    assert control.harmony_control(notes, clip) == pytest.approx(0.9)
    assert control.harmony_misses(notes, clip) == (10, 1)
    assert control.harmony_misses(notes, replace(clip, key=None)) == (8, 3), "where neither chord nor key is known nothing is counted"
    assert math.isnan(control.harmony_control(notes, clip_of(list(notes), 3)))
    assert control.density(notes, 3) == pytest.approx(10 / 3)
    assert math.isnan(control.chord_tone_ratio(notes[8:], clip))
    assert math.isnan(control.chord_tone_ratio((), clip))
    assert math.isnan(control.chord_tone_ratio(notes, clip_of(list(notes), 3)))


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_seven_tones_with_its_tonic(key: str) -> None:
    assert len(set(scale_of(key))) == 7
    assert KEY_INDEX[key] % 12 == scale_of(key)[0]


def test_asked_versus_got() -> None:
    clip = scale_clip()
    meta = Meta(
        bpm=100, audio_key="cmajor", time_signature="4/4", pitch_range="mid", num_measures=3, min_velocity=60, max_velocity=69,
        rhythm="standard", chord_progression=clip.chords, track_role="bass",
    )  # fmt: skip
    rows = {row.field: row for row in control.asked_vs_got(meta, clip)}
    assert tuple(rows) == (*META_FIELDS, "density")
    assert {name for name, row in rows.items() if row.ok is False} == set()
    assert {name for name, row in rows.items() if row.ok is None} == {"inst", "genre", "track_role", "density"}
    assert rows["chord_progression"].got == "62% chord tones, 90% in chord or key"
    assert (rows["min_velocity"].asked, rows["min_velocity"].got) == ("60", "60")
    wrong = Meta(
        bpm=101, audio_key="f#major", time_signature="3/4", pitch_range="low", num_measures=4, min_velocity=61, max_velocity=68,
        rhythm="triplet", chord_progression=(0,) * 24, inst="harp",
    )  # fmt: skip
    assert all(row.ok is False for row in control.asked_vs_got(wrong, clip) if row.asked != "any")
    assert all(row.ok is None for row in control.asked_vs_got(Meta(), clip))


def test_asked_versus_got_of_a_clip_without_notes() -> None:
    meta = Meta(pitch_range="mid", min_velocity=3, audio_key="cmajor", bpm=100)
    rows = {row.field: row for row in control.asked_vs_got(meta, clip_of([]))}
    assert [rows[name].ok for name in ("pitch_range", "min_velocity", "audio_key", "bpm")] == [False, False, False, True]
    assert rows["density"].got == "0.0 notes per bar"


def note_at(pitch: int = 60, velocity: int = 64) -> Note:
    return Note(0, pitch, 240, velocity)


def test_mean_pitches_between_two_ranges_miss_both() -> None:
    assert control.pitch_misses([note_at(35), note_at(36)], "very_low") == (1, 1) == control.pitch_misses([note_at(35), note_at(36)], "low")
    assert control.pitch_misses([note_at(35), note_at(35)], "very_low") == (1, 0)
    assert control.pitch_misses([note_at(36), note_at(47)], "low") == (1, 0)
    assert control.pitch_misses([note_at(0)], None) == (1, 0), "an unknown range is never missed"
    assert control.pitch_misses([], "mid") == (1, 1)
    found = control.summed([control.Count(1, 1), control.Count(3, 0)])
    assert found == (4, 1) and found.share == 0.25
    assert math.isnan(control.summed([]).share)


@given(st.integers(1, 127), st.integers(1, 127), st.lists(st.integers(1, 127), max_size=9))
@settings(max_examples=200, deadline=None)
def test_velocities_miss_limits_as_their_tokens_do(low: int, high: int, velocities: list[int]) -> None:
    """The original compares ids: a limit's is 654 or more, a velocity's 131 or more, and 524 lies between."""
    clip = clip_of([])
    clip = replace(clip, tracks=(replace(clip.tracks[0], min_velocity=low, max_velocity=high),))
    first, last = (int(token) - 524 for token in commu.prefix(clip)[7:9])
    wrong = sum(not first <= vocab.velocity_token(v) <= last for v in velocities)
    assert control.velocity_misses([note_at(velocity=v) for v in velocities], low, high) == (len(velocities), wrong)
    assert control.velocity_misses([note_at(velocity=v) for v in velocities], None, None) == (len(velocities), 0)


# --- sets of clips


@given(st.lists(any_clips(), min_size=1, max_size=6), st.lists(any_clips(), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_sets_of_any_clips_have_figures(clips: list[Clip], reference: list[Clip]) -> None:
    figures = compare(clips, [clip.meta() for clip in clips], reference, {0: 0})
    assert figures.clips == len(clips) and figures.pairs == 1 and figures.nearest_clips == min(len(clips), len(reference))
    assert figures.empty == sum(not clip.tracks[0].notes for clip in clips)
    assert figures.velocity.total <= sum(len(clip.tracks[0].notes) for clip in clips)
    shares = (figures.msim_across, figures.msim_pairs.product, 0.5 if figures.nearest_clips == 1 else figures.nearest.product)
    assert all(-1e-6 <= value <= 1 + 1e-5 for value in shares)
    assert math.isnan(figures.nearest.product) == (figures.nearest_clips == 1), "two clips are always each other's neighbours"
    assert json.loads(json.dumps(figures.to_dict(), allow_nan=False))["clips"] == len(clips)
    assert "clips (without notes)" in table({"a": describe(reference, [Meta()] * len(reference)), "b": figures}, "a")


def test_a_set_beside_itself() -> None:
    clips = [clip_of(notes) for notes in random_clips(3, 12)]
    asked = [Meta(pitch_range="mid", max_velocity=60)] * 6 + [Meta()] * 6
    figures = compare(clips, asked, clips, {i: i for i in range(12)})
    assert figures.msim_pairs.product == pytest.approx(1, abs=1e-5) and figures.nearest.product == 0
    assert figures.pitch.total == 6 and figures.velocity.total == 6 * 24, "only what was asked counts"
    assert figures.msim_within < figures.msim_across < 1
    assert math.isnan(figures.chord_tones) and "chord tones" not in table({"a": figures}, "b")


def test_of_sets_of_two_sizes_as_many_clips_are_compared() -> None:
    many, few = ([clip_of(notes) for notes in random_clips(seed, count)] for seed, count in ((4, 40), (5, 9)))
    figures = compare(many, [Meta()] * 40, few, {})
    assert figures.nearest_clips == 9 and 0 <= figures.nearest.product <= 1 and figures.pairs == 0
    assert math.isnan(figures.msim_pairs.product) and figures.to_dict()["msim_pairs"] == dict.fromkeys(COMPONENTS)


# --- distribution


def test_overlapped_area_and_frechet_distance_grow_with_the_difference() -> None:
    real, other, far = (distribution.features(random_clips(*args)) for args in ((8, 80), (9, 80), (10, 80, 20, 110)))
    same, apart = (distribution.overlapped_area(real, x) for x in (other, far))
    assert set(same) == set(real)
    assert len(same) == 9
    assert all(0 <= area <= 1.001 for area in (*same.values(), *apart.values()))
    assert min(same.values()) > 0.85
    assert apart["pitch_range"] < 0.2
    assert distribution.frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    assert 0 < distribution.frechet_distance(real, other) < 3 < distribution.frechet_distance(real, far)


def test_overlap_equals_an_integral_over_kernels() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 60), rng.normal(1, 2, 50)
    grid = np.linspace(-15, 18, 20_001)

    def density(x: np.ndarray) -> np.ndarray:
        width = x.std(ddof=1) * len(x) ** -0.2
        return np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2).mean(axis=1) / (width * np.sqrt(2 * np.pi))

    expected = np.minimum(density(a), density(b)).sum() * (grid[1] - grid[0])
    assert distribution._shared_area(a, b) == pytest.approx(expected, abs=2e-3)
    assert distribution._shared_area(np.ones(5), np.ones(9)) == pytest.approx(1)
    assert distribution._shared_area(np.ones(5), np.full(9, 2.0)) == pytest.approx(0, abs=1e-9)


def test_sets_that_do_not_vary_may_differ() -> None:
    low, high = ([[Note(0, pitch, 480, 64), Note(480, pitch, 480, 64)]] * 3 for pitch in (60, 61))
    areas = distribution.overlapped_area(*map(distribution.features, (low, high)))
    assert areas["note_count"] == 1 and areas["pitch_classes"] == pytest.approx(0, abs=1e-9)


def test_a_distance_of_one_feature() -> None:
    """Only the number of notes varies: two sets with the same spread, four notes apart."""
    few, many = ([[Note(480 * i, 60, 480, 64) for i in range(n)] for n in numbers] for numbers in ((4, 8), (8, 12)))
    assert distribution.frechet_distance(*map(distribution.features, (few, many))) == pytest.approx((4 / 2) ** 2)


def test_features_of_clips_without_notes() -> None:
    empty = distribution.features([[], [], [Note(0, 60, 480, 64)]])
    assert all(np.isfinite(rows).all() for rows in empty.values())
    assert math.isfinite(distribution.frechet_distance(empty, empty))
    assert all(math.isfinite(area) for area in distribution.overlapped_area(empty, empty).values())


def test_entropy_and_groove() -> None:
    assert distribution.pitch_class_entropy([Note(i, 60 + i, 1, 1) for i in range(12)]) == pytest.approx(math.log2(12))
    assert distribution.pitch_class_entropy([Note(0, 60, 1, 1), Note(0, 72, 1, 1)]) == 0
    assert distribution.pitch_class_entropy([]) == 0
    bar = [Note(t, 60, 60, 64) for t in (0, 480, 960)]
    twice = bar + [n._replace(onset_ticks=n.onset_ticks + 1440) for n in bar]
    assert distribution.groove_similarity(twice, 2, 1440) == 1
    assert distribution.groove_similarity(bar, 2, 1440) == pytest.approx(9 / 12)
    assert math.isnan(distribution.groove_similarity(bar, 1, 1440))


# --- repair


def test_note_f1() -> None:
    truth = [Note(0, 60, 480, 64), Note(480, 62, 480, 64), Note(480, 65, 480, 64)]
    found = [Note(0, 60, 240, 1), Note(485, 62, 480, 64), Note(480, 65, 480, 64), Note(480, 65, 480, 64)]
    assert note_f1(found, truth) == (2 / 4, 2 / 3, pytest.approx(4 / 7))
    assert note_f1(found, truth, tolerance_ticks=10).recall == 1
    assert note_f1(found, truth, tolerance_ticks=10, with_duration=True).recall == pytest.approx(2 / 3)
    assert note_f1(truth, truth, with_duration=True).f1 == 1
    assert (note_f1([], []).f1, note_f1([], truth).f1, note_f1(truth, []).f1) == (1, 0, 0)


def test_detection_f1() -> None:
    assert detection_f1([1, 2, 3], {2, 3, 4, 5}) == (2 / 3, 0.5, pytest.approx(4 / 7))
    assert detection_f1(set(), set()).f1 == 1
    assert detection_f1({1}, set()).f1 == 0


@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from(TIME_SIGNATURES))
@settings(max_examples=60, deadline=None)
def test_damage_changes_its_share_and_keeps_positions(seed: int, share: float, metre: str) -> None:
    notes = sorted({(n.onset_ticks, n.pitch): n for n in random_clips(seed, 1)[0]}.values())
    broken, wrong = damage(notes, np.random.default_rng(seed), share, BAR_TICKS[metre])
    assert len(wrong) == round(share * len(notes))
    assert list(broken) == sorted(broken)
    assert sorted(n.onset_ticks for n in broken) == [n.onset_ticks for n in notes]
    assert len({(n.onset_ticks, n.pitch) for n in broken}) == len(notes)
    assert all(note in notes for i, note in enumerate(broken) if i not in wrong)
    assert all(1 <= n.duration_ticks <= max(BAR_TICKS[metre], 240) and 0 <= n.pitch <= 127 and 2 <= n.velocity <= 127 for n in broken)
    assert damage(notes, np.random.default_rng(seed), share, BAR_TICKS[metre]) == (broken, wrong)


def test_damage_draws_from_everything() -> None:
    notes = [Note(i * 15, 60, 100, 64) for i in range(4000)]
    broken, wrong = damage(notes, np.random.default_rng(0), 1.0, 1920)
    assert len(wrong) == 4000
    assert {n.pitch for n in broken} == set(range(128))
    assert {n.duration_ticks for n in broken} == {15 * i for i in range(1, 129)}
    assert {n.velocity for n in broken} == {2, *range(3, 128, 2)}
    assert damage([], np.random.default_rng(0), 0.5, 1920) == ((), frozenset())


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_slips_move_only_pitches_and_only_a_little(seed, share):
    rng = np.random.default_rng(seed)
    notes = tuple(sorted({Note(int(rng.integers(0, 8)) * 240, int(rng.integers(0, 128)), 240, 70): 0 for _ in range(12)}))
    broken, bad = slips(notes, rng, share)
    assert list(broken) == sorted(broken) and len(set(broken)) == len(broken) == len(notes)
    assert set(notes) - set(broken) == set(notes) - {note for k, note in enumerate(broken) if k not in bad}
    assert len(bad) == round(share * len(notes))
    assert sorted(n._replace(pitch=0) for n in broken) == sorted(n._replace(pitch=0) for n in notes)
    assert all(any(0 < abs(broken[k].pitch - n.pitch) <= 4 and n._replace(pitch=broken[k].pitch) == broken[k] for n in notes) for k in bad)
