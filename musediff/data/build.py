"""Corpora (folders or archives of scores and MIDI files) -> one packed data file, and a table of what is in it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.clip import BAR_TICKS, GENRES, INSTRUMENTS, RHYTHMS, ROLES, TIME_SIGNATURES
from musediff.data.song import Song
from musediff.data.store import DTYPES, UNKNOWN, Store, save
from musediff.errors import BadData

# Corpus -> module with items(source) -> list of what convert takes, and convert(item) -> Song; both may raise BadData.
CONVERTERS = {
    "pop909": "pop909",
    "lieder": "openscore",
    "quartets": "openscore",
    "orchestra": "openscore",
    "freedoom": "freedoom",
    "groove": "groove",
    "folder": "folder",
    "commu": "commu",
}
# Columns that count rows of another table, and that table's size column.
OFFSETS = ("bar_offset", "track_offset", "chord_offset", "note_offset")
SHORTEST_CHUNK = 4


def build(corpora: Mapping[str, Path], out: Path, workers: int = 1) -> Store:
    """Convert every corpus, pack all songs into ``out`` in the order of their names, print the table.

    A file that cannot be converted is reported and left out. The same input gives the same bytes.

    Raises:
        BadData: a corpus is unknown, missing or empty.
    """
    stores: list[Store] = []
    dropped: dict[str, Counter[str]] = {}
    for corpus, source in corpora.items():
        converter = _converter(corpus)
        items = converter.items(source)
        dropped[corpus] = Counter()
        results = _convert_all(converter.convert, items, workers)
        for store, left_out, problem in tqdm(results, total=len(items), desc=corpus, unit="song"):
            if problem is not None:
                tqdm.write(f"skipped: {problem}")
                dropped[corpus]["file: cannot be used"] += 1
            dropped[corpus] += left_out
            if store is not None:
                stores.append(store)
    if not stores:
        raise BadData(f"No song with a clip in {', '.join(map(str, corpora.values())) or 'no corpus at all'}.")
    whole = join(sorted(stores, key=lambda store: str(store.song_name[0])))
    save(whole, out)
    print(table(whole, dropped))
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
    return whole


def _converter(corpus: str) -> ModuleType:
    if corpus not in CONVERTERS:
        raise BadData(f"corpus {corpus!r} is not known. Choose from {', '.join(CONVERTERS)}.")
    return import_module(f"musediff.data.{CONVERTERS[corpus]}")


Converted = tuple[Store | None, Counter[str], str | None]


def _convert_all(convert: Callable[[Any], Song], items: Sequence[Any], workers: int) -> Iterator[Converted]:
    task = partial(_convert, convert)
    if workers <= 1:
        yield from map(task, items)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(task, items, chunksize=SHORTEST_CHUNK)


def _convert(convert: Callable[[Any], Song], item: object) -> Converted:
    try:
        song = convert(item)
    except BadData as error:
        return None, Counter(), str(error)
    if not song.clips:
        return None, song.dropped + Counter({"file: no window is fit for any role": 1}), None
    return pack(song), song.dropped, None


def pack(song: Song) -> Store:
    """One song as a packed file of its own, without checks of taste but with checks of form."""
    _check(song)
    notes = [note for track in song.tracks for note in track.notes]
    columns: dict[str, object] = {
        "song_name": [song.name],
        "song_corpus": [song.corpus],
        "song_split": [song.split],
        "song_genre": [_index(GENRES, song.genre)],
        "bar_offset": [0, len(song.bars)],
        "track_offset": [0, len(song.tracks)],
        "bar_start_ticks": [bar.start_ticks for bar in song.bars],
        "bar_meter": [TIME_SIGNATURES.index(bar.meter) for bar in song.bars],
        "bar_key": [UNKNOWN if bar.key is None else bar.key for bar in song.bars],
        "bar_bpm": [bar.bpm for bar in song.bars],
        "bar_segment": [bar.segment for bar in song.bars],
        "chord_offset": np.cumsum([0, *(bar.chords for bar in song.bars)]),
        "chord": song.chords,
        "track_instrument": [_index(INSTRUMENTS, track.instrument) for track in song.tracks],
        "track_group": [track.group for track in song.tracks],
        "note_offset": np.cumsum([0, *(len(track.notes) for track in song.tracks)]),
        "note_onset_ticks": [note.onset_ticks for note in notes],
        "note_pitch": [note.pitch for note in notes],
        "note_duration_ticks": [note.duration_ticks for note in notes],
        "note_velocity": [note.velocity for note in notes],
        "clip_song": [0] * len(song.clips),
        "clip_bar": [clip.bar for clip in song.clips],
        "clip_bars": [clip.bars for clip in song.clips],
        "clip_track": [clip.track for clip in song.clips],
        "clip_role": [ROLES.index(clip.role) for clip in song.clips],
        "clip_rhythm": [RHYTHMS.index(clip.rhythm) for clip in song.clips],
    }
    return Store(**{name: np.array(columns[name], dtype=str if kind == "U" else kind) for name, kind in DTYPES.items()})


def _index(names: Sequence[str], name: str | None) -> int:
    return UNKNOWN if name is None else names.index(name)


def _check(song: Song) -> None:
    """Form that every converter owes; a violation is a mistake in the converter."""
    assert len(song.chords) == sum(bar.chords for bar in song.bars), song.name
    assert all(0 < bar.bpm < 1000 and bar.start_ticks >= 0 for bar in song.bars), song.name
    for before, after in zip(song.bars, song.bars[1:], strict=False):
        assert after.start_ticks >= before.end_ticks, (song.name, after)
        if before.segment == after.segment:
            assert (after.start_ticks, after.meter, after.key) == (before.end_ticks, before.meter, before.key), (song.name, after)
    for track in song.tracks:
        assert track.notes == sorted(track.notes), (song.name, track.name)
        for note in track.notes:
            assert note.onset_ticks >= 0 and 0 <= note.pitch < 128, (song.name, track.name, note)
            assert 0 < note.duration_ticks < 1 << 16 and 1 <= note.velocity < 128, (song.name, track.name, note)
    for clip in song.clips:
        assert song.bars[clip.bar].segment == song.bars[clip.bar + clip.bars - 1].segment, (song.name, clip)


def join(stores: Sequence[Store]) -> Store:
    """Packed songs one after the other."""
    names = [str(name) for store in stores for name in store.song_name]
    assert len(set(names)) == len(names), "song names must be unique"
    columns: dict[str, np.ndarray] = {}
    for name, kind in DTYPES.items():
        parts = [getattr(store, name) for store in stores]
        if name in OFFSETS:
            sizes = np.concatenate([np.diff(part.astype(np.int64)) for part in parts])
            columns[name] = np.concatenate([[0], np.cumsum(sizes)]).astype(kind)
        elif name in ("clip_song", "clip_track"):
            rows = [store.songs if name == "clip_song" else len(store.track_instrument) for store in stores]
            shifts = np.cumsum([0, *rows[:-1]])
            columns[name] = np.concatenate([part + shift for part, shift in zip(parts, shifts, strict=True)]).astype(kind)
        else:
            columns[name] = np.concatenate(parts)
    return Store(**{f.name: columns[f.name] for f in fields(Store)})


def table(store: Store, dropped: Mapping[str, Counter[str]]) -> str:
    """Clips by corpus, role and length with their notes; then what was left out and why."""
    corpus = store.song_corpus[store.clip_song]
    notes = clip_notes(store)
    lines = [f"{'corpus':<10} {'role':<14} {'4 bars':>8} {'8 bars':>8} {'16 bars':>8}  {'notes in 8 bars 5/50/95 %':>26}"]
    for name in sorted(set(corpus.tolist())):
        for role_index, role in enumerate(ROLES):
            mine = (corpus == name) & (store.clip_role == role_index)
            if not mine.any():
                continue
            counts = [int((mine & (store.clip_bars == length)).sum()) for length in (4, 8, 16)]
            eight = notes[mine & (store.clip_bars == 8)]
            spread = "/".join(f"{value:.0f}" for value in np.percentile(eight, (5, 50, 95))) if len(eight) else "-"
            lines.append(f"{name:<10} {role:<14} {counts[0]:>8,} {counts[1]:>8,} {counts[2]:>8,}  {spread:>26}")
        songs = store.song_corpus == name
        valid = int((songs & (store.song_split != 0)).sum())
        lines.append(f"{name:<10} {int(songs.sum()):,} songs, {valid:,} of them for validation")
    lines.append(f"{store.clips:,} clips, {len(store.note_pitch):,} notes stored, {int(notes.sum()):,} notes in clips")
    for name, reasons in dropped.items():
        by_role = {reason: count for reason, count in reasons.items() if reason.split(":")[0] in ROLES}
        tried = int((corpus == name).sum()) + sum(by_role.values())
        lines.append(f"{name}: left out, with the share of the {tried:,} windows that were tried for a role")
        for reason, count in sorted(reasons.items(), key=_by_count):
            share = f"{count / tried:.1%}" if reason in by_role else ""
            lines.append(f"  {count:>8,} {share:>6}  {reason}")
    return "\n".join(lines)


def _by_count(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def clip_notes(store: Store) -> np.ndarray:
    """(C,) how many notes each clip has."""
    bar = store.bar_offset[store.clip_song] + store.clip_bar
    bar_ticks = np.array([BAR_TICKS[meter] for meter in TIME_SIGNATURES])[store.bar_meter[bar]]
    start = store.bar_start_ticks[bar].astype(np.int64)
    # One rising sequence over all tracks: track number in the high part, onset in the low part.
    track = np.repeat(np.arange(len(store.track_instrument), dtype=np.int64), np.diff(store.note_offset))
    place = (track << 32) + store.note_onset_ticks
    base = store.clip_track.astype(np.int64) << 32
    return np.searchsorted(place, base + start + store.clip_bars * bar_ticks) - np.searchsorted(place, base + start)


def sources(folder: Path, names: Iterable[str] = CONVERTERS) -> dict[str, Path]:
    """The corpora found in a folder, as unpacked folders or as .tar.xz archives named like them."""
    stems = {"lieder": "openscore_lieder", "quartets": "openscore_quartets", "orchestra": "openscore_orchestra",
             "freedoom": "freedoom_music", "groove": "groove_midi"}  # fmt: skip
    found = {}
    for name in names:
        stem = stems.get(name, name)
        place = next((path for path in (folder / stem, folder / f"{stem}.tar.xz") if path.exists()), None)
        if place is not None:
            found[name] = place
    return found
