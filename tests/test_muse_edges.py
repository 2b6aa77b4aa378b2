"""What a request promises, at the edges: long clips, several variants, fields that may not change, small networks."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from musediff.clip import Clip, Meta, Note, Track
from musediff.engines.finishing import octave_shift
from musediff.engines.muse.canvas import Canvas
from musediff.engines.muse.dataset import forget
from musediff.engines.muse.engine import MuseEngine
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.errors import BadRequest
from musediff.pipeline import MusePipeline, Sampling
from musediff.priors import Priors
from musediff.tokens import commu, vocab
from musediff.tokens.grammar import FREE
from tests.slots.conftest import make_clip


@pytest.fixture(scope="module")
def muse() -> MusePipeline:
    return MusePipeline.tiny("muse")


@pytest.fixture(scope="module", params=("muse", "slots"))
def pipeline(request: pytest.FixtureRequest) -> MusePipeline:
    return MusePipeline.tiny(request.param)


def test_the_most_sensitive_repair_composes_nothing_anew(muse: MusePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sensitivity 1 is not strength 1: the notes of the source are judged, and only what is thought wrong changes."""
    wrong = {3, 11}

    def find(network: object, schedule: object, prefix: object, canvas: Canvas, *rest: object) -> np.ndarray:
        return np.isin(canvas.source, list(wrong)) & (canvas.fixed == FREE)

    monkeypatch.setattr("musediff.engines.muse.engine.find_wrong", find)
    clip = make_clip(1)
    kept = set(muse.repair(clip, sensitivity=1.0, sampling=Sampling(seed=1, steps=2)).clips[0].tracks[0].notes)
    assert {i for i, note in enumerate(clip.tracks[0].notes) if note not in kept} == wrong


def crowded(bars: int) -> Clip:
    """Only three pitches, so that changed notes collide and some are dropped: then variants differ in length."""
    places = sorted({(t * 240, 60 + p) for t in range(bars * 8) for p in range(3) if (t * 7 + p * 5) % 4})
    return Clip(bars, (Track(tuple(Note(t, p, 240, 64) for t, p in places), role="accompaniment"),))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_repair_in_several_variants(muse: MusePipeline, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    low = MuseEngine.tiny()
    low.network.bias[vocab.PITCH + 60 : vocab.PITCH + 63] += 60.0
    pipeline = MusePipeline(low, "muse", muse.known)
    made = pipeline.repair(crowded(24), sensitivity=0.9, sampling=Sampling(seed=seed, steps=2, variants=6)).clips
    assert len({len(clip.tracks[0].notes) for clip in made}) > 1, "no collision: this test shows nothing"


@pytest.mark.parametrize("bars", [8, 40])
def test_new_pitches_leave_durations_alone_wherever_a_window_ends(pipeline: MusePipeline, bars: int) -> None:
    notes = tuple(Note(bar * 1920 + 960, 40 + bar, 1920, 64) for bar in range(bars - 1))
    clip = Clip(bars, (Track(notes, role="pad"),))
    made = pipeline.modify(clip, 0.9, fields=frozenset({"pitch"}), sampling=Sampling(seed=1, steps=2)).clips[0].tracks[0].notes
    assert [n.pitch for n in made] != [n.pitch for n in notes]
    onset_of = {n.onset_ticks: n for n in made}
    # A pitch that is drawn again may cut the note before it, so only those that do not sound again are looked at.
    again = {a.onset_ticks for a in made for b in made if a.pitch == b.pitch and a.onset_ticks < b.onset_ticks <= a.onset_ticks + 1920}
    assert all(onset_of[n.onset_ticks].duration_ticks == 1920 for n in notes if n.onset_ticks in onset_of and n.onset_ticks not in again)


def test_all_windows_of_a_new_track_go_into_its_range(muse: MusePipeline) -> None:
    high = MuseEngine.tiny()
    high.network.bias[vocab.PITCH + 60 : vocab.PITCH + 72] += 60.0
    meta = Meta(num_measures=40, time_signature="4/4", pitch_range="low", track_role="bass")
    made = MusePipeline(high, "muse", muse.known).generate(meta, Sampling(seed=1, steps=2)).clips[0].tracks[0].notes
    pitches = np.array([note.pitch for note in made])
    assert octave_shift(pitches, "low") == 0
    assert np.ptp(pitches) < 24, "the first window was moved by octaves, the others were not"


def test_every_number_of_bars_that_can_be_asked_for_is_trained() -> None:
    """Clips of the training data have 4, 8 or 16 bars; the token of all other numbers has to be learned too."""
    rng = np.random.default_rng(0)
    prefix = commu.prefix(Clip(8, (Track(()),)))
    shown = {int(forget(prefix, rng)[4]) for _ in range(1000)}
    assert int(commu.prefix(Clip(12, (Track(()),)))[4]) == vocab.OWN_MEASURES
    assert vocab.OWN_MEASURES in shown


@pytest.mark.parametrize(
    "notes",
    [
        (Note(0, 60, 960, 80), Note(480, 60, 480, 80)),  # a pitch that sounds again before its end
        (Note(0, 60, 480, 80), Note(0, 60, 480, 80)),  # a doubled note
        (Note(0, 60, 480, 80), Note(0, 60, 960, 40)),
    ],
)
def test_new_dynamics_neither_shorten_nor_drop_a_note(pipeline: MusePipeline, notes: tuple[Note, ...]) -> None:
    clip = Clip(1, (Track(notes),))
    for seed in range(4):
        made = pipeline.modify(clip, 1.0, fields=frozenset({"dynamics"}), sampling=Sampling(seed=seed, steps=2)).clips[0]
        assert Counter(n[:3] for n in made.tracks[0].notes) == Counter(n[:3] for n in notes)


def test_a_note_behind_the_end_does_not_get_a_negative_duration(pipeline: MusePipeline) -> None:
    clip = Clip(2, (Track((Note(0, 60, 480, 64), Note(4000, 62, 480, 64))),))
    made = pipeline.modify(clip, 0.9, fields=frozenset({"pitch"}), sampling=Sampling(seed=1, steps=2)).clips[0]
    assert all(note.duration_ticks > 0 for note in made.tracks[0].notes)


def small(seq_len: int) -> MusePipeline:
    torch.manual_seed(0)
    network = MuseNetwork(MuseConfig.tiny(vocab.SIZE_ORIGINAL, seq_len))
    return MusePipeline(MuseEngine(network, ScheduleConfig(steps=50).build(), readable=False), "muse", Priors())


@pytest.mark.parametrize("seq_len", [64, 128])
def test_a_small_network_refuses_before_work_or_does_it(seq_len: int) -> None:
    pipeline = small(seq_len)
    chords = tuple(np.random.default_rng(0).integers(0, 108, 4 * 12).tolist())
    meta = Meta(num_measures=4, time_signature="12/8", track_role="riff", chord_progression=chords)
    for seed in range(3):
        try:
            job = pipeline.start_generate(meta, Sampling(seed=seed, steps=1, density=1.0))
        except BadRequest:
            continue
        job.run()  # is not refused in the middle of the work


def test_a_bar_with_too_many_notes_can_be_composed_anew(muse: MusePipeline) -> None:
    clip = replace(make_clip(0, bars=1, per_bar=80), chords=None)
    with pytest.raises(BadRequest, match="Bar 1 has"):
        muse.start_modify(clip, 0.5)
    made = muse.modify(clip, 1.0, sampling=Sampling(seed=1, steps=1)).clips[0]  # none of its notes stays
    assert 0 < len(made.tracks[0].notes) < 60
