"""MSIM and 1NNC against the original's recorded figures, against slow and obvious code, and at their edges."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.clip import BAR_TICKS, PITCH_RANGES, TIME_SIGNATURES, Note
from musediff.metrics import control
from musediff.metrics.similarity import COMPONENTS, Vectors, mean_similarity, msim, one_nn_accuracy, similarity_matrix, stack, vectors
from tests.random_clips import clip_of, random_clips

SMALL = json.loads((Path(__file__).parent / "golden" / "metric_small.json").read_text("utf-8"))


def vectors_of(notes: list[Note], bars: int = 4, metre: str = "4/4") -> Vectors:
    return vectors(notes, clip_of(notes, bars, metre))


def test_vectors_and_msim_agree_with_the_original() -> None:
    found = {name: vectors_of([Note(*note) for note in clip["notes"]], clip["num_measures"]) for name, clip in SMALL["clips"].items()}
    assert len(found) == 4
    for name, clip in SMALL["clips"].items():
        for part in COMPONENTS[1:]:
            np.testing.assert_allclose(getattr(found[name], part), clip[part], atol=1e-6)
    check_pairs(found, SMALL["pairs"])


def check_pairs(found: dict[str, Vectors], pairs: list[dict[str, Any]]) -> None:
    assert len(pairs) == 10
    for pair in pairs:
        ours = msim(found[pair["a"]], found[pair["b"]])
        theirs = [pair[name] for name in ("msim", *COMPONENTS[1:])]
        np.testing.assert_allclose([getattr(ours, name) for name in COMPONENTS], theirs, atol=1e-6)


def decode(tokens: list[int]) -> tuple[list[Note], int]:
    """The original's tokens -> notes on a grid of 128 positions of 15 ticks, and the number of bars."""
    velocities = np.linspace(2, 127, 64, dtype=int)
    notes, bar, place = [], -1, 0
    while place < len(tokens):
        if tokens[place] == 2:
            bar += 1
        elif 432 <= tokens[place] < 560 and 131 <= tokens[place + 1] < 195:
            position, velocity, pitch, duration = tokens[place : place + 4]
            notes.append(Note((bar * 128 + position - 432) * 15, pitch - 3, (duration - 303) * 15, int(velocities[velocity - 131])))
            place += 3
        place += 1
    return notes, bar + 1


def test_the_complete_recording_of_the_original(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "metric.json").read_text("utf-8"))
    decoded = {name: decode(tokens) for name, tokens in golden["sequences"].items()}
    found = {name: vectors_of(notes, bars) for name, (notes, bars) in decoded.items()}
    for name, parts in golden["vectors"].items():
        np.testing.assert_allclose(found[name].rhythm, parts["rhythm"], atol=1e-6)
        np.testing.assert_allclose(found[name].melody, parts["melody"], atol=1e-6)
        np.testing.assert_allclose(np.roll(found[name].harmony, 3), parts["harmony"], atol=1e-6)  # its pitch ids start at 3
    check_pairs(found, golden["pairs"])
    ranges = dict(zip(range(631, 638), PITCH_RANGES, strict=True))
    for name, (notes, _) in decoded.items():
        meta = golden["metas"][name]
        low, high = (2 * (meta[i] - 654) for i in (7, 8))  # half of the velocity, from the first id of limits
        assert list(control.pitch_misses(notes, ranges[meta[3]])) == golden["cp"][name]
        assert list(control.velocity_misses(notes, low, high)) == golden["cv"][name]
    assert {wrong for _, wrong in golden["cv"].values()} == {0, 1, 26}


@given(st.sampled_from(TIME_SIGNATURES), st.integers(0, 1000), st.integers(-20, 20))
@settings(max_examples=40, deadline=None)
def test_vectors_are_unit_and_bars_of_every_metre_have_128_units(metre: str, seed: int, shift: int) -> None:
    (notes,) = random_clips(seed, 1)
    scale = BAR_TICKS[metre] / 1920
    scaled = [Note(round(n.onset_ticks * scale), n.pitch, round(n.duration_ticks * scale), n.velocity) for n in notes]
    here, there = vectors_of(notes), vectors_of(scaled, metre=metre)
    assert msim(here, there).product == pytest.approx(1, abs=1e-5)
    moved = vectors_of([n._replace(pitch=n.pitch + shift) for n in notes])
    assert msim(here, moved).rhythm == pytest.approx(1, abs=1e-6)
    assert msim(here, moved).melody == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(np.roll(here.harmony, shift), moved.harmony, atol=1e-6)


@pytest.mark.parametrize("notes", [[], [Note(0, 60, 1, 1)], [Note(7679, 127, 9999, 127)], [Note(0, 60, 480, 64), Note(0, 64, 480, 64)]])
def test_clips_with_hardly_any_notes(notes: list[Note]) -> None:
    found = vectors_of(notes)
    for name in COMPONENTS[1:]:
        assert np.linalg.norm(getattr(found, name)) == pytest.approx(1, abs=1e-6)
    assert msim(found, found).product == pytest.approx(1, abs=1e-5)
    assert math.isfinite(msim(found, vectors_of(random_clips(0, 1)[0])).product)


def test_similarity_matrix_equals_pair_by_pair() -> None:
    a, b = ([vectors_of(notes) for notes in random_clips(seed, count)] for seed, count in ((1, 300), (2, 40)))
    for component in COMPONENTS:
        matrix = similarity_matrix(stack(a), stack(b), component)
        assert matrix.shape == (300, 40)
        assert matrix.dtype == np.float32
        for i, j in ((0, 0), (17, 39), (255, 3), (256, 3), (299, 39)):
            assert matrix[i, j] == pytest.approx(getattr(msim(a[i], b[j]), component), abs=1e-6)


def test_mean_similarity_leaves_out_every_clip_with_itself() -> None:
    a, b = (stack([vectors_of(notes) for notes in random_clips(seed, count)]) for seed, count in ((1, 270), (2, 40)))
    assert mean_similarity(a, b) == pytest.approx(similarity_matrix(a, b).mean(dtype=np.float64), abs=1e-6)
    inside = similarity_matrix(a, a).astype(np.float64)
    assert mean_similarity(a) == pytest.approx((inside.sum() - np.trace(inside)) / (270 * 269), abs=1e-6)
    one = stack([vectors_of([])])
    assert mean_similarity(one, one) == pytest.approx(1) and math.isnan(mean_similarity(one))


def test_nearest_neighbour_accuracy_equals_the_obvious_loop() -> None:
    real, generated = stack([vectors_of(n) for n in random_clips(3, 150)]), stack([vectors_of(n) for n in random_clips(4, 150, 50, 75)])
    both = Vectors(*(np.concatenate([getattr(real, name), getattr(generated, name)]) for name in COMPONENTS[1:]))
    found = one_nn_accuracy(real, generated)
    for component in COMPONENTS:
        matrix = similarity_matrix(both, both, component).round(6)
        hits = 0
        for i in range(300):
            nearest = max((j for j in range(300) if j != i), key=lambda j: (matrix[i, j], -j))
            hits += (i < 150) == (nearest < 150)
        assert getattr(found, component) == hits / 300, component
    assert found.harmony > 0.5


def test_nearest_neighbour_accuracy_at_its_ends() -> None:
    low, high = ([vectors_of(n) for n in random_clips(seed, 50, *pitches)] for seed, pitches in ((5, (60, 62)), (6, (66, 68))))
    assert one_nn_accuracy(stack(low), stack(high)).harmony == 1
    pairs = [vectors_of(notes) for notes in random_clips(7, 60)]
    assert one_nn_accuracy(stack(pairs), stack(pairs)).product == 0  # everyone's nearest is its copy on the other side
    same = stack(pairs[:1] * 10)
    assert one_nn_accuracy(same, same).product == 0.5  # all ties
    assert one_nn_accuracy(stack(pairs[:30]), stack(pairs[30:])).product == pytest.approx(0.5, abs=0.25)
