"""Promises of every engine, kept with any weights: legal clips, exact regions, calibrated ends, same seed same bytes."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musediff.clip import PITCH_RANGES, TIME_SIGNATURES, Clip, Meta
from musediff.engines.finishing import octave_shift
from musediff.engines.registry import ENGINES
from musediff.errors import BadCheckpoint, BadRequest
from musediff.pipeline import MusePipeline, Sampling
from tests.slots.conftest import make_clip

SLOW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


EDITORS = ("muse", "slots")  # the others compose and refuse to change a clip


@pytest.fixture(scope="module", params=sorted(ENGINES))
def composer(request: pytest.FixtureRequest) -> MusePipeline:
    return MusePipeline.tiny(request.param)


@pytest.fixture(scope="module", params=EDITORS)
def pipeline(request: pytest.FixtureRequest) -> MusePipeline:
    return MusePipeline.tiny(request.param)


@pytest.fixture(scope="module")
def slots() -> MusePipeline:
    return MusePipeline.tiny("slots")


def assert_legal(clip: Clip) -> None:
    for track in clip.tracks:
        assert len({note[:2] for note in track.notes}) == len(track.notes)
        for note in track.notes:
            assert 0 <= note.onset_ticks < clip.end_ticks
            assert 0 < note.duration_ticks <= clip.end_ticks - note.onset_ticks
            assert 0 <= note.pitch <= 127
            assert 1 <= note.velocity <= 127


@SLOW
@given(
    bars=st.integers(1, 12),
    time_signature=st.sampled_from(TIME_SIGNATURES),
    limits=st.tuples(st.integers(1, 127), st.integers(1, 127)).map(sorted),
    density=st.floats(-1, 1),
    seed=st.integers(0, 2**53),
    guidance=st.sampled_from((1.0, 2.0)),
)
def test_any_weights_make_a_legal_clip(
    composer: MusePipeline, bars: int, time_signature: str, limits: list[int], density: float, seed: int, guidance: float
) -> None:
    meta = Meta(num_measures=bars, time_signature=time_signature, min_velocity=limits[0], max_velocity=limits[1])
    made = composer.generate(meta, Sampling(seed=seed, steps=3, guidance=guidance, density=density)).clips[0]
    assert (made.num_measures, made.time_signature) == (bars, time_signature)
    assert_legal(made)
    assert all(limits[0] <= note.velocity <= limits[1] for note in made.tracks[0].notes)
    by_pitch = sorted(made.tracks[0].notes, key=lambda n: (n.pitch, n.onset_ticks))
    assert all(a.pitch != b.pitch or a.onset_ticks + a.duration_ticks <= b.onset_ticks for a, b in pairwise(by_pitch))


def test_same_seed_same_bytes_other_seed_other_clip(composer: MusePipeline) -> None:
    one, again, other = (composer.generate(Meta(num_measures=4), Sampling(seed=seed, variants=2, steps=4)) for seed in (5, 5, 6))
    assert [one.midi(i) for i in (0, 1)] == [again.midi(i) for i in (0, 1)]
    assert one.clips[0] != one.clips[1]
    assert one.clips[0] != other.clips[0]


@SLOW
@given(seed=st.integers(0, 10**6), first=st.integers(0, 3), length=st.integers(1, 2), strength=st.floats(0.05, 1), shift=st.integers(0, 39))
def test_outside_the_region_nothing_changes(
    pipeline: MusePipeline, seed: int, first: int, length: int, strength: float, shift: int
) -> None:
    clip = make_clip(seed % 7, bars=4, tracks=2)
    played = tuple(
        n._replace(onset_ticks=min(n.onset_ticks + shift, clip.end_ticks - 1), duration_ticks=1) for n in clip.tracks[0].notes
    )  # off the grid
    clip = replace(clip, tracks=(replace(clip.tracks[0], notes=played), clip.tracks[1]))
    bars = frozenset(range(first, min(4, first + length)))
    made = pipeline.modify(clip, strength, bars=bars, sampling=Sampling(seed=seed, steps=3)).clips[0]
    outside = lambda c: [n for n in c.tracks[0].notes if n.onset_ticks // c.bar_ticks not in bars]  # noqa: E731
    assert outside(made) == outside(clip)
    assert made.tracks[1] == clip.tracks[1]
    assert_legal(made)


def test_strength_zero_is_the_source_and_one_leaves_nothing_of_it(pipeline: MusePipeline) -> None:
    clip = make_clip(1, bars=4, per_bar=8)
    assert pipeline.modify(clip, 0.0, sampling=Sampling(seed=1)).clips[0] == clip
    new = pipeline.modify(clip, 1.0, sampling=Sampling(seed=1, steps=4)).clips[0]
    assert len(set(new.tracks[0].notes) & set(clip.tracks[0].notes)) <= 1  # random weights may hit a note by chance


def test_more_strength_changes_more(slots: MusePipeline) -> None:
    clip = make_clip(2, bars=8, per_bar=8)
    changed = [
        len(set(clip.tracks[0].notes) - set(slots.modify(clip, s, sampling=Sampling(seed=3, steps=4)).clips[0].tracks[0].notes))
        for s in (0.1, 0.4, 0.7, 1.0)
    ]
    assert changed == sorted(changed)
    assert changed[0] < changed[-1]


def test_only_the_fields_that_may_change_do(pipeline: MusePipeline) -> None:
    clip = make_clip(3)
    made = pipeline.modify(clip, 0.9, fields=frozenset({"dynamics"}), sampling=Sampling(seed=2, steps=4)).clips[0]
    assert [n[:3] for n in made.tracks[0].notes] == [n[:3] for n in clip.tracks[0].notes]
    assert made != clip
    made = pipeline.modify(clip, 0.9, fields=frozenset({"pitch"}), sampling=Sampling(seed=2, steps=4)).clips[0]
    rhythm = lambda c: {(n.onset_ticks, n.velocity) for n in c.tracks[0].notes}  # noqa: E731
    assert rhythm(made) <= rhythm(clip)  # two notes that are drawn alike become one
    assert len(rhythm(made)) > 0.5 * len(rhythm(clip))
    assert {n.pitch for n in made.tracks[0].notes} != {n.pitch for n in clip.tracks[0].notes}


def test_told_what_is_wrong_it_changes_that_and_nothing_else(pipeline: MusePipeline) -> None:
    clip = make_clip(6, tracks=2, per_bar=4)
    wrong = {0: {"pitch"}, 5: {"onset", "pitch", "duration", "velocity"}, 9: {"velocity"}}
    made = pipeline.repair(clip, wrong=wrong, sampling=Sampling(seed=3, steps=4)).clips[0]
    before, after = clip.tracks[0].notes, made.tracks[0].notes
    assert made.tracks[1] == clip.tracks[1]
    assert set(before) - set(after) == {before[i] for i in wrong}
    first = [note for note in after if (note.onset_ticks, note.duration_ticks, note.velocity) == (*before[0][::2], before[0].velocity)]
    assert [note.pitch for note in first] != [before[0].pitch]
    assert {n[:3] for n in after} >= {before[9][:3]}
    nothing = pipeline.repair(clip, wrong={}, sampling=Sampling(seed=3, steps=4))
    assert nothing.clips[0] == clip
    outside = pipeline.repair(clip, wrong=wrong, bars=frozenset({3}), sampling=Sampling(seed=3, steps=4)).clips[0]
    assert outside.tracks[0].notes[:10] == before[:10]


@pytest.mark.parametrize(
    ("wrong", "tracks", "message"),
    [({99: {"pitch"}}, (0,), "no note 99"), ({0: {"tone"}}, (0,), "'tone' is not known"), ({0: {"pitch"}}, (0, 1), "one track at a time")],
)
def test_what_is_wrong_must_be_there(slots: MusePipeline, wrong: dict[int, set[str]], tracks: tuple[int, ...], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        slots.start_repair(make_clip(6, tracks=2), wrong=wrong, tracks=tracks)


def test_a_further_track_leaves_the_given_ones_alone(composer: MusePipeline) -> None:
    clip = make_clip(4, tracks=2)
    made = composer.generate(Meta(track_role="bass"), Sampling(seed=1, steps=4), context=clip).clips[0]
    assert made.tracks[:2] == clip.tracks
    assert made.tracks[2].role == "bass"
    assert (made.num_measures, made.key, made.chords) == (clip.num_measures, clip.key, clip.chords)


def test_progress_is_legal_at_every_step_and_stop_keeps_what_there_is(pipeline: MusePipeline) -> None:
    job = pipeline.start_generate(Meta(num_measures=8), Sampling(seed=1, steps=8))  # eight steps, or eight bars
    seen = []
    for progress in job:
        assert_legal(progress.clips[0])
        seen.append(len(progress.clips[0].tracks[0].notes))
        if progress.step == 5:
            job.stop()
    assert len(seen) == 5
    assert seen[0] < seen[-1] or pipeline.engine_name == "muse"  # which draws all notes at once, from the first step on
    result = job.result()
    assert not result.complete
    assert len(result.clips[0].tracks[0].notes) == seen[-1]


def test_iterating_and_running_give_the_same(composer: MusePipeline) -> None:
    job = composer.start_generate(Meta(num_measures=2), Sampling(seed=9, steps=4))
    for _ in job:
        pass
    assert job.result().clips == composer.generate(Meta(num_measures=2), Sampling(seed=9, steps=4)).clips


def test_a_track_made_anew_goes_where_it_is_asked_to(pipeline: MusePipeline) -> None:
    made = pipeline.modify(make_clip(1), 1.0, meta=Meta(pitch_range="low"), sampling=Sampling(seed=1, steps=4)).clips[0]
    pitches = np.array([n.pitch for n in made.tracks[0].notes])
    assert octave_shift(pitches, "low") == 0  # nearer is not possible
    assert made.tracks[0].pitch_range == "low"


def test_changed_notes_do_not_collide_and_the_file_holds_what_is_shown(pipeline: MusePipeline) -> None:
    clip = make_clip(6, bars=8, per_bar=12)
    for fields in (frozenset({"pitch"}), frozenset({"rhythm", "pitch", "dynamics"})):
        made = pipeline.modify(clip, 0.9, fields=fields, sampling=Sampling(seed=4, steps=3)).clips[0]
        changed = set(made.tracks[0].notes) - set(clip.tracks[0].notes)
        places = [n[:2] for n in made.tracks[0].notes]
        assert changed
        assert all(places.count(n[:2]) == 1 for n in changed)


def test_a_bar_that_is_drawn_empty_is_empty(slots: MusePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(network, slots, hidden, bias, generator):
        return slots.counts_BRK * ~hidden

    monkeypatch.setattr("musediff.engines.slots.engine.sample_counts", nothing)
    clip = make_clip(0)
    made = slots.modify(clip, 1.0, bars=frozenset({2}), sampling=Sampling(seed=1, steps=2)).clips[0]
    assert made.tracks[0].notes == tuple(n for n in clip.tracks[0].notes if n.onset_ticks // clip.bar_ticks != 2)


def test_exact_doubles_outside_the_region_stay(pipeline: MusePipeline) -> None:
    clip = make_clip(0)
    doubled = replace(clip, tracks=(replace(clip.tracks[0], notes=tuple(sorted(clip.tracks[0].notes * 2))),))
    made = pipeline.modify(doubled, 1.0, bars=frozenset({0}), sampling=Sampling(seed=1, steps=2)).clips[0]
    outside = lambda c: [n for n in c.tracks[0].notes if n.onset_ticks >= c.bar_ticks]  # noqa: E731
    assert outside(made) == outside(doubled)


@pytest.mark.parametrize("pitch_range", sorted(PITCH_RANGES))
def test_a_new_track_is_moved_by_octaves_into_its_range(pitch_range: str) -> None:
    pitches = np.array([60, 64, 67, 72, 71])
    mean = pitches.mean() + octave_shift(pitches, pitch_range)
    first, last = PITCH_RANGES[pitch_range]
    assert first <= mean < last + 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, c: p.start_modify(c, 1.5), "strength"),
        (lambda p, c: p.start_modify(c, 0.5, bars=frozenset({9})), "1-4"),
        (lambda p, c: p.start_modify(c, 0.5, tracks=(3,)), "Tracks"),
        (lambda p, c: p.start_modify(c, 0.5, fields=frozenset({"colour"})), "colour"),
        (lambda p, c: p.start_generate(Meta(num_measures=4, time_signature="4/4", chord_progression=(0,) * 8)), "half beats"),
        (lambda p, c: Sampling(steps=0), "steps"),
        (lambda p, c: Sampling(variants=2.0), "whole"),
        (lambda p, c: p.start_modify(c, 0.5, meta=Meta(num_measures=16)), "num_measures"),
        (lambda p, c: p.start_modify(c, 0.5, meta=Meta(time_signature="3/4")), "time_signature"),
        (
            lambda p, c: p.start_generate(Meta(), Sampling(variants=8), context=make_clip(0, 64, tracks=2, per_bar=30)),
            "fewer",
        ),
        (lambda p, c: MusePipeline.load(engine="nothing"), "slots"),
    ],
)
def test_a_bad_request_is_refused_before_work_and_says_why(pipeline: MusePipeline, call, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        call(pipeline, make_clip())


def test_an_engine_without_bundled_weights_says_so() -> None:
    with pytest.raises(BadCheckpoint, match=r"No weights of the engine ar are in .*Give a folder"):
        MusePipeline.load(engine="ar")
