"""Composing note by note: legal whatever the weights, what was read is what was written, the same by seed, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musediff import checkpoint
from musediff.clip import ROLES, TIME_SIGNATURES, Clip, Meta, Note, Track
from musediff.engines.ar.engine import ArEngine
from musediff.engines.base import Request
from musediff.engines.finishing import octave_shift
from musediff.engines.registry import bundled
from musediff.engines.slots import layout, vocab
from musediff.engines.slots.batch import Place, Slots
from musediff.engines.slots.composer import CHORD_WEIGHT, PITCH_TEMPERATURE, Composer, Taste
from musediff.engines.slots.composing import Composing
from musediff.engines.slots.engine import SlotsEngine
from musediff.engines.slots.line import ADVANCES, in_line, notes_of
from musediff.engines.slots.reading import InLine
from musediff.engines.slots.sampler import unconditional
from musediff.errors import BadCheckpoint, BadRequest
from musediff.metrics.control import chord_tone_ratio
from musediff.pipeline import MusePipeline, Sampling
from musediff.priors import Priors
from musediff.progression import parse
from tests.ar.conftest import engine, two_way_engine
from tests.slots.conftest import make_clip
from tests.test_engines import assert_legal

Maker = Callable[..., ArEngine | SlotsEngine]


def asked(bars: int, metre: str, tracks: int, low: int = 1, high: int = 127, pitch_range: str | None = None) -> Clip:
    labels = [Track((), ROLES[k], None, pitch_range, low, high) for k in range(tracks)]
    return Clip(bars, tuple(labels), metre, 100, "cmajor")


def work(made: ArEngine | SlotsEngine, request: Request, steps: int = 10**9) -> tuple[Composing, int]:
    """The state after so many turns, and how many there were."""
    state, turns = made.prepare(request, torch.Generator().manual_seed(request.seed)), 0
    for _ in made.steps(state):
        turns += 1
        if turns == steps:
            break
    return state, turns


@settings(max_examples=15, deadline=None)
@given(
    bars=st.integers(1, 8),
    metre=st.sampled_from(TIME_SIGNATURES),
    tracks=st.integers(1, 4),
    limits=st.tuples(st.integers(1, 127), st.integers(1, 127)).map(sorted),
    pitch_range=st.sampled_from((None, "low", "mid_high")),
    density=st.floats(-1, 1),
    guidance=st.sampled_from((1.0, 3.0)),
    seed=st.integers(0, 10**6),
    make=st.sampled_from((engine, two_way_engine)),
)
def test_any_weights_make_legal_clips_without_an_empty_track(
    make: Maker, bars: int, metre: str, tracks: int, limits: list[int], pitch_range: str | None, density: float, guidance: float, seed: int
) -> None:
    made, clip = make(seed % 3), asked(bars, metre, tracks, *limits, pitch_range)
    request = Request(
        mode="generate", clip=clip, tracks=tuple(range(tracks)), guidance=guidance, density=density, variants=2, seed=seed
    )  # fmt: skip
    state, turns = work(made, request)
    assert turns == state.step == state.total == bars * tracks
    for found in made.finish(state):
        assert_legal(found)
        assert replace(found, tracks=clip.tracks) == clip
        for track, wish in zip(found.tracks, clip.tracks, strict=True):
            assert track.notes and replace(track, notes=()) == wish
            assert all(limits[0] <= note.velocity <= limits[1] for note in track.notes)
            assert octave_shift(np.array([note.pitch for note in track.notes]), pitch_range) == 0
            in_bar = np.bincount([note.onset_ticks // clip.bar_ticks for note in track.notes])
            assert in_bar.max() < vocab.COUNTS


@pytest.mark.parametrize("where", ["highest", "crowded"])
def test_a_bar_that_holds_no_more_is_left(where: str) -> None:
    """Weights that would never stop: a bar holds so many notes, and nothing comes behind the highest pitch of the last position."""
    made = engine()
    made.network.advance_head.bias.copy_(torch.arange(ADVANCES) * -50.0)
    made.network.heads[vocab.PITCH][2].bias.copy_(torch.arange(128) * (50.0 if where == "highest" else -50.0))
    made.network.heads[vocab.POSITION][2].bias[47 if where == "highest" else 0] = 90.0
    clip = asked(2, "4/4", 1)
    state, _ = work(made, Request(mode="generate", clip=clip, variants=2, seed=3))
    for found in made.finish(state):
        assert_legal(found)
        in_bar = np.bincount([note.onset_ticks // clip.bar_ticks for note in found.tracks[0].notes], minlength=2)
        assert in_bar.tolist() == ([1, 1] if where == "highest" else [vocab.COUNTS - 1] * 2)


@pytest.mark.parametrize("make", [engine, two_way_engine])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("waiting", [1 / 8, 1 / 2, 2])
def test_every_note_is_drawn_from_what_reading_all_before_it_at_once_says(
    make: Maker, guidance: float, waiting: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logits of the advances, as they were drawn from the cache, beside those of the finished lines; under guidance also those of
    the lines without conditions. Whether lines that are done are put aside at once, or wait for one more, or for all."""
    monkeypatch.setattr("musediff.engines.slots.composer.WAITING", waiting)
    made, seen, rows, waited = make(), list[Tensor](), list[list[int]](), False
    heads, write = InLine.advance_logits, Composer.write

    def watched(network: InLine, line_XD: Tensor) -> Tensor:
        seen.append(heads(network, line_XD))
        return seen[-1]

    def noted(composer: Composer) -> None:
        write(composer)
        rows.append(composer.row_B.tolist())

    clip = replace(make_clip(4, tracks=1), tracks=(*make_clip(4, tracks=1).tracks, *asked(4, "4/4", 2).tracks))
    request = Request(mode="generate", clip=clip, tracks=(1, 2), variants=3, seed=5, guidance=guidance)
    with monkeypatch.context() as patch:
        patch.setattr(InLine, "advance_logits", watched)
        patch.setattr(Composer, "write", noted)
        state, _ = work(made, request)
    tokens = state.line.pad_BN.shape[1]  # up to the start of the first new track
    for variant in range(3):
        line = finished(state, clip, variant)
        for half, said in enumerate((line, unconditional(line)) if guidance != 1 else (line,)):
            expected = heads(made.network, made.network.read_line(said).line_BMD[0, tokens - 1 :])
            mine = [logits[half * len(of) + of.index(variant)] for logits, of in zip(seen, rows, strict=True) if variant in of]
            assert torch.allclose(torch.stack(mine[: len(expected)]), expected, atol=1e-4)
            waited |= len(mine) > len(expected)
    assert waited == (waiting > 1 / 8)
    assert waiting == 1 / 2 or len(rows[-1]) < 3 or waiting > 1


def finished(state: Composing, clip: Clip, variant: int) -> Slots:
    """The line of a variant, of the given notes and what was written."""
    composer = state.composer
    assert composer is not None
    written = composer.all_lines.rows(slice(variant, variant + 1))
    mine = notes_of(written) & (written.track_BN > 0)
    rows = layout.start_row(layout.encode_clip(clip), np.zeros((4, 3), bool), np.zeros(4, bool))
    track, bar, values = (of[mine].numpy() for of in (written.track_BN, written.bar_BN, written.values_BNF))
    closed = np.zeros((len(bar), 4), bool)
    new = layout.Row(track, bar, values, np.full(len(bar), layout.NEW), closed, closed)
    joined = layout.Row(*(np.concatenate((getattr(rows, name), getattr(new, name))) for name in layout.Row.__dataclass_fields__))
    line = in_line(layout.batch([joined], clip)[0])
    assert line.pad_BN.shape[1] == state.line.pad_BN.shape[1] + len(bar) + 1
    return line


def test_at_temperature_1_a_class_is_drawn_as_often_as_the_network_says() -> None:
    """The rare ones too: without them clips repeat themselves."""
    likely = torch.tensor([0.93, 0.05, 0.015, 0.005])
    taste = Taste(1.0, 1.0, 0.0, torch.Generator().manual_seed(0))
    share = torch.bincount(taste.draw(likely.log().expand(40_000, -1), torch.zeros(4), 1.0), minlength=4) / 40_000
    assert torch.allclose(share, likely, atol=0.004) and share[3] > 0.0035


@pytest.mark.parametrize("known", [True, False])
def test_pitches_heed_the_chord_a_little_more_than_the_network_says_and_are_drawn_cooler(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what the network says of the same note with its chord and without; of the temperature that is asked for."""
    drawn, of_pitches, temperatures = list[Tensor](), list[Tensor](), set[tuple[str, float]]()
    heads, draw = InLine.field_logits, Taste.draw

    def heard(network: InLine, field: int, known_XD: Tensor, chosen_XF: Tensor, place: Place) -> Tensor:
        said = heads(network, field, known_XD, chosen_XF, place)
        if field == vocab.PITCH:
            of_pitches.append(said)
        return said

    def seen(taste: Taste, logits_XV: Tensor, mask_BV: Tensor, temperature: float) -> Tensor:
        what = {ADVANCES: "advance", vocab.SIZES[vocab.PITCH]: "pitch"}.get(logits_XV.shape[1], "other")
        temperatures.add((what, temperature))
        if what == "pitch":
            drawn.append(logits_XV)
        return draw(taste, logits_XV, mask_BV, temperature)

    monkeypatch.setattr(InLine, "field_logits", heard)
    monkeypatch.setattr(Taste, "draw", seen)
    clip = make_clip(3)
    clip = replace(clip, tracks=(replace(clip.tracks[0], notes=()),), chords=clip.chords if known else None)
    work(engine(), Request(mode="generate", clip=clip, temperature=0.8, seed=1))
    assert temperatures == {("advance", 1.0), ("pitch", 0.8 * PITCH_TEMPERATURE), ("other", 0.8)}
    assert PITCH_TEMPERATURE < 1 < CHORD_WEIGHT
    assert drawn and len(drawn) == len(of_pitches)
    for logits, (said, free) in zip(drawn, (both.chunk(2) for both in of_pitches), strict=True):
        assert torch.allclose(logits, said + (CHORD_WEIGHT - 1) * (said - free), atol=1e-5)
        assert torch.allclose(said, free, atol=1e-5) == (not known)


def test_given_tracks_come_first_wherever_they_stand_and_stay() -> None:
    given = make_clip(1, tracks=1)
    clip = replace(given, tracks=(Track((), "bass"), given.tracks[0]))
    made = engine()
    state, _ = work(made, Request(mode="generate", clip=clip, tracks=(0,), seed=1))
    found = made.finish(state)[0]
    assert found.tracks[1] == given.tracks[0] and found.tracks[0].notes and found.tracks[0].role == "bass"
    other = replace(clip, tracks=(clip.tracks[0], replace(clip.tracks[1], notes=clip.tracks[1].notes[3:])))
    assert made.finish(work(made, Request(mode="generate", clip=other, tracks=(0,), seed=1))[0])[0].tracks[0] != found.tracks[0]


def test_density_means_notes() -> None:
    made = engine()
    notes = [
        sum(
            len(clip.tracks[0].notes)
            for clip in made.finish(
                work(made, Request(mode="generate", clip=asked(8, "4/4", 1), variants=8, seed=2, density=density))[0]
            )
        )
        for density in (-1.0, 0.0, 1.0)
    ]  # fmt: skip
    assert notes[0] < notes[1] < notes[2]


def test_a_turn_for_every_bar_and_stop_keeps_what_there_is() -> None:
    made = MusePipeline(engine(), "ar", Priors())
    job, seen = made.start_generate(Meta(num_measures=8), Sampling(seed=1)), list[list[Note]]()
    for progress in job:
        assert_legal(progress.clips[0])
        seen.append(list(progress.clips[0].tracks[0].notes))
        assert progress.steps == 8 and len(seen) == progress.step
        if progress.step == 5:
            job.stop()
    result = job.result()
    assert not result.complete and list(result.clips[0].tracks[0].notes) == seen[-1]
    assert 0 < len(seen[0]) < len(seen[-1]) < len(made.generate(Meta(num_measures=8), Sampling(seed=1)).clips[0].tracks[0].notes)


def test_the_same_seed_makes_the_same_and_another_another() -> None:
    made = MusePipeline(engine(), "ar", Priors())
    one, again, other = (made.generate(Meta(num_measures=4), Sampling(seed=seed, variants=2)).clips for seed in (5, 5, 6))
    assert one == again and one[0] != one[1] and set(one).isdisjoint(other)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, c: p.start_modify(c, 0.5), "slots or the muse"),
        (lambda p, c: p.start_modify(c, 1.0, bars=frozenset({1})), "slots or the muse"),
        (lambda p, c: p.start_repair(c), "cannot change or repair"),
        (lambda p, c: p.start_generate(Meta(), Sampling(sampler="ddim")), "one way to sample"),
    ],
)
def test_what_it_cannot_do_is_refused_before_work(call, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        call(MusePipeline.tiny("ar"), make_clip())


def test_a_checkpoint_comes_back_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    made = ArEngine.tiny()
    config = {name: getattr(made.network.config, name) for name in type(made.network.config).__dataclass_fields__}
    weights = made.network.state_dict()
    checkpoint.save(tmp_path / "ar", "ar", config, vocab.fingerprint(), weights, {})
    back = MusePipeline.load(tmp_path / "ar")
    assert (back.engine_name, back.engine.parameters) == ("ar", made.parameters)
    loaded = back.engine.network.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(loaded[name], weights[name].bfloat16()) for name in weights)
    assert back.generate(Meta(num_measures=2), Sampling(seed=1)).clips[0].tracks[0].notes
    checkpoint.save(tmp_path / "odd", "ar", config | {"depth": 3}, vocab.fingerprint(), weights, {})
    with pytest.raises(BadCheckpoint, match="unknown network setting"):
        MusePipeline.load(tmp_path / "odd")
    with pytest.raises(BadCheckpoint, match="of the engine ar"):
        MusePipeline.load(tmp_path / "ar", "slots")


def test_it_is_no_engine_of_the_page_unless_asked_for() -> None:
    assert "ar" not in bundled()


def test_the_weights_of_the_tables_play_the_chords_that_are_asked_for(root: Path) -> None:
    pipeline = MusePipeline.load(root / "assets" / "baseline" / "ar")
    chords = parse("C | Am | F | G | C | Am | F | G", key="cmajor", time_signature="4/4", num_measures=8).chords
    frame = Meta(audio_key="cmajor", time_signature="4/4", num_measures=8, bpm=90, chord_progression=chords)
    wish = frame.but(Meta(track_role="accompaniment", inst="acoustic_piano", genre="pop"))
    clips = pipeline.generate(wish, Sampling(seed=1, variants=3)).clips
    for clip in clips:
        assert_legal(clip)
    assert np.mean([chord_tone_ratio(clip.tracks[0].notes, clip) for clip in clips]) > 0.8
