"""The packed training data: whole songs as flat integer arrays, plus an index of clips cut from them.

One ``.npz`` holds every corpus. Songs, bars, tracks, notes and clips are tables (columns of equal length);
``*_offset`` columns point from a row into the next table (CSR: rows i .. i+1). Legend of the suffixes:
S songs, R bars (all songs after each other), E half beats of 240 ticks, T tracks, N notes, C clips.

A song is a line of bars. Bars of one ``bar_segment`` follow each other without a gap and in one metre and key;
a clip never crosses a segment. Ticks (480 a quarter) count from the first bar of the song; notes are
already on the training grid. Labels that follow from the notes (pitch range, velocities) are not stored.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from musediff.errors import BadData
from musediff.whole_file import replace_whole

FORMAT_VERSION = 1
TRAIN, VALID = 0, 1
UNKNOWN = 255


@dataclass(frozen=True, slots=True)
class Store:
    """The tables of one packed file. Dtypes are those that `save` writes and `load` checks."""

    song_name: np.ndarray  # (S,) str, unique: "pop909/001"
    song_corpus: np.ndarray  # (S,) str
    song_split: np.ndarray  # (S,) uint8, TRAIN or VALID
    song_genre: np.ndarray  # (S,) uint8, index into GENRES, UNKNOWN for "any"
    bar_offset: np.ndarray  # (S+1,) int32: bars of song s are bar_offset[s] : bar_offset[s+1]
    track_offset: np.ndarray  # (S+1,) int32
    bar_start_ticks: np.ndarray  # (R,) int32, from the start of the song
    bar_meter: np.ndarray  # (R,) uint8, index into TIME_SIGNATURES
    bar_key: np.ndarray  # (R,) uint8, 0-11 major from C, 12-23 minor from C, UNKNOWN
    bar_bpm: np.ndarray  # (R,) uint16
    bar_segment: np.ndarray  # (R,) uint16
    chord_offset: np.ndarray  # (R+1,) int32: chords of bar r
    chord: np.ndarray  # (E,) uint8, chord ids, ANY_CHORD where unknown
    track_instrument: np.ndarray  # (T,) uint8, index into INSTRUMENTS, UNKNOWN
    track_group: np.ndarray  # (T,) uint8: tracks of one song and group share notes (piano and the bass cut from it)
    note_offset: np.ndarray  # (T+1,) int32
    note_onset_ticks: np.ndarray  # (N,) int32, from the start of the song, sorted inside a track
    note_pitch: np.ndarray  # (N,) uint8
    note_duration_ticks: np.ndarray  # (N,) uint16
    note_velocity: np.ndarray  # (N,) uint8
    clip_song: np.ndarray  # (C,) int32
    clip_bar: np.ndarray  # (C,) int32, first bar, counted inside the song
    clip_bars: np.ndarray  # (C,) uint8: 4, 8 or 16
    clip_track: np.ndarray  # (C,) int32, row of the track table
    clip_role: np.ndarray  # (C,) uint8, index into ROLES
    clip_rhythm: np.ndarray  # (C,) uint8, index into RHYTHMS

    @property
    def songs(self) -> int:
        return len(self.song_name)

    @property
    def clips(self) -> int:
        return len(self.clip_song)


DTYPES = {
    "song_name": "U", "song_corpus": "U", "song_split": "u1", "song_genre": "u1", "bar_offset": "i4", "track_offset": "i4",
    "bar_start_ticks": "i4", "bar_meter": "u1", "bar_key": "u1", "bar_bpm": "u2", "bar_segment": "u2", "chord_offset": "i4",
    "chord": "u1", "track_instrument": "u1", "track_group": "u1", "note_offset": "i4", "note_onset_ticks": "i4",
    "note_pitch": "u1", "note_duration_ticks": "u2", "note_velocity": "u1", "clip_song": "i4", "clip_bar": "i4",
    "clip_bars": "u1", "clip_track": "i4", "clip_role": "u1", "clip_rhythm": "u1",
}  # fmt: skip
# Rising columns are stored as differences: deflate then packs them about three times smaller.
RISING = ("bar_offset", "track_offset", "bar_start_ticks", "chord_offset", "note_offset", "note_onset_ticks", "clip_song")


def save(store: Store, path: Path) -> None:
    """Write atomically: a reader sees the old file or the new one, never a part."""
    arrays: dict[str, np.ndarray] = {"format_version": np.array(FORMAT_VERSION)}
    for name, kind in DTYPES.items():
        column = getattr(store, name)
        if name in RISING:
            column = np.diff(column.astype(np.int64), prepend=0).astype(np.int32)
        arrays[name] = column.astype(str) if kind == "U" else column.astype(kind)
    replace_whole(path, lambda part: _pack(part, arrays))


def _pack(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # by its name, numpy would add .npz
        np.savez_compressed(file, **arrays)  # ty: ignore


def load(path: Path) -> Store:
    """Read a packed file.

    Raises:
        BadData: it is missing, no packed MuseDiff data, or of another format version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise BadData(f"{path}: no such data file. Make one with: python -m musediff data build --help") from None
    except (OSError, ValueError, EOFError) as error:
        raise BadData(f"{path}: not a packed data file ({error}).") from error
    if int(arrays.get("format_version", -1)) != FORMAT_VERSION or any(name not in arrays for name in DTYPES):
        raise BadData(f"{path}: packed in another format than {FORMAT_VERSION}. Build it again.")
    columns = {f.name: arrays[f.name] for f in fields(Store)}
    for name in RISING:
        columns[name] = np.cumsum(columns[name].astype(np.int64)).astype(np.int32)
    return Store(**columns)
