"""The muse engine's own promises: strength is the share of tokens that are lost, windows, guidance, repair, what it refuses."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from musediff.clip import Clip, Meta, Note, Track
from musediff.engines.base import Request
from musediff.engines.muse.canvas import WINDOW_BARS, build, windows
from musediff.engines.muse.chain import Chain
from musediff.engines.muse.denoiser import Reading, WindowDenoiser
from musediff.engines.muse.density import load, notes_per_bar
from musediff.engines.muse.engine import MuseEngine, MuseState
from musediff.engines.muse.process import nearest
from musediff.engines.muse.samplers import SAMPLERS
from musediff.errors import BadCheckpoint, BadRequest
from musediff.pipeline import MusePipeline, Sampling
from musediff.tokens import commu
from musediff.tokens.vocab import DURATION, INSTRUMENT, KEY, KIND, META_TOKENS, ROLE, SIZE, VELOCITY, Kind
from tests.slots.conftest import make_clip


@pytest.fixture(scope="module")
def engine() -> MuseEngine:
    return MuseEngine.tiny()


def run(engine: MuseEngine, request: Request) -> tuple[MuseState, list[Clip]]:
    engine.check(request)
    state = engine.prepare(request, torch.Generator().manual_seed(request.seed))
    for _ in engine.steps(state):
        pass
    return state, engine.finish(state)


def reader(self: WindowDenoiser, which: int, x_BLD: Tensor, t: int) -> Tensor:
    """A denoiser that knows the table and nothing of music: the nearest token of what it is shown."""
    signal = float(self.schedule.alpha_bar_T[t].sqrt())
    return self.network.embed(nearest(x_BLD / signal, self.network.table_VD))


def grid_clip(seed: int, bars: int = 8, notes: int = 10) -> Clip:
    """Notes that the grid holds exactly."""
    rng = np.random.default_rng(seed)
    places = sorted({(int(rng.integers(bars * 16)) * 120, int(rng.integers(40, 90))) for _ in range(bars * notes)})
    velocity = rng.integers(10, 60, len(places)) * 2 + 1
    return Clip(bars, (Track(tuple(Note(t, p, 120, int(v)) for (t, p), v in zip(places, velocity, strict=True)), role="accompaniment"),))


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.6, 0.9])
def test_strength_is_the_share_of_tokens_that_are_lost(engine: MuseEngine, monkeypatch: pytest.MonkeyPatch, strength: float) -> None:
    monkeypatch.setattr(WindowDenoiser, "_predict", reader)
    clip = grid_clip(1, bars=16, notes=14)
    _, (made,) = run(engine, Request(mode="modify", clip=clip, strength=strength, steps=1, temperature=1.0))
    old, new = (commu.encode(c).ids for c in (clip, made))
    lost = 1 - len(set(clip.tracks[0].notes) & set(made.tracks[0].notes)) / len(clip.tracks[0].notes)
    assert len(old) >= len(new)
    assert lost == pytest.approx(1 - (1 - strength) ** 4, abs=0.12)  # a note is lost with the first of its four tokens


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.8])
@pytest.mark.parametrize(
    ("kind", "other", "field"), [(Kind.VELOCITY, VELOCITY + 60, "velocity"), (Kind.DURATION, DURATION + 20, "duration_ticks")]
)
def test_a_network_that_is_sure_of_other_tokens_changes_only_those_that_are_lost(
    engine: MuseEngine, monkeypatch: pytest.MonkeyPatch, kind: Kind, other: int, field: str, strength: float
) -> None:
    clip = grid_clip(3, bars=4)
    ids = commu.note_part(np.array(clip.tracks[0].notes), clip.num_measures, clip.bar_ticks).ids
    sure = torch.from_numpy(np.where(KIND[ids] == kind, other, ids))
    monkeypatch.setattr(WindowDenoiser, "_predict", lambda self, which, x, t: self.network.embed(sure[None]))
    _, (made,) = run(engine, Request(mode="modify", clip=clip, strength=strength, steps=4))
    pairs = [(getattr(a, field), getattr(b, field)) for a, b in zip(clip.tracks[0].notes, made.tracks[0].notes, strict=True)]
    assert np.mean([a != b for a, b in pairs]) == pytest.approx(strength, abs=0.2)
    assert len({b for a, b in pairs if a != b}) == 1


def test_nothing_is_lost_if_the_network_knows(engine: MuseEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = grid_clip(2, bars=4)
    truth = torch.from_numpy(commu.note_part(np.array(clip.tracks[0].notes), clip.num_measures, clip.bar_ticks).ids)
    monkeypatch.setattr(WindowDenoiser, "_predict", lambda self, which, x, t: self.network.embed(truth[None]))
    state, (made,) = run(engine, Request(mode="modify", clip=clip, strength=0.95, steps=20))
    assert made == clip
    assert engine.raw_legal(state) == 1.0


def test_raw_legality_is_of_the_guess_before_it_is_mended(engine: MuseEngine) -> None:
    state, _ = run(engine, Request(mode="generate", clip=Clip(4, (Track((), role="bass"),)), variants=3, steps=8))
    assert engine.raw_legal(state) == 0.0  # random weights


def test_what_is_legal_without_the_grammar_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, clip = MusePipeline.tiny("muse"), grid_clip(2, bars=4)
    assert pipeline.modify(clip, 0.5, sampling=Sampling(seed=1, steps=2)).raw_legal == 0.0
    loose = pipeline.modify(clip, 0.5, sampling=Sampling(seed=1, steps=2, strict=False))
    assert "0% of the sequences were legal before the grammar mended them." in loose.notes
    assert loose.clips[0].tracks[0].notes  # mended all the same
    truth = torch.from_numpy(commu.note_part(np.array(clip.tracks[0].notes), clip.num_measures, clip.bar_ticks).ids)
    monkeypatch.setattr(WindowDenoiser, "_predict", lambda self, which, x, t: self.network.embed(truth[None]))
    assert pipeline.modify(clip, 0.5, sampling=Sampling(seed=1, steps=2, strict=False)).raw_legal == 1.0
    assert MusePipeline.tiny("slots").modify(clip, 0.5, sampling=Sampling(seed=1, steps=2, strict=False)).raw_legal is None


def test_only_a_strict_job_is_rounded_to_legal_sequences_on_the_way(engine: MuseEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    call = WindowDenoiser.__call__

    def watched(self: WindowDenoiser, x: torch.Tensor, t: int) -> torch.Tensor:
        found = call(self, x, t)
        seen.append(torch.equal(found, self.network.embed(self.tokens())))
        return found

    monkeypatch.setattr(WindowDenoiser, "__call__", watched)
    request = Request(mode="generate", clip=Clip(4, (Track((), role="bass"),)), steps=8)
    run(engine, request)
    assert seen == [False] * 6 + [True] * 2
    seen.clear()
    run(engine, replace(request, strict=False))
    assert seen == [False] * 8


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_makes_clips_and_is_what_was_asked_for(engine: MuseEngine, name: str) -> None:
    frame = Clip(4, (Track((), role="bass"),))
    walked: list[str] = []
    walk = SAMPLERS[name].walk

    def watched(chain: Chain, x_BLD: torch.Tensor) -> Iterator[torch.Tensor]:
        walked.append(name)
        return walk(chain, x_BLD)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("musediff.engines.muse.engine.SAMPLERS", {**SAMPLERS, name: replace(SAMPLERS[name], walk=watched)})
        state, (made,) = run(engine, Request(mode="generate", clip=frame, steps=7, sampler=name))
        assert state.step == state.total >= 7 and made.tracks[0].notes and walked == [name]
        run(engine, Request(mode="modify", clip=made, strength=0.3, steps=3, sampler=name))


def test_an_unknown_sampler_is_refused_by_name() -> None:
    for engine, message in (
        ("muse", "sampler 'euler' is not known. Choose from ddim"),
        ("slots", "Choose from in-order, any-order"),
        ("ar", "has one way to sample"),
    ):
        with pytest.raises(BadRequest, match=message):
            MusePipeline.tiny(engine).start_generate(Meta(num_measures=2), Sampling(sampler="euler"))


@pytest.mark.parametrize(("bars", "per_bar"), [(40, 4), (64, 6), (17, 3)])
def test_long_clips_are_done_in_windows_that_fit_and_hold_every_bar(engine: MuseEngine, bars: int, per_bar: int) -> None:
    clip = replace(make_clip(1, bars=bars, per_bar=per_bar), num_measures=bars)
    inside = np.ones(bars, bool)
    counts = np.full(bars, per_bar)
    room = engine.network.config.seq_len
    found = windows(clip, 0, inside, counts, SIZE, room)
    assert [bar for _, begin, last in found for bar in range(begin, last)] == list(range(bars))
    assert all(last - first <= WINDOW_BARS and first <= begin < last for first, begin, last in found)
    assert all(first < begin for first, begin, _ in found[1:])  # later windows see what is before them
    meta = Meta(num_measures=bars, time_signature="4/4", track_role="main_melody")
    made = MusePipeline.tiny("muse").generate(meta, Sampling(seed=1, steps=2)).clips[0]
    onset_bars = {n.onset_ticks // made.bar_ticks for n in made.tracks[0].notes}
    assert max(onset_bars) > bars - WINDOW_BARS


def test_a_window_before_or_behind_is_not_touched_again(engine: MuseEngine) -> None:
    clip = make_clip(3, bars=40)
    bars = frozenset({20, 21, 35})
    state, (made,) = run(engine, Request(mode="modify", clip=clip, strength=1.0, bars=bars, steps=3))
    assert len(state.plan) == 2
    outside = lambda c: [n for n in c.tracks[0].notes if n.onset_ticks // c.bar_ticks not in bars]  # noqa: E731
    assert outside(made) == outside(clip)


def test_too_many_notes_in_a_bar_or_two_tracks_are_refused_before_work() -> None:
    pipeline = MusePipeline.tiny("muse")
    with pytest.raises(BadRequest, match="Bar 1 has"):
        pipeline.start_modify(make_clip(0, bars=1, per_bar=80), 0.5)
    with pytest.raises(BadRequest, match="one track at a time"):
        pipeline.start_modify(make_clip(0, tracks=2), 0.5, tracks=(0, 1))


def test_only_what_the_network_thinks_wrong_is_repaired(engine: MuseEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = grid_clip(4)
    wrong = {3, 11, 20}

    def find(network: object, schedule: object, prefix: object, canvas, survival: Sequence[float], sensitivity: float) -> np.ndarray:
        return np.isin(canvas.source, list(wrong)) & (canvas.fixed == -1)

    monkeypatch.setattr("musediff.engines.muse.engine.find_wrong", find)
    _, (made,) = run(engine, Request(mode="repair", clip=clip, strength=0.5, steps=4))
    kept = set(made.tracks[0].notes)
    assert {i for i, note in enumerate(clip.tracks[0].notes) if note not in kept} == wrong


def test_the_density_is_the_number_of_notes(engine: MuseEngine) -> None:
    frame = Clip(8, (Track((), role="accompaniment"),))

    def size(density: float) -> float:
        requests = [Request(mode="generate", clip=frame, steps=2, seed=seed, density=density) for seed in range(6)]
        return float(np.mean([len(commu.encode(run(engine, request)[1][0]).ids) for request in requests]))

    assert size(-1.0) < size(0.0) < size(1.0)


def test_new_notes_are_as_many_in_each_bar_as_planned(engine: MuseEngine) -> None:
    frame = Clip(8, (Track((), role="main_melody"),))
    for seed in range(4):
        state, (made,) = run(engine, Request(mode="generate", clip=frame, steps=2, seed=seed))
        ids = commu.note_part(np.array(made.tracks[0].notes), 8, made.bar_ticks)
        (planned,) = state.redrawn
        assert planned is not None and planned.tolist() in engine.counts["main_melody"].tolist()
        found = np.bincount(ids.bar[ids.source >= 0], minlength=8) / 4
        assert (found <= planned).all() and found.sum() > 0.6 * planned.sum()  # of random notes some coincide and become one


def test_the_numbers_of_notes_fit_the_metre() -> None:
    counts = {"main_melody": np.array([[4, 2, 0, 8]]), "bass": np.array([[1, 1, 1, 1], [3, 3, 3, 3]])}
    draw = lambda role, density, bars, quarters, seed=0: notes_per_bar(counts, role, density, bars, quarters, np.random.default_rng(seed))  # noqa: E731
    assert draw("main_melody", 0.0, 4, 4.0).tolist() == [4, 2, 0, 8]
    assert draw(None, 0.0, 6, 4.0).tolist() == [4, 2, 0, 8, 4, 2]
    halves = [draw("main_melody", 0.0, 4, 3.0, seed).tolist() for seed in range(40)]
    assert np.mean(halves, 0).tolist() == pytest.approx([3, 1.5, 0, 6], abs=0.3)
    sparse, dense = ([draw("bass", density, 4, 4.0, seed).sum() for seed in range(60)] for density in (-1.0, 1.0))
    assert np.mean(sparse) < 6 < 10 < np.mean(dense)


def test_counts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text('{"bass": [[1, 2], [3]]}')
    for name in ("counts.json", "nothing.json"):
        with pytest.raises(BadCheckpoint, match=name):
            load(tmp_path / name)


def test_guidance_weighs_the_guess_with_labels_against_the_one_without(engine: MuseEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(4, (Track((), role="bass", instrument="tuba"),), key="cmajor", chords=(0,) * 32)
    canvas = build(clip, np.ones(4, bool), (), np.full(4, 2), False)
    denoiser = WindowDenoiser(engine.network, engine.schedule, clip, [canvas], Reading(guidance=3.0), 100)
    said, bare = (prefix.tolist() for prefix in denoiser.prefixes)
    assert len(bare) == META_TOKENS + 1 < len(said)
    assert {ROLE, INSTRUMENT, KEY} <= set(bare)
    monkeypatch.setattr(WindowDenoiser, "_predict", lambda self, which, x, t: torch.full_like(x, 2.0 if which == 0 else 1.5))
    guesses = [float(denoiser(torch.zeros(1, canvas.length, 16), 5).mean()) for _ in range(74)]
    assert guesses[:40] == [2.0] * 40  # no guidance at first, and no second look
    assert guesses[70] == pytest.approx(1.5 + 2 * 0.5)  # half-way up the ramp from .4 on
