"""Songs -> one packed file: nothing is lost, the bytes do not depend on chance, bad files are told."""

from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from musediff.clip import BAR_TICKS, INSTRUMENTS, RHYTHMS, ROLES, TIME_SIGNATURES, Note
from musediff.data import pop909
from musediff.data.build import build, clip_notes, join, pack, sources
from musediff.data.song import Bar, ClipRow, Song, SongTrack
from musediff.data.store import TRAIN, UNKNOWN, Store, load
from musediff.data.windows import cut
from musediff.errors import BadData

SAMPLE = Path(__file__).parent / "assets" / "sample"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    out = tmp_path_factory.mktemp("packed") / "sample.npz"
    return out, build({"pop909": SAMPLE}, out)


def _unpacked(store: Store, s: int) -> list[list[Note]]:
    """Notes of every track of song s."""
    tracks = range(store.track_offset[s], store.track_offset[s + 1])
    columns = (store.note_onset_ticks, store.note_pitch, store.note_duration_ticks, store.note_velocity)
    return [[Note(*map(int, row)) for row in zip(*(c[slice(*store.note_offset[t : t + 2])] for c in columns), strict=True)] for t in tracks]


def test_every_song_comes_back_from_the_file(packed: tuple[Path, Store]) -> None:
    store = load(packed[0])
    songs = sorted((pop909.convert(item) for item in pop909.items(SAMPLE)), key=lambda song: song.name)
    assert store.song_name.tolist() == [song.name for song in songs]
    for s, song in enumerate(songs):
        assert _unpacked(store, s) == [track.notes for track in song.tracks]
        bars = slice(*store.bar_offset[s : s + 2])
        assert store.bar_start_ticks[bars].tolist() == [bar.start_ticks for bar in song.bars]
        assert store.bar_segment[bars].tolist() == [bar.segment for bar in song.bars]
        chords = store.chord[store.chord_offset[bars.start] : store.chord_offset[bars.stop]]
        assert chords.tolist() == song.chords
        mine = store.clip_song == s
        assert mine.sum() == len(song.clips)
        assert (store.clip_track[mine] - store.track_offset[s]).tolist() == [clip.track for clip in song.clips]
        assert [ROLES[i] for i in store.clip_role[mine]] == [clip.role for clip in song.clips]
        assert [RHYTHMS[i] for i in store.clip_rhythm[mine]] == [clip.rhythm for clip in song.clips]


def test_clips_lie_inside_one_segment_and_have_notes(packed: tuple[Path, Store]) -> None:
    store = packed[1]
    first = store.bar_offset[store.clip_song] + store.clip_bar
    last = first + store.clip_bars - 1
    assert (last < store.bar_offset[store.clip_song + 1]).all()
    assert (store.bar_segment[first] == store.bar_segment[last]).all()
    counts = clip_notes(store)
    assert counts.min() >= 4
    for c in range(0, store.clips, 97):
        song, track = store.clip_song[c], store.clip_track[c] - store.track_offset[store.clip_song[c]]
        start = int(store.bar_start_ticks[first[c]])
        length = int(store.clip_bars[c]) * BAR_TICKS[TIME_SIGNATURES[store.bar_meter[first[c]]]]
        assert counts[c] == len(cut(_unpacked(store, song)[track], start, start + length))


def test_same_input_same_bytes_with_any_number_of_workers(packed: tuple[Path, Store], tmp_path: Path) -> None:
    build({"pop909": SAMPLE}, tmp_path / "again.npz", workers=2)
    assert (tmp_path / "again.npz").read_bytes() == packed[0].read_bytes()


def test_the_table_names_what_is_in_and_what_is_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = build({"pop909": SAMPLE}, tmp_path / "table.npz")
    printed = capsys.readouterr().out
    melodies = int(((store.clip_role == ROLES.index("main_melody")) & (store.clip_bars == 4)).sum())
    assert any(line.split()[:3] == ["pop909", "main_melody", str(melodies)] for line in printed.splitlines())
    assert "3 songs, 1 of them for validation" in printed and "too few notes" in printed and "chord changes off" in printed


def test_a_broken_file_is_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in SAMPLE.rglob("*"):
        if path.suffix in (".mid", ".jsonl"):
            (tmp_path / path.name).write_bytes(path.read_bytes()[:200] if path.stem == "250" else path.read_bytes())
    store = build({"pop909": tmp_path}, tmp_path / "out.npz")
    assert store.song_name.tolist() == ["pop909/049", "pop909/420"]
    captured = capsys.readouterr()
    assert "skipped: pop909/250" in captured.out + captured.err
    assert "file: cannot be used" in captured.out


def test_nothing_to_build_from_is_a_plain_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="not known"):
        build({"lakh": tmp_path}, tmp_path / "out.npz")
    with pytest.raises(BadData):
        build({"pop909": tmp_path / "absent.tar.xz"}, tmp_path / "out.npz")
    (tmp_path / "damaged.tar.xz").write_bytes(b"\xfd7zXZ\x00 nothing more")
    with pytest.raises(BadData, match="damaged"):
        build({"pop909": tmp_path / "damaged.tar.xz"}, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def _song(name: str, tracks: int) -> Song:
    bars = [Bar(1440 * i, "3/4", None, 120, 0) for i in range(4)]
    notes = [Note(720 * i, 60, 240, 64) for i in range(8)]
    parts = [SongTrack(notes, None if t else INSTRUMENTS[3], 0) for t in range(tracks)]
    return Song(name, "made", TRAIN, None, bars, [7] * 24, parts, [ClipRow(tracks - 1, 0, 4, "main_melody", "standard")])


def test_joining_moves_the_row_numbers() -> None:
    stores = [pack(_song("a", 2)), pack(_song("b", 1)), pack(_song("c", 3))]
    store = join(stores)
    assert store.clip_song.tolist() == [0, 1, 2] and store.clip_track.tolist() == [1, 2, 5]
    assert store.track_offset.tolist() == [0, 2, 3, 6] and store.bar_offset.tolist() == [0, 4, 8, 12]
    assert store.note_offset[-1] == len(store.note_pitch) == 48 and store.chord_offset[-1] == len(store.chord) == 72
    assert store.track_instrument.tolist() == [3, UNKNOWN, 3, 3, UNKNOWN, UNKNOWN]
    assert store.song_genre.tolist() == [UNKNOWN] * 3 and clip_notes(store).tolist() == [8, 8, 8]
    again = join([join(stores[:2]), stores[2]])
    assert all(np.array_equal(getattr(store, f.name), getattr(again, f.name)) for f in fields(Store))


def test_malformed_songs_are_our_own_mistake() -> None:
    song = _song("crooked", 1)
    song.bars[2].start_ticks += 120
    with pytest.raises(AssertionError):
        pack(song)
    song = _song("unsorted", 1)
    song.tracks[0].notes.reverse()
    with pytest.raises(AssertionError):
        pack(song)


def test_corpora_are_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "pop909").mkdir()
    (tmp_path / "openscore_lieder.tar.xz").touch()
    assert sources(tmp_path) == {"pop909": tmp_path / "pop909", "lieder": tmp_path / "openscore_lieder.tar.xz"}
    assert Counter(sources(tmp_path, ["lieder"])) == Counter({"lieder": tmp_path / "openscore_lieder.tar.xz"})


def test_all_of_pop909(shared: Path, tmp_path: Path) -> None:
    """The archives themselves, a tenth of the songs."""
    items = pop909.items(shared / "data" / "pop909.tar.xz")
    assert len(items) == 840
    store = join([pack(song) for song in map(pop909.convert, items[::14]) if song.clips])
    roles = Counter(ROLES[i] for i in store.clip_role[store.clip_bars == 8])
    assert min(roles[role] for role in ROLES[:5]) > 200
