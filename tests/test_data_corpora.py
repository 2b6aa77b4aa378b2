"""Drums, any folder of MIDI files and ComMU's layout -> Songs: small corpora are made here, whole and spoilt."""

import csv
import io
import json
import tarfile
from pathlib import Path

import pytest

from musediff.chords import ANY_CHORD, NO_CHORD
from musediff.clip import Clip, Note, Track
from musediff.data import commu, folder, freedoom, groove
from musediff.data.build import build
from musediff.data.source import Item
from musediff.data.store import TRAIN, VALID
from musediff.errors import BadData
from musediff.midi.write import write


def scale(count: int, ticks: int = 480, first: int = 0) -> list[Note]:
    return [Note(first + i * ticks, (60, 62, 64, 65, 67, 65, 64, 62)[i % 8], ticks, 80) for i in range(count)]


def _midi(tracks: list[Track], bars: int = 8) -> bytes:
    return write(Clip(bars, tuple(tracks), bpm=110))


@pytest.mark.parametrize(("data", "words"), [(b"MThd", "freedoom/x"), (b"", "freedoom/x")])
def test_broken_midi_is_bad_data(data: bytes, words: str) -> None:
    for convert in (freedoom.convert, folder.convert):
        with pytest.raises(BadData, match=words):
            convert(Item("freedoom/x", data))


# Groove


def test_drum_beats_are_one_track_of_riffs(tmp_path: Path) -> None:
    beat = tuple(sorted(Note(i * 240 + i % 3 * 7, 36 if i % 4 == 0 else 22, 60, 90) for i in range(64)))
    (tmp_path / "drummer1").mkdir()
    (tmp_path / "drummer1" / "1.mid").write_bytes(_midi([Track(beat, instrument="drums_full")]))
    columns = "id,style,bpm,beat_type,time_signature,midi_filename,split"
    file = "drummer1/1.mid"
    rows = [f"d/1,rock,97,beat,4-4,{file},test", f"d/2,rock,97,fill,4-4,{file},test", f"d/3,jazz,90,beat,3-4,{file},train"]
    (tmp_path / "info.csv").write_text("\n".join([columns, *rows]))
    items = groove.items(tmp_path)
    assert [item.name for item in items] == ["groove/d/1"]
    song = groove.convert(items[0])
    assert {(bar.meter, bar.key, bar.bpm) for bar in song.bars} == {("4/4", None, 97)}
    assert set(song.chords) == {ANY_CHORD}
    assert {(c.role, song.tracks[c.track].instrument) for c in song.clips} == {("riff", "drums_full")}
    assert {n.pitch for n in song.tracks[0].notes} == {36, 42}  # the rim of the hi-hat is a closed hi-hat
    assert [n.onset_ticks for n in song.tracks[0].notes] == [i * 240 for i in range(len(song.tracks[0].notes))]
    assert song.split == VALID


def test_groove_needs_its_table(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"info\.csv"):
        groove.items(tmp_path)


# Any folder


def test_any_folder_of_midi_files(tmp_path: Path) -> None:
    melody = Track(tuple(scale(4 * 70)), instrument="flute", name="melody")
    bass = Track(tuple(Note(i * 1920, 36, 1800, 80) for i in range(70)), instrument="acoustic_bass", name="bass")
    drums = Track(tuple(Note(i * 960, 36, 60, 80) for i in range(140)), instrument="drums_full", name="drums")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.mid").write_bytes(_midi([melody, bass, drums], 70))
    (tmp_path / "drums.midi").write_bytes(_midi([drums], 70))
    (tmp_path / "notes.txt").write_text("not music")
    items = folder.items(tmp_path)
    assert [item.name for item in items] == ["folder/deep/a", "folder/drums"]
    song = folder.convert(items[0])
    assert len(song.bars) == 70  # more than a clip may have
    assert {bar.key for bar in song.bars} <= {0, 21}
    assert [t.instrument for t in song.tracks] == ["flute", "acoustic_bass"]
    assert {(c.track, c.role) for c in song.clips} >= {(0, "main_melody"), (1, "bass")}
    assert [n.pitch for n in song.tracks[0].notes] == [n.pitch for n in melody.notes]
    with pytest.raises(BadData, match="only drums"):
        folder.convert(items[1])


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no \.mid"):
        folder.items(tmp_path)


# ComMU


def _commu_row(name: str, bars: int, chords: list[str], split: str = "train", **other: str) -> dict[str, str]:
    row = {
        "id": name, "audio_key": "aminor", "chord_progressions": str([chords]), "pitch_range": "mid_high", "num_measures": str(bars),
        "bpm": "130", "genre": "cinematic", "track_role": "main_melody", "inst": "string_violin-2", "sample_rhythm": "triplet",
        "time_signature": "4/4", "min_velocity": "80", "max_velocity": "80", "split_data": split,
    }  # fmt: skip
    return row | other


@pytest.fixture
def commu_folder(tmp_path: Path) -> Path:
    """Six clips in the published layout, three of them spoilt."""
    four = ["Am"] * 8 + ["F/A"] * 8 + ["Cmaj7"] * 8 + ["Bbsus4"] * 4 + ["NN"] * 4
    rows = [
        _commu_row("commu00001", 4, four),
        _commu_row("commu00002", 5, four, "val", inst="choir", genre="jazz", sample_rhythm="standard"),
        _commu_row("commu00003", 4, four[:-1]),
        _commu_row("commu00004", 4, ["H7"] * 32),
        _commu_row("commu00005", 4, four),
        _commu_row("commu00006", 4, four, chord_progressions="__import__('os')"),
        _commu_row("commu00007", 4, four),  # without a file
    ]
    with (tmp_path / "commu_meta.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["", *rows[0]])
        writer.writeheader()
        writer.writerows({"": str(i)} | row for i, row in enumerate(rows))
    with tarfile.open(tmp_path / "commu_midi.tar", "w") as archive:
        for row in rows[:-1]:
            bars = int(row["num_measures"])
            first = 1440 if bars == 5 else 0
            notes = tuple(scale((bars * 1920 - first) // 240, 240, first))
            data = b"MThd broken" if row["id"].endswith("5") else _midi([Track(notes, instrument="acoustic_piano")], bars)
            member = tarfile.TarInfo(f"commu_midi/{row['split_data']}/raw/{row['id']}.mid")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return tmp_path


def test_commu_keeps_what_its_table_says(commu_folder: Path) -> None:
    items = commu.items(commu_folder)
    assert [item.name for item in items] == [f"commu/commu0000{i}" for i in range(1, 7)]
    song = commu.convert(items[0])
    assert {(bar.meter, bar.key, bar.bpm) for bar in song.bars} == {("4/4", 21, 130)}
    assert song.chords == [85] * 8 + [45] * 8 + [7] * 8 + [98] * 4 + [NO_CHORD] * 4
    assert (song.genre, song.split, song.tracks[0].instrument) == ("cinematic", TRAIN, "string_violin")
    assert [(c.bar, c.bars, c.role, c.rhythm) for c in song.clips] == [(0, 4, "main_melody", "triplet")]
    assert song.tracks[0].notes == scale(32, 240)


def test_commu_pickup_stands_before_the_clip(commu_folder: Path) -> None:
    song = commu.convert(commu.items(commu_folder)[1])
    assert [bar.segment for bar in song.bars] == [0, 1, 1, 1, 1]
    assert song.chords[:9] == [ANY_CHORD] * 8 + [85]
    assert [(c.bar, c.bars, c.rhythm) for c in song.clips] == [(1, 4, "standard")]
    assert (song.genre, song.split, song.tracks[0].instrument) == (None, VALID, "choir")


@pytest.mark.parametrize(("number", "words"), [(2, "31 chords"), (3, "'H7' is not known"), (4, "commu00005"), (5, "cannot be read")])
def test_commu_faults_are_named(commu_folder: Path, number: int, words: str) -> None:
    with pytest.raises(BadData, match=words):
        commu.convert(commu.items(commu_folder)[number])


def test_commu_is_built_without_its_faults(commu_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = build({"commu": commu_folder}, tmp_path / "commu.npz")
    assert store.song_name.tolist() == ["commu/commu00001", "commu/commu00002"]
    assert store.clips == 2
    assert "cannot be used" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["track_role", "time_signature", "audio_key", "sample_rhythm", "bpm", "num_measures"])
def test_commu_values_are_checked(commu_folder: Path, column: str) -> None:
    item = commu.items(commu_folder)[0]
    about = json.dumps(json.loads(item.about) | {column: "9/7"})
    with pytest.raises(BadData, match=column):
        commu.convert(Item(item.name, item.data, about))
