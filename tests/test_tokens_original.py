"""The original's codec, reproduced: against its recordings, and against what is known of its faults."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musediff.clip import KEY_INDEX, Clip, Note, Track
from musediff.errors import BadRequest
from musediff.midi.read import read
from musediff.tokens import commu, original_decode, original_encode
from musediff.tokens.original_decode import BadSequence

ROW: dict[str, Any] = {
    "bpm": 100, "audio_key": "cmajor", "time_signature": "4/4", "pitch_range": "mid", "num_measures": 4.0, "inst": "vocal-2",
    "genre": "newage", "min_velocity": 30, "max_velocity": 81, "track_role": "riff", "rhythm": "standard", "is_incomplete_measure": False,
    "chord_progressions": [["C"] * 32],
}  # fmt: skip
META = [580, 602, 627, 634, 638, 650, 651, 669, 695, 725, 727]
BAR_NOTE = [2, 432, 150, 60, 320]


@pytest.fixture(scope="module")
def pieces(shared: Path) -> list[dict[str, Any]]:
    cases = json.loads((shared / "golden" / "commu_cases.json").read_text("utf-8"))["cases"]
    assert cases
    return cases


def spans(notes: tuple[Note, ...]) -> list[list[int]]:
    return [[n.onset_ticks, n.onset_ticks + n.duration_ticks, n.pitch, n.velocity] for n in notes]


def parsed(case: dict[str, Any]) -> list[Note]:
    return [Note(start, pitch, end - start, velocity) for start, end, pitch, velocity in case["notes_as_parsed"]]


def test_recorded_pieces_are_encoded_and_merged_alike(pieces: list[dict[str, Any]]) -> None:
    for case in pieces:
        meta = original_encode.encode_meta(case["info"])
        events = original_encode.encode_events(parsed(case), case["info"], case["ticks_per_beat"])
        assert meta == case["meta_tokens"]
        assert (events.tokens, events.printed) == (case["event_tokens"], case["encode_stdout"])
        merged = original_encode.merge(meta, events.tokens)
        assert (merged.ids, merged.mask, len(merged.ids)) == (case["input_ids"], case["input_mask"], case["length"])


def test_recorded_pieces_are_restored_checked_and_decoded_alike(pieces: list[dict[str, Any]]) -> None:
    for case in pieces:
        restored = original_decode.restore(case["input_ids"], case["input_mask"])
        assert (restored.events, restored.meta) == (case["restored_event_tokens"], case["restored_meta"])
        assert (restored.events == case["event_tokens"]) == case["restored_equals_original"]
        assert case["validate"] == case["validate_strict"] == "ok"
        found, wanted = original_decode.decode(case["input_ids"], case["input_mask"], strict=True), case["decoded"]
        (_, bpm), (_, top, bottom), (_, key, number) = wanted["tempo"][0], wanted["ts"][0], wanted["key"][0]
        assert (found.bpm, found.time_signature, found.key, KEY_INDEX[key]) == (bpm, f"{top}/{bottom}", key, number)
        assert spans(found.notes) == wanted["notes"]
        assert [list(marker) for marker in found.markers] == wanted["markers"]
        assert found.printed == wanted["stdout"]


def test_the_recorded_files_hold_what_is_decoded(pieces: list[dict[str, Any]], shared: Path) -> None:
    for case in pieces:
        file = shared / "golden" / "midi" / f"{case['name']}.decoded.mid"
        score, found = read(file.read_bytes()), original_decode.decode(case["input_ids"], case["input_mask"])
        assert list(score.tracks[0].notes) == sorted(found.notes)
        assert score.markers == found.markers
        assert score.tempos[0] == (0, pytest.approx(found.bpm, abs=1e-4))


def test_files_read_by_our_own_reader_give_the_same_tokens(pieces: list[dict[str, Any]], shared: Path) -> None:
    """At 480 ticks per quarter, whatever the file has. One piece has notes of one pitch that overlap: readers part them differently."""
    alike = 0
    for case in pieces:
        notes = read((shared / "golden" / case["midi"]).read_bytes()).tracks[0].notes
        tokens = original_encode.encode_events(notes, case["info"]).tokens
        assert len(tokens) == len(case["event_tokens"])
        alike += tokens == case["event_tokens"]
        wrong = sum(a != b for a, b in zip(tokens, case["event_tokens"], strict=True))
        assert wrong == 0 or (case["name"].startswith("b_") and wrong <= 2)
    assert alike >= len(pieces) - 1


def test_recorded_edge_cases_pass_or_fail_alike(shared: Path) -> None:
    cases = json.loads((shared / "golden" / "decode_validity_cases.json").read_text("utf-8"))
    assert cases
    for case in cases:
        for name in ("lenient", "strict"):
            wanted = case[name]
            if wanted["ok"]:
                found = original_decode.decode(case["ids"], case["mask"], strict=name == "strict")
                assert spans(found.notes) == wanted["notes"], case["name"]
                assert [list(marker) for marker in found.markers] == wanted["markers"], case["name"]
                assert found.printed == wanted["stdout"], case["name"]
            else:
                with pytest.raises(BadSequence) as caught:
                    original_decode.decode(case["ids"], case["mask"], strict=name == "strict")
                assert str(caught.value) == wanted["message"], case["name"]


def test_our_codec_agrees_where_the_original_is_right(pieces: list[dict[str, Any]]) -> None:
    """The recorded piece in 4/4 without a pick-up: the same prefix, and the same notes but for the one of velocity 1. Notes of one
    position are in the order of pitch, not of the ticks that they were played at."""
    case = pieces[0]
    info, names = case["info"], {"C": 0, "Am": 9 * 9 + 4, "F": 5 * 9, "G7": 7 * 9 + 1}
    chords = tuple(names[name] for name in info["chord_progressions"][0])
    part = Track(tuple(sorted(parsed(case))), info["track_role"], "acoustic_piano", info["pitch_range"], 1, 127)
    ours = commu.encode(Clip(4, (part,), "4/4", info["bpm"], info["audio_key"], info["genre"], info["rhythm"], chords))
    assert ours.noised.astype(int).tolist() == case["input_mask"]
    theirs = np.array(case["input_ids"])
    assert ours.ids[~ours.noised].tolist() == theirs[~ours.noised].tolist()
    rows, their_rows = commu.notes_of(ours.ids[ours.noised]).rows.tolist(), commu.notes_of(theirs[ours.noised]).rows.tolist()
    different = [pair for pair in zip(rows, sorted(their_rows), strict=True) if pair[0] != pair[1]]
    assert different == [([2, 0, 36, 128, 2], [2, 0, 36, 128, 127])] and rows != their_rows


def test_velocity_one_becomes_the_loudest() -> None:
    events = original_encode.encode_events([Note(0, 60, 480, 1)], ROW)
    assert events.tokens[3:7] == [432, 194, 63, 335]
    assert events.printed == "OOV Note Velocity_-1\n"


@pytest.mark.parametrize(
    ("metre", "bar", "position_step", "duration_step"),
    [("3/4", 1440, 11.25, 11), ("6/8", 1440, 11.25, 11), ("12/8", 2880, 22.5, 22)],
)
def test_positions_and_durations_disagree_outside_four_four(metre: str, bar: int, position_step: float, duration_step: int) -> None:
    row = ROW | {"time_signature": metre, "chord_progressions": [["C"] * (4 * bar // 240)]}
    events = original_encode.encode_events([Note(bar // 2, 60, bar // 2, 64), Note(bar, 60, bar, 64)], row)
    merged = original_encode.merge(original_encode.encode_meta(row), events.tokens)
    half, whole = original_decode.decode(merged.ids, merged.mask).notes
    assert half.onset_ticks == int(64 * position_step)
    assert whole.duration_ticks == 128 * duration_step < bar
    assert original_encode.duration_bins(bar)[:2].tolist() == [duration_step, 2 * duration_step]
    assert len(original_encode.duration_bins(bar)) == 130 and len(original_encode.duration_bins(1920)) == 128


def test_twelve_eight_and_an_unknown_pitch_range_are_one_token() -> None:
    row = ROW | {"time_signature": "12/8", "pitch_range": None, "chord_progressions": [["C"] * 48]}
    assert original_encode.encode_meta(row)[2:4] == [630, 630]
    merged = original_encode.merge(original_encode.encode_meta(row), original_encode.encode_events([Note(0, 60, 480, 64)], row).tokens)
    assert original_decode.decode(merged.ids, merged.mask).time_signature == "12/8"


def test_metadata_are_not_checked() -> None:
    assert original_encode.encode_meta(ROW) == META  # "vocal" and "genre unknown" are one token, 650
    assert original_encode.encode_meta(ROW | {"genre": None})[5:7] == [650, 650]
    wild = original_encode.encode_meta(ROW | {"bpm": -50, "min_velocity": 200, "max_velocity": 300})
    assert (wild[0], wild[7], wild[8]) == (550, 754, 804)
    assert original_encode.encode_meta(ROW | {"bpm": 999})[0] == 600
    unknown = original_encode.encode_meta(dict.fromkeys(ROW, None) | {"num_measures": 17.0, "bpm": "unknown"})
    assert unknown == [560, 601, 626, 630, 640, 641, 650, 653, 653, 719, 726]


@pytest.mark.parametrize(("field", "value"), [("num_measures", 12), ("genre", "pop"), ("audio_key", "hmajor"), ("inst", "kazoo")])
def test_what_has_no_token_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=field):
        original_encode.encode_meta(ROW | {field: value})


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("Bb6", 195 + 9), ("Dbmaj", 195 + 36), ("Ebsus2", 195 + 54 + 7), ("Gbdim7", 195 + 81 + 3), ("Abm6", 195 + 99 + 4),
        ("Csus2", 222 + 7), ("E7sus4/B", 195 + 63 + 8), ("F6(9)", 267), ("CM7", 222 + 5), ("A#m7", 195 + 9 + 5),
    ],
)  # fmt: skip
def test_chord_spellings_of_the_encoder(name: str, token: int) -> None:
    events = original_encode.encode_events([], ROW | {"chord_progressions": [[name] * 32]})
    assert events.tokens[:3] == [2, 432, token] and events.printed == ""


@pytest.mark.parametrize("name", ["CmM7", "C#6", "Cmaj", "C9"])
def test_a_chord_without_a_token_leaves_its_position_alone(name: str) -> None:
    events = original_encode.encode_events([], ROW | {"chord_progressions": [[name] * 32]})
    assert events.tokens == [2, 432] * 4 + [1]
    assert events.printed.splitlines() == [f"OOV Chord_{name.lower()}"] * 4


def test_the_separator_of_a_prompt_is_padding_and_a_change_inside_a_bar_loses_its_chord() -> None:
    prompt = original_encode.prompt(ROW | {"chord_progressions": [["Am"] * 4 + ["G"] * 4 + ["G"] * 8]}, 24)
    assert prompt.ids == [*META, 432, 199, 496, 432, 285, 0, *[0] * 7]
    assert prompt.mask == [0] * 17 + [1] * 7


@pytest.mark.parametrize(
    ("chords", "length", "said"),
    [(["C"] * 9, 64, "whole bars"), (["Bb"] * 8, 64, "'Bb'"), (["am"] * 8, 64, "'am'"), (["C"] * 16, 15, "room")],
)
def test_a_prompt_that_cannot_be_is_refused(chords: list[str], length: int, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        original_encode.prompt(ROW | {"chord_progressions": [chords]}, length)


def restored(chords: list[int], notes: list[int]) -> list[int]:
    ids = [*META, *chords, 1, *notes]
    return original_decode.restore(ids, [0] * (12 + len(chords)) + [1] * len(notes)).events


def test_chords_go_back_by_the_number_of_bars() -> None:
    two = [432, 222, 432, 285, 496, 199]
    tail = BAR_NOTE[1:]
    assert restored(two, [*BAR_NOTE, *BAR_NOTE, 1]) == [2, 432, 222, *tail, 2, 432, 285, *tail, 496, 199, 1]
    assert restored(two, [2, *BAR_NOTE, *BAR_NOTE, 1]) == [2, 2, 432, 222, *tail, 2, 432, 285, *tail, 496, 199, 1]  # a pick-up
    assert restored(two, [*BAR_NOTE, 1]) == [2, 432, 222, *tail, 2, 432, 285, 496, 199, 1]  # missing bars are appended
    with pytest.raises(BadSequence, match="RESTORE_CHORD FROM META FAILED"):
        restored(two, [2, 2, *BAR_NOTE, *BAR_NOTE, 1])


def test_one_complete_note_is_enough_for_the_lenient_check() -> None:
    broken = [2, 440, 150, *BAR_NOTE, 60, 60, 2, 1]
    original_decode.validate(broken)
    with pytest.raises(BadSequence, match="STRICT"):
        original_decode.validate(broken, strict=True)
    assert not commu.legal(np.array(broken), 3)


def test_a_chord_at_the_very_end_is_lost() -> None:
    ids = [*META, 432, 222, 432, 285, 1, *BAR_NOTE, 2, 1]
    assert original_decode.decode(ids, [0] * 16 + [1] * 7).markers == ((0, "c"),)


def test_every_row_of_the_table_of_differences_names_a_test(root: Path) -> None:
    rows = [line for line in (root / "docs" / "muse.md").read_text("utf-8").splitlines() if line.startswith("|")]
    rows = [row for row in rows if not row.startswith(("|---", "| |"))]
    tests = "".join(path.read_text("utf-8") for path in (root / "tests").rglob("test_*.py"))
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rsplit("|", 2)[1])
        assert named and all(f"def {name}(" in tests for name in named), row
