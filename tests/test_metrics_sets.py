"""Figures of sets of clips: against scipy, scikit-learn and obvious loops; and more damage is a worse figure."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from musediff.clip import Clip, Note
from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.metrics import distribution
from musediff.metrics.classifier import folds, scores, tell_apart
from musediff.metrics.copying import Index
from musediff.metrics.ranking import auc, spearman
from musediff.metrics.repair import damage
from musediff.metrics.traits import traits
from tests.random_clips import clip_of, random_clips
from tests.token_clips import any_clips

# --- ranks


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
@settings(max_examples=150, deadline=None)
def test_ranks_say_what_scipy_and_scikit_learn_say(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, float).T
    varied = len(set(x)) > 1 and len(set(y)) > 1
    expected = spearmanr(x, y).statistic if varied else math.nan
    assert spearman(x, y) == pytest.approx(expected, nan_ok=True)
    positive = y > 3
    one_kind = positive.all() or not positive.any()
    assert auc(x, positive) == pytest.approx(math.nan if one_kind else roc_auc_score(positive, x), nan_ok=True)


# --- copying


def index_of(songs: list[list[Note]], runs: tuple[int, ...] = (9, 13, 14)) -> Index:
    rows = [(note.onset_ticks, note.pitch, track) for track, notes in enumerate(songs) for note in sorted(notes)]
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Index.of(columns[0], columns[1], columns[2], runs)


def line(seed: int, length: int) -> list[Note]:
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.integers(1, 5, length)) * 120
    return [Note(int(t), int(p), 100, 64) for t, p in zip(onsets, rng.integers(55, 80, length), strict=True)]


def test_copies_are_found_in_every_transposition_and_only_from_the_given_length() -> None:
    song, other = line(11, 40), line(12, 40)
    tune = song[5:18]
    assert len(tune) == 13
    moved = [n._replace(onset_ticks=n.onset_ticks + 1920, pitch=n.pitch + 5, velocity=9) for n in tune]
    index = index_of([other, song])
    assert index.copied(moved, 13) and index.copied(moved, 9) and not index.copied(moved, 14)
    assert not index.copied(moved[1:], 13), "a note less is no run"
    assert not index.copied([n._replace(pitch=n.pitch + (i == 6)) for i, n in enumerate(moved)], 13)
    assert not index.copied([n._replace(onset_ticks=n.onset_ticks + 20 * (i > 6)) for i, n in enumerate(moved)], 9)
    assert index_of([other, song]).rates([moved, line(13, 20)])[13] == 0.5
    below = [n._replace(pitch=n.pitch - 12) for n in moved]
    assert index.copied(sorted([*moved, *below]), 13), "the top line counts"


def test_runs_do_not_cross_from_one_track_to_the_next() -> None:
    song = line(1, 26)
    halves = [song[:13], song[13:]]
    assert index_of(halves).copied(song[:13], 13) and index_of([song]).copied(song[6:20], 14)
    assert not index_of(halves).copied(song[6:20], 9)
    assert not index_of([]).copied(song, 9) and not index_of([song]).copied([], 9) and not index_of([[song[0]]]).copied(song, 9)


@given(st.integers(0, 10_000), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_runs_equal_the_obvious_sets(seed: int, run: int) -> None:
    """Few steps and few pitches, so that short runs are often the same by chance."""
    rng = np.random.default_rng(seed)
    songs = [[Note(int(t) * 240, int(p), 100, 64) for t, p in zip(range(12), rng.integers(60, 62, 12), strict=True)] for _ in range(4)]

    def runs(notes: list[Note]) -> set[tuple[tuple[int, int], ...]]:
        steps = [(b.onset_ticks - a.onset_ticks, b.pitch - a.pitch) for a, b in pairwise(notes)]
        return {tuple(steps[i : i + run - 1]) for i in range(len(steps) - run + 2)}

    *known, new = songs
    assert index_of(known, (run,)).copied(new, run) == bool(runs(new) & set().union(*map(runs, known)))


# --- the classifier


def test_a_song_is_in_one_fold_and_folds_are_alike() -> None:
    songs = [0] * 30 + [1] * 5 + [*range(2, 40)] * 2
    found = folds(songs)
    assert all(len(set(found[np.array(songs) == song].tolist())) == 1 for song in set(songs))
    assert np.bincount(found).min() >= 15 and len(np.bincount(found)) == 5


def test_the_score_of_a_song_comes_from_the_others() -> None:
    rng = np.random.default_rng(1)
    values, fold = rng.normal(size=(60, 4)), np.arange(60) % 5
    kinds = rng.random(60) < 0.5
    lied = np.where(fold == 2, ~kinds, kinds)
    before, after = scores(values, kinds, fold), scores(values, lied, fold)
    assert np.array_equal(before[fold == 2], after[fold == 2]) and not np.array_equal(before[fold == 3], after[fold == 3])
    assert not scores(values, np.zeros(60, bool), fold).any() and not scores(np.ones((60, 2)), kinds, fold).any()


def test_sets_are_told_apart_by_what_differs() -> None:
    real, other = ([clip_of(notes) for notes in random_clips(seed, 80)] for seed in (1, 2))
    songs = [*range(80), *range(80)]
    assert tell_apart(traits(real), traits(other), songs).auc == pytest.approx(0.5, abs=0.13)
    loud = [replace(c, tracks=(replace(c.tracks[0], notes=tuple(n._replace(velocity=64) for n in c.tracks[0].notes)),)) for c in other]
    told = tell_apart(traits(real), traits(loud), songs)
    assert told.auc > 0.98 and {name for name, _ in told.by[:2]} <= {"velocity spread", "velocity step", "velocities"}
    assert told.by[0][1] == 0, "less of it in the second set"


@given(st.lists(any_clips(), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_clips_have_traits(clips: list[Clip]) -> None:
    found = traits(clips)
    assert all(values.shape == (len(clips),) and np.isfinite(values).all() for values in found.values())
    told = tell_apart(found, found, [*range(len(clips))] * 2)
    assert 0 <= told.auc <= 0.5 and all(value == 0.5 for _, value in told.by)


def test_traits_do_not_hear_transpositions() -> None:
    clips = [clip_of(notes) for notes in random_clips(3, 5)]
    higher = [clip_of([n._replace(pitch=n.pitch + 5) for n in clip.tracks[0].notes]) for clip in clips]
    a, b = traits(clips), traits(higher)
    assert len(a) > 80 and all(np.allclose(a[name], b[name]) for name in a)


# --- more damage, worse figures


@pytest.fixture(scope="module")
def halves(data: Path) -> tuple[list[Clip], list[Clip]]:
    """Real accompaniments, every other one."""
    store = packed.load(data)
    clips = [clip_at(store, [row]) for row in np.flatnonzero((store.clip_role == 2) & (store.clip_bars <= 8)).tolist()]
    assert len(clips) > 120
    return clips[::2], clips[1::2]


def damaged(clips: list[Clip], way: Callable[[Note, Clip, np.random.Generator], Note], share: float) -> list[Clip]:
    out = []
    for i, clip in enumerate(clips):
        rng = np.random.default_rng(i)
        notes = [way(note, clip, rng) if rng.random() < share else note for note in clip.tracks[0].notes]
        out.append(replace(clip, tracks=(replace(clip.tracks[0], notes=tuple(sorted(notes))),)))
    return out


def anything(clips: list[Clip], share: float) -> list[Clip]:
    rng = np.random.default_rng(1)
    notes = [damage(clip.tracks[0].notes, rng, share, clip.bar_ticks)[0] for clip in clips]
    return [replace(clip, tracks=(replace(clip.tracks[0], notes=new),)) for clip, new in zip(clips, notes, strict=True)]


def nearby(note: Note, clip: Clip, rng: np.random.Generator) -> Note:
    return note._replace(pitch=note.pitch + int(rng.choice([-4, -3, -2, -1, 1, 2, 3, 4])))


def elsewhere(note: Note, clip: Clip, rng: np.random.Generator) -> Note:
    onset = note.onset_ticks - note.onset_ticks % clip.bar_ticks + int(rng.integers(clip.bar_ticks // 120)) * 120
    return note._replace(onset_ticks=onset, duration_ticks=min(note.duration_ticks, clip.end_ticks - onset))


def figures(real: list[Clip], made: list[Clip]) -> dict[str, float]:
    a, b = (distribution.features([clip.tracks[0].notes for clip in clips]) for clips in (real, made))
    size = min(len(real), len(made))
    return {
        "oa": float(np.mean(list(distribution.overlapped_area(a, b).values()))),
        "oa_distances": float(np.mean(list(distribution.overlapped_distances(a, b).values()))),
        "fd": distribution.frechet_distance(a, b),
        "c2st": tell_apart(traits(real[:size]), traits(made[:size]), [*range(size)] * 2).auc,
    }


def test_more_damage_is_a_worse_figure(halves: tuple[list[Clip], list[Clip]]) -> None:
    real, other = halves
    rows = [figures(real, anything(other, share) if share else other) for share in (0, 0.1, 0.2, 0.4)]
    for name, sign in (("oa", -1), ("oa_distances", -1), ("fd", 1)):
        values = [sign * row[name] for row in rows]
        assert values == sorted(values) and values[0] < values[1] < values[3], (name, values)
    assert rows[0]["c2st"] < 0.65 and min(row["c2st"] for row in rows[1:]) > 0.95
    assert rows[0]["oa"] > 0.85 and rows[0]["oa_distances"] > 0.9


def test_the_classifier_hears_rhythm_where_areas_do_not(halves: tuple[list[Clip], list[Clip]]) -> None:
    real, other = halves
    plain, late, off = figures(real, other), figures(real, damaged(other, elsewhere, 0.2)), figures(real, damaged(other, nearby, 0.2))
    assert abs(plain["oa_distances"] - late["oa_distances"]) < 0.05 and late["c2st"] > plain["c2st"] + 0.2
    assert off["oa"] < plain["oa"] - 0.05 and off["fd"] > plain["fd"] and off["c2st"] > 0.85
