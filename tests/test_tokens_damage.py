"""Damage of notes: ours leaves the condition and the frame alone, the original's is reproduced draw by draw."""

import json
import random
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import chord_id
from musediff.clip import Clip, Note, Track
from musediff.errors import BadRequest
from musediff.tokens import commu, original_damage, vocab
from musediff.tokens.damage import CORRUPTIONS, Corruption, check, damage, damage_clip
from musediff.tokens.vocab import Kind
from tests.token_clips import any_clips

MANY = Clip(
    8, (Track(tuple(Note(i * 60 + 3, 40 + i % 40, 50, 30 + i % 70) for i in range(256))),), chords=tuple(chord_id("Am") for _ in range(64))
)


def test_the_recorded_damage_is_reproduced(shared: Path) -> None:
    folder = shared / "golden"
    pieces = {case["name"]: case["input_ids"] for case in json.loads((folder / "commu_cases.json").read_text("utf-8"))["cases"]}
    cases: list[dict[str, Any]] = json.loads((folder / "corruption_cases.json").read_text("utf-8"))
    assert {case["fn"][:3].rstrip(":") for case in cases} == {"mt", "mn", "rn", "rr", "all"}
    for case in cases:
        ids, rng = pieces[case["case"]], random.Random(case["seed"])
        found = original_damage.damage(ids, rng) if case["fn"].startswith("all") else original_damage.ORIGINAL[case["fn"]](ids, rng)
        assert found == case["out"], (case["case"], case["fn"], case["seed"])


def test_the_original_hides_chords_of_the_condition_and_cuts_notes_apart() -> None:
    encoded = commu.encode(MANY)
    ids, first = encoded.ids.tolist(), int(np.argmax(encoded.noised))
    hidden = original_damage.mask_tokens(ids, random.Random(1))
    assert 0 in hidden[:first] and hidden[first:] == ids[first:]
    uneven = [*ids[:first], 2, 2, 432, 150, 60, 320, 2, 440, 150, 60, 320, 448, 150, 60, 320, 1]
    swapped = [original_damage.swap_bars(uneven, random.Random(seed)) for seed in range(20)]
    assert all(Counter(one) == Counter(uneven) for one in swapped)
    assert not all(commu.legal(np.array(one[first:]), 3) for one in swapped)
    with pytest.raises(BadRequest, match="two bars"):
        original_damage.swap_bars([1, 2, 1], random.Random(0))


@given(any_clips(), st.integers(0, 10**6), st.sampled_from([("mt",), ("mn",), ("rn",), ("rr",), tuple(CORRUPTIONS)]))
@settings(max_examples=80, deadline=None)
def test_condition_bars_end_and_length_stay(clip: Clip, seed: int, available: tuple[str, ...]) -> None:
    encoded = commu.encode(clip)
    before = encoded.ids.copy()
    ids = damage(encoded.ids, encoded.noised, np.random.default_rng(seed), available, p=1.0)
    np.testing.assert_array_equal(encoded.ids, before)
    np.testing.assert_array_equal(ids[~encoded.noised], before[~encoded.noised])
    assert ids.shape == before.shape and ids[-1] == vocab.EOS
    for token in (vocab.BAR, vocab.EOS):
        assert np.sum(ids == token) == np.sum(before == token)
    if not {"mt", "mn"} & set(available):
        assert commu.legal(ids[encoded.noised], clip.num_measures)
        assert len(commu.decode(ids[encoded.noised], clip)) == len(clip.tracks[0].notes)


@settings(max_examples=60, deadline=None)
@given(any_clips(), st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(sorted(CORRUPTIONS)))
def test_given_tokens_anywhere_stay(clip: Clip, seed: int, share: float, name: str) -> None:
    rng = np.random.default_rng(seed)
    encoded = commu.encode(clip)
    noised = encoded.noised & (rng.random(len(encoded.ids)) < share)
    result = damage(encoded.ids, noised, rng, (name,), p=1.0)
    assert (result[~noised] == encoded.ids[~noised]).all()
    assert np.sum(result == vocab.BAR) == np.sum(encoded.ids == vocab.BAR) or name == "mt"


@given(any_clips(), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_bars_are_swapped_whole(clip: Clip, seed: int) -> None:
    encoded = commu.encode(clip)
    part = encoded.ids[encoded.noised]
    swapped = damage(encoded.ids, encoded.noised, np.random.default_rng(seed), ("rr",), p=1.0)[encoded.noised]
    bars = lambda ids: Counter(tuple(bar) for bar in np.split(ids[:-1], np.flatnonzero(ids == vocab.BAR))[1:])  # noqa: E731
    assert bars(swapped) == bars(part)


@given(any_clips(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_where_bars_are_given_notes_change_places_between_bars_of_as_many(clip: Clip, seed: int) -> None:
    part = commu.note_part(np.array(clip.tracks[0].notes, np.int64).reshape(-1, 4), clip.num_measures, clip.bar_ticks)
    of_notes = part.source >= 0
    swapped = damage(part.ids, of_notes, np.random.default_rng(seed), ("rr",), p=1.0)
    assert np.array_equal(vocab.KIND[swapped], vocab.KIND[part.ids])
    content = lambda ids: Counter(tuple(bar) for bar in np.split(ids[:-1], np.flatnonzero(ids == vocab.BAR))[1:])  # noqa: E731
    assert content(swapped) == content(part.ids)


def test_swapped_notes_move() -> None:
    part = commu.encode(MANY)
    of_notes = np.isin(vocab.KIND[part.ids], vocab.NOTE) & part.noised
    swapped = damage(part.ids, of_notes, np.random.default_rng(1), ("rr",), p=1.0)
    assert 10 < (swapped != part.ids).sum() < of_notes.sum()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_does_what_its_name_says(name: str) -> None:
    encoded = commu.encode(MANY)
    ids = damage(encoded.ids, encoded.noised, np.random.default_rng(5), (name,), p=1.0)
    kinds, changed = vocab.KIND[encoded.ids], ids != encoded.ids
    groups = ids[np.flatnonzero((kinds == Kind.POSITION) & encoded.noised)[:, None] + np.arange(4)]  # (256, 4)
    zeros = (groups == vocab.PAD).sum(1)
    if name == "mt":
        assert 0.25 < zeros.sum() / groups.size < 0.35 and len(set(zeros.tolist())) > 3
    elif name == "mn":
        assert set(zeros.tolist()) == {0, 4} and 0.4 < np.mean(zeros == 4) < 0.6
    elif name == "rn":
        assert {int(kind) for kind in kinds[changed]} == {Kind.VELOCITY, Kind.PITCH, Kind.DURATION}
        assert (vocab.KIND[ids] == kinds).all() and 110 < sum(changed[kinds == Kind.DURATION]) < 150
    else:
        assert changed.any() and np.array_equal(np.sort(ids), np.sort(encoded.ids))
    assert changed.any()


def test_settings_replace_the_defaults() -> None:
    encoded = commu.encode(MANY)
    run = partial(damage, encoded.ids, encoded.noised, p=1.0)
    assert np.array_equal(run(np.random.default_rng(0), ("mn",), settings={"mn": {"p": 0.0}}), encoded.ids)
    gone = run(np.random.default_rng(0), ("mn",), settings={"mn": {"p": 1.0}})
    assert set(gone[encoded.noised].tolist()) == {vocab.PAD, vocab.EOS, vocab.BAR}
    assert np.array_equal(run(np.random.default_rng(0), ("rr",), settings={"rr": {"count": 0}}), encoded.ids)


def test_most_and_p_say_how_many_are_done() -> None:
    encoded = commu.encode(MANY)

    def count(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, settings: Any) -> np.ndarray:
        result = ids.copy()
        result[-2] += 1
        return result

    counters = {name: Corruption(count) for name in "abcd"}
    rng = np.random.default_rng(0)

    def done(most: int, p: float) -> int:
        return int(damage(encoded.ids, encoded.noised, rng, tuple(counters), most, p, corruptions=counters)[-2] - encoded.ids[-2])

    assert [done(0, 1.0), done(2, 1.0), done(4, 1.0), done(9, 1.0), done(4, 0.0)] == [0, 2, 4, 4, 0]
    drawn = Counter(done(4, 0.5) for _ in range(300))
    assert set(drawn) == {0, 1, 2, 3, 4} and drawn[2] == max(drawn.values())


def test_own_corruptions_join_by_name() -> None:
    def octave(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, settings: Any) -> np.ndarray:
        return np.where(noised & (vocab.KIND[ids] == Kind.PITCH), ids + int(settings["up"]), ids)

    encoded = commu.encode(MANY)
    own = {**CORRUPTIONS, "octave": Corruption(octave, {"up": 12})}
    ids = damage(encoded.ids, encoded.noised, np.random.default_rng(0), ("octave",), p=1.0, corruptions=own)
    notes = commu.decode(ids[encoded.noised], MANY)
    assert [n.pitch for n in notes] == [n.pitch + 12 for n in MANY.tracks[0].notes]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"available": ("mt", "xx")}, "'xx' is not known. Choose from mt, mn, rn, rr"),
        ({"settings": {"yy": {}}}, "'yy' is not known"),
        ({"settings": {"rr": {"p": 0.3}}}, "rr has no setting 'p'. It has count"),
        ({"settings": {"mn": {"p": 1.5}}}, "mn: p is 1.5"),
        ({"settings": {"rr": {"count": -1}}}, "rr: count is -1"),
        ({"p": -0.1}, "from 0 to 1"),
        ({"most": -1}, "0 or more"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        check(**arguments)
    encoded = commu.encode(MANY)
    with pytest.raises(BadRequest, match=said):
        damage(encoded.ids, encoded.noised, np.random.default_rng(0), **arguments)


def test_the_same_generator_gives_the_same_damage() -> None:
    encoded = commu.encode(MANY)
    one, same, other = (damage(encoded.ids, encoded.noised, np.random.default_rng(seed), p=1.0) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@given(any_clips(), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_clip_that_is_spared_is_the_same_to_the_tick(clip: Clip, seed: int) -> None:
    shorter = tuple(sorted(n._replace(duration_ticks=min(n.duration_ticks, clip.end_ticks - n.onset_ticks)) for n in clip.tracks[0].notes))
    same = damage_clip(clip, np.random.default_rng(seed), way=partial(damage, p=0.0))
    assert same.tracks[0].notes == shorter and same.chords == clip.chords


def test_notes_of_a_clip_are_lost_changed_or_moved() -> None:
    notes = MANY.tracks[0].notes
    lost = damage_clip(MANY, np.random.default_rng(0), way=partial(damage, available=("mn",), p=1.0)).tracks[0].notes
    assert set(lost) < set(notes) and 100 < len(lost) < 156
    changed = damage_clip(MANY, np.random.default_rng(0), way=partial(damage, available=("rn",), p=1.0)).tracks[0].notes
    assert len(changed) == len(notes) and 100 < len(set(changed) & set(notes)) < 156
    moved = damage_clip(MANY, np.random.default_rng(0), way=partial(damage, available=("rr",), p=1.0)).tracks[0].notes
    inside = lambda these: Counter(n._replace(onset_ticks=n.onset_ticks % 1920) for n in these)  # noqa: E731
    assert moved != notes and inside(moved) == inside(notes)


def test_only_the_one_track_is_damaged() -> None:
    clip = Clip(8, (Track(()), *MANY.tracks))
    damaged = damage_clip(clip, np.random.default_rng(0), track=1, way=partial(damage, available=("mn",), p=1.0))
    assert damaged.tracks[0] == clip.tracks[0] and len(damaged.tracks[1].notes) < 256
