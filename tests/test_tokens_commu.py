"""Clip -> tokens -> clip: nothing is lost but what lies between two grid lines, and every row of the original's faults is mended."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.chords import ANY_CHORD, NO_CHORD, chord_id
from musediff.clip import BAR_TICKS, GENRES, TIME_SIGNATURES, Clip, Note, Track
from musediff.tokens import commu, vocab
from musediff.tokens.vocab import Kind
from tests.token_clips import any_clips, grid_clips

LIMITS = (560, 601, 626, 630, 638, 641, 650, 653, 719, 726, 729)  # first id of each of the original's groups of metadata


def note_part(clip: Clip) -> np.ndarray:
    encoded = commu.encode(clip)
    return encoded.ids[encoded.noised]


@given(grid_clips())
@settings(max_examples=60, deadline=None)
def test_notes_on_the_grid_survive_exactly(clip: Clip) -> None:
    assert commu.decode(note_part(clip), clip) == clip.tracks[0].notes


@given(any_clips())
@settings(max_examples=60, deadline=None)
def test_any_clip_becomes_a_legal_note_part_with_all_its_notes_near_their_place(clip: Clip) -> None:
    encoded = commu.encode(clip)
    ids = encoded.ids[encoded.noised]
    assert commu.legal(ids, clip.num_measures)
    notes = commu.decode(ids, clip)
    assert len(notes) == len(clip.tracks[0].notes)
    assert all(n.onset_ticks >= 0 and n.onset_ticks + n.duration_ticks <= clip.end_ticks and n.duration_ticks >= 11 for n in notes)
    sources = encoded.source[encoded.source >= 0]
    assert sorted(sources.tolist()) == sorted(4 * [*range(len(notes))])
    step = clip.bar_ticks / vocab.GRID
    for row, index in zip(commu.notes_of(ids).rows, sources[::4], strict=True):
        note, near = clip.tracks[0].notes[index], commu.to_notes(row[None], clip)[0]
        assert near.pitch == note.pitch and abs(near.velocity - note.velocity) <= 1
        assert near.onset_ticks // clip.bar_ticks == note.onset_ticks // clip.bar_ticks == row[0]
        last = row[1] == vocab.GRID - 1
        assert abs(near.onset_ticks - note.onset_ticks) <= (step if last else step / 2) + 1
        length = min(note.duration_ticks, clip.bar_ticks, clip.end_ticks - near.onset_ticks)
        assert abs(near.duration_ticks - length) <= step + 1


@given(any_clips())
@settings(max_examples=60, deadline=None)
def test_every_token_knows_its_bar_and_its_note(clip: Clip) -> None:
    encoded = commu.encode(clip)
    assert encoded.ids.shape == encoded.noised.shape == encoded.bar.shape == encoded.source.shape
    first = int(np.argmax(encoded.noised))
    assert encoded.noised[first:].all() and encoded.ids[first] == vocab.BAR and encoded.ids[first - 1] == vocab.EOS
    assert (encoded.bar[:first] == -1).all() and (encoded.source[:first] == -1).all()
    np.testing.assert_array_equal(encoded.bar[first:-1], np.cumsum(encoded.ids[first:-1] == vocab.BAR) - 1)
    assert encoded.bar[-1] == clip.num_measures - 1
    of_notes = np.isin(vocab.KIND[encoded.ids], vocab.NOTE) & encoded.noised
    np.testing.assert_array_equal(encoded.source >= 0, of_notes)
    rows = commu.notes_of(encoded.ids[first:]).rows
    assert rows[:, :3].tolist() == sorted(rows[:, :3].tolist())  # by bar, position, pitch


@given(any_clips(), st.sampled_from([vocab.SIZE, vocab.SIZE_ORIGINAL]))
@settings(max_examples=60, deadline=None)
def test_a_prefix_has_one_token_of_each_group_and_a_pair_for_each_change(clip: Clip, size: int) -> None:
    ids = commu.prefix(clip, size=size)
    meta, chords, separator = ids[:11], ids[11:-1], ids[-1]
    assert ids.max() < size and separator == vocab.EOS
    groups = (0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9)
    own = {2: [729], 4: [735], 5: [736], 6: [730, 731, 732, 733, 734]}
    for token, group in zip(meta.tolist(), groups, strict=True):
        assert LIMITS[group] <= token < LIMITS[group + 1] or token in own.get(group, ()), (token, group)
    assert (vocab.KIND[chords[::2]] == Kind.POSITION).all() and (vocab.KIND[chords[1::2]] == Kind.CHORD).all()
    if clip.chords is None or set(clip.chords) == {ANY_CHORD}:
        assert len(chords) == 0
        return
    sounding, bar, per_bar = [NO_CHORD] * len(clip.chords), -1, clip.chords_per_bar
    for position, token in chords.reshape(-1, 2):
        bar += position == vocab.POSITION
        start = bar * per_bar + int(np.ceil((position - vocab.POSITION) * per_bar / vocab.GRID))
        sounding[start:] = [vocab.chord_of(token)] * (len(sounding) - start)
    assert bar == clip.num_measures - 1
    assert sounding == [NO_CHORD if chord == ANY_CHORD else chord for chord in clip.chords]


@given(any_clips())
@settings(max_examples=60, deadline=None)
def test_the_layout_tells_where_tokens_stand_and_not_what_they_are(clip: Clip) -> None:
    prefix, encoded = commu.prefix(clip), commu.encode(clip)
    part = encoded.ids[encoded.noised]
    whole = commu.layout(prefix, part)
    bar, kind, number = whole[:, :3].T
    assert np.array_equal(kind, vocab.KIND[encoded.ids])
    most = commu.LAYOUT_SIZES[0] - 1
    assert np.array_equal(bar[encoded.noised][:-1], np.minimum(encoded.bar[encoded.noised][:-1] + 1, most))
    assert not bar[: vocab.META_TOKENS].any() and bar[-1] == bar[len(prefix) - 1] == 0
    chords = prefix[vocab.META_TOKENS : -1]
    if len(chords):
        assert bar[vocab.META_TOKENS : len(prefix) - 1].max() == min(clip.num_measures, most)
    for here in np.unique(encoded.bar[encoded.source >= 0]):
        notes = number[(encoded.bar == here) & (encoded.source >= 0)].reshape(-1, 4)
        assert (notes == np.minimum(np.arange(1, len(notes) + 1), commu.LAYOUT_SIZES[2] - 1)[:, None]).all()
    other = np.where(kind[encoded.noised] == Kind.PITCH, vocab.PITCH, part)  # other values of the same kinds
    assert np.array_equal(commu.layout(prefix, other), whole)
    assert not whole[: len(prefix), 3:].any()
    if len(chords):
        starts = [int(place * clip.chords_per_bar / commu.CHORD_PLACES) for place in range(commu.CHORD_PLACES)]
        for here, sounding in zip(bar[len(prefix) : -1].tolist(), whole[len(prefix) : -1, 3:].tolist(), strict=True):
            if here < most:
                there = [clip.chords[(here - 1) * clip.chords_per_bar + start] for start in starts]
                assert sounding == [vocab.chord_token(chord) - vocab.CHORD + 1 for chord in there]
    else:
        assert not whole[:, 3:].any()


def test_every_metadata_has_its_recorded_token() -> None:
    part = Track((), "main_melody", "acoustic_piano", "mid_high", 1, 127)
    chords = tuple(chord_id(name) for name in ("C", "Am", "F", "G7") for _ in range(8))
    clip = Clip(4, (part,), "4/4", 97, "cmajor", "newage", "standard", chords)
    expected = [579, 602, 627, 635, 638, 642, 651, 654, 718, 720, 727, 432, 222, 432, 199, 432, 267, 432, 286, 1]
    assert commu.prefix(clip).tolist() == commu.prefix(clip, size=vocab.SIZE_ORIGINAL).tolist() == expected
    assert commu.prefix(Clip(4, (Track(()),))).tolist() == [580, 601, 627, 630, 638, 641, 650, 653, 653, 719, 726, 1]


def test_twelve_eight_has_a_token_of_its_own() -> None:
    clip = Clip(4, (Track(()),), "12/8")
    assert commu.prefix(clip)[2:4].tolist() == [729, 630]
    assert commu.prefix(clip, size=vocab.SIZE_ORIGINAL)[2:4].tolist() == [626, 630]


def test_no_instrument_has_the_token_of_an_unknown_genre() -> None:
    clips = [Clip(4, (Track((), instrument=name),)) for name in ("vocal", "choir")]
    assert [commu.prefix(clip)[5] for clip in clips] == [736, 649]
    assert [commu.prefix(clip, size=vocab.SIZE_ORIGINAL)[5] for clip in clips] == [649, 649]


@pytest.mark.parametrize(
    ("bars", "ours", "theirs"),
    [(1, 735, 638), (4, 638, 638), (5, 735, 638), (8, 639, 639), (11, 735, 639), (64, 735, 640)],
)
def test_any_number_of_bars_has_a_token(bars: int, ours: int, theirs: int) -> None:
    clip = Clip(bars, (Track(()),))
    assert commu.prefix(clip)[4] == ours
    assert commu.prefix(clip, size=vocab.SIZE_ORIGINAL)[4] == theirs


def test_every_genre_has_a_token() -> None:
    clips = [Clip(4, (Track(()),), genre=genre) for genre in GENRES]
    assert [int(commu.prefix(clip)[6]) for clip in clips] == [651, 652, 730, 731, 732, 733, 734]
    assert [int(commu.prefix(clip, size=vocab.SIZE_ORIGINAL)[6]) for clip in clips] == [651, 652, *[650] * 5]


def test_a_chord_change_inside_a_bar_is_written() -> None:
    am, g = chord_id("Am"), chord_id("G")
    clip = Clip(2, (Track(()),), chords=(am,) * 4 + (g,) * 4 + (g,) * 8)
    assert commu.prefix(clip)[11:].tolist() == [432, 199, 496, 285, 432, 285, 1]


@pytest.mark.parametrize(
    ("metre", "positions"),
    [
        ("4/4", [0, 16, 32, 48, 64, 80, 96, 112]),
        ("3/4", [0, 21, 42, 64, 85, 106]),
        ("6/8", [0, 21, 42, 64, 85, 106]),
        ("12/8", [0, 10, 21, 32, 42, 53, 64, 74, 85, 96, 106, 117]),
    ],
)
def test_chords_are_placed_by_the_metre(metre: str, positions: list[int]) -> None:
    clip = Clip(1, (Track(()),), metre, chords=tuple(range(len(positions))))
    assert (commu.prefix(clip)[11:-1:2] - vocab.POSITION).tolist() == positions


def test_the_quietest_velocity_stays_quiet() -> None:
    clip = Clip(1, (Track((Note(0, 60, 480, 1),)),))
    assert commu.decode(note_part(clip), clip) == (Note(0, 60, 480, 2),)


@pytest.mark.parametrize("metre", TIME_SIGNATURES)
def test_positions_and_durations_share_one_grid(metre: str) -> None:
    """A bar of legato notes, each a grid step long, ends where the next one begins, to the tick that rounding costs."""
    bar = BAR_TICKS[metre]
    starts = [int(place * bar / 128 + 0.5) for place in range(129)]
    clip = Clip(1, (Track(tuple(Note(a, 60, b - a, 65) for a, b in pairwise(starts))),), metre)
    for note, after in pairwise(commu.decode(note_part(clip), clip)):
        assert abs(note.onset_ticks + note.duration_ticks - after.onset_ticks) <= 1
    whole = Clip(2, (Track((Note(0, 60, bar, 65),)),), metre)
    assert commu.decode(note_part(whole), whole) == whole.tracks[0].notes


NOTE = [440, 150, 60, 320]


@pytest.mark.parametrize(
    ("ids", "bars", "problem"),
    [
        ([], 1, "The first token is no bar."),
        ([2, 2, 1], 1, None),
        ([2, *NOTE], 1, "There is no end token."),
        ([*NOTE, 2, 1], 1, "The first token is no bar."),
        ([2, *NOTE[:3], 1], 1, "Token 5 (eos) may not stand behind token 4 (pitch)."),
        ([2, 440, 60, 150, 320, 1], 1, "Token 3 (pitch) may not stand behind token 2 (position)."),
        ([2, *NOTE, 440, 222, 1], 1, "Token 7 (chord) may not stand behind token 6 (position)."),
        ([2, 0, *NOTE, 1], 1, "Token 2 (pad) may not stand behind token 1 (bar)."),
        ([2, 1, 0, 2, 1], 1, "Behind the end 2 of the tokens are no padding."),
        ([2, 602, 1], 1, "Token 2 (meta) may not stand behind token 1 (bar)."),
    ],
)
def test_what_is_wrong_is_said(ids: list[int], bars: int, problem: str | None) -> None:
    array = np.array(ids, np.int64)
    assert not commu.legal(array, bars)
    assert (problem in commu.notes_of(array).problems) if problem else commu.notes_of(array).problems == ()


@given(any_clips(), st.integers(0, 10**6), st.integers(0, vocab.SIZE - 1))
@settings(max_examples=60, deadline=None)
def test_what_is_legal_has_no_problems_and_the_other_way_round(clip: Clip, place: int, token: int) -> None:
    ids = note_part(clip)
    ids[place % len(ids)] = token
    reading = commu.notes_of(ids)
    assert commu.legal(ids, reading.num_measures) == (reading.problems == ())
    assert len(commu.to_notes(reading.rows, clip)) == int(np.sum(reading.rows[:, 0] < clip.num_measures))


def test_the_readable_notes_of_a_damaged_sequence_are_read() -> None:
    reading = commu.notes_of(np.array([*NOTE, 2, *NOTE, 0, 150, 60, 320, 2, *NOTE, 1, *NOTE]))
    assert reading.rows.tolist() == [[0, 8, 57, 17, 39], [1, 8, 57, 17, 39]]
    assert reading.num_measures == 2


def test_a_note_behind_the_last_bar_is_left_out() -> None:
    ids = np.array([2, *NOTE, 2, *NOTE, 1])
    clip = Clip(1, (Track(()),))
    assert len(commu.to_notes(commu.notes_of(ids).rows, clip)) == 1
    with pytest.raises(AssertionError):
        commu.decode(ids, clip)


def test_padding_behind_the_end_is_legal() -> None:
    clip = Clip(1, (Track((Note(0, 60, 480, 65),)),))
    padded = np.concatenate((note_part(clip), np.zeros(5, np.int64)))
    assert commu.decode(padded, clip) == clip.tracks[0].notes


def test_each_track_is_encoded_by_itself() -> None:
    one, other = Track((Note(0, 60, 480, 65),), "bass"), Track((), "pad")
    clip = Clip(2, (one, other))
    assert commu.encode(clip, 1).ids.tolist() == [*commu.prefix(clip, 1).tolist(), 2, 2, 1]
    assert commu.encode(clip, 0).ids.tolist() == commu.encode(replace(clip, tracks=(one,))).ids.tolist()
