"""Damaged MIDI: cut anywhere, changed anywhere, or no MIDI at all. Notes or a reason, never anything else."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musediff.clip import BAR_TICKS, MAX_BARS, MAX_BPM, MIN_BPM
from musediff.errors import BadMidi
from musediff.midi.analyze import analyze, track_infos
from musediff.midi.read import MAX_TICKS, read
from musediff.midi.score import Score
from tests.midi_bytes import END, header, quantity

ASSETS = Path(__file__).parent / "assets" / "midi"
REAL = sorted([*ASSETS.glob("plain/*.mid"), *ASSETS.glob("hard/*.mid")])


def check(score: Score) -> None:
    """What every score promises."""
    assert any(t.notes for t in score.tracks)
    assert score.end_ticks <= MAX_TICKS
    for part in score.tracks:
        assert 0 <= part.program <= 127
        assert part.notes == tuple(sorted(part.notes))
        for note in part.notes:
            assert 0 <= note.onset_ticks <= MAX_TICKS
            assert note.duration_ticks >= 1
            assert 0 <= note.pitch <= 127
            assert 1 <= note.velocity <= 127
    assert all(bpm > 0 for _, bpm in score.tempos)
    assert all(s.endswith(".") for s in score.notes)


@pytest.mark.parametrize("path", [ASSETS / "plain/freedoom_intro.mid", ASSETS / "broken/freedoom_dummy.mid"], ids=lambda p: p.stem)
def test_cut_at_every_byte(path: Path) -> None:
    """Either a reason, or notes and a word about the cut; never fewer notes than a shorter piece of the file gave."""
    data = path.read_bytes()
    whole = sum(len(t.notes) for t in read(data).tracks)
    before = 0
    for size in range(len(data)):
        try:
            score = read(data[:size])
        except BadMidi as error:
            assert len(str(error)) > 20
            assert before == 0
            continue
        check(score)
        assert any("cut off" in s for s in score.notes), size
        found = sum(len(t.notes) for t in score.tracks)
        assert before <= found <= whole
        before = found
    assert before > 0


def damaged(data: bytes, draw: st.DrawFn) -> bytes:
    """A few bytes of a file changed, taken out, put in, or the rest cut away."""
    piece = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(piece) - 1)))
        how = draw(st.sampled_from(("change", "flip", "remove", "insert", "cut", "header", "length")))
        if how == "change":
            piece[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "flip" and piece:
            piece[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "remove":
            del piece[at : at + draw(st.integers(1, 64))]
        elif how == "insert":
            piece[at:at] = draw(st.one_of(st.binary(max_size=12), st.sampled_from((quantity(0x0FFFFFFF), b"MTrk", b"MThd", END))))
        elif how == "cut":
            del piece[at:]
        elif how == "header":
            place = draw(st.integers(4, 13))
            piece[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif (found := piece.find(b"MTrk")) >= 0:
            piece[found + 4 : found + 8] = draw(st.binary(min_size=4, max_size=4))
    return bytes(piece)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    return damaged(draw(st.sampled_from(REAL)).read_bytes(), draw)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(damaged_files())
def test_damaged_real_file_gives_a_score_or_a_reason(data: bytes) -> None:
    try:
        score = read(data)
        check(score)
        clip = analyze(score).clip
    except BadMidi as error:
        assert len(str(error)) > 20
        return
    assert len(track_infos(score)) == len(score.tracks)
    assert 1 <= clip.num_measures <= MAX_BARS
    assert MIN_BPM <= clip.bpm <= MAX_BPM
    assert clip.time_signature in BAR_TICKS
    assert all(0 <= n.onset_ticks < clip.end_ticks and n.onset_ticks + n.duration_ticks <= clip.end_ticks for n in clip.tracks[0].notes)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_track_bytes(body: bytes) -> None:
    try:
        check(read(header() + b"MTrk" + len(body).to_bytes(4, "big") + body))
    except BadMidi as error:
        assert len(str(error)) > 20
