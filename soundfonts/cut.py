"""A General MIDI soundfont (SF2 or SF3) -> a smaller one with the presets of MuseDiff's instruments only.

    python soundfonts/cut.py /usr/share/sounds/sf3/FluidR3Mono_GM.sf3 soundfonts/FluidR3Mono_MuseDiff.sf3

Layout: SoundFont technical specification 2.01, section 7. RIFF "sfbk" holds three lists: INFO (texts), sdta (one block of
sample bytes), pdta (nine tables of fixed-size records). Presets and instruments are stored alike: a header table whose
records name their first "bag" (zone), and a bag table whose records name their first generator and first modulator; each
table ends with one record that only closes the ranges. An SF3 differs in that each sample is one Ogg Vorbis stream,
addressed in bytes instead of 16-bit frames; those bytes are copied as they are, so nothing is lost in sound.
"""

import argparse
import struct
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from musediff.clip import DRUM_INSTRUMENTS, INSTRUMENT_PROGRAM

DRUM_BANK = 128
MARK = b" (subset for MuseDiff)"  # added to the name in INFO; the licence and the credits there stay as they are
WHOLE = (0,)  # programs that keep every sample: the grand piano is the page's default and the most telling
INSTRUMENT_GENERATOR, SAMPLE_GENERATOR = 41, 53  # the generator that ends a zone by naming what it plays (8.1.2)
KEY_RANGE, VELOCITY_RANGE, ROOT_KEY = 43, 44, 58  # ranges: first in the low byte, last in the high byte
ALL_VELOCITIES = 127 << 8
COMPRESSED = 0x10  # bit of ``kind``: Ogg Vorbis, SF3
SILENCE_FRAMES = 46  # zeros that follow each uncompressed sample (7.10)

RECORDS = {
    "phdr": np.dtype([("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("reserved", "<u4", 3)]),
    "pbag": np.dtype([("gen", "<u2"), ("mod", "<u2")]),
    "pmod": np.dtype("V10"),
    "pgen": np.dtype([("operator", "<u2"), ("amount", "<u2")]),
    "inst": np.dtype([("name", "S20"), ("bag", "<u2")]),
    "ibag": np.dtype([("gen", "<u2"), ("mod", "<u2")]),
    "imod": np.dtype("V10"),
    "igen": np.dtype([("operator", "<u2"), ("amount", "<u2")]),
    "shdr": np.dtype(
        [
            ("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop_start", "<u4"), ("loop_end", "<u4"), ("rate", "<u4"),
            ("pitch", "u1"), ("correction", "i1"), ("link", "<u2"), ("kind", "<u2"),
        ]
    ),
}  # fmt: skip


class Font(NamedTuple):
    """A soundfont taken apart. ``info`` in file order, ``tables`` keyed as in ``RECORDS``."""

    info: tuple[tuple[bytes, bytes], ...]
    samples: bytes
    tables: dict[str, np.ndarray]


class Level(NamedTuple):
    """The four tables of presets or of instruments."""

    head: np.ndarray
    bag: np.ndarray
    mod: np.ndarray
    gen: np.ndarray


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(identifier, content) of each chunk of a RIFF list."""
    at = 0
    while at + 8 <= len(data):
        if data[at] == 0:  # the byte that makes an odd length even; FluidR3Mono's writer left it out, others did not
            at += 1
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 8 + size


def read(path: Path) -> Font:
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise SystemExit(f"{path}: not a soundfont (no RIFF sfbk header). Give an .sf2 or .sf3 file.")
    lists = {content[:4]: tuple(chunks(content[4:])) for name, content in chunks(data[12:]) if name == b"LIST"}
    raw = dict(lists[b"pdta"])
    tables = {name: np.frombuffer(raw[name.encode()], record) for name, record in RECORDS.items()}
    return Font(lists[b"INFO"], dict(lists[b"sdta"])[b"smpl"], tables)


def write(font: Font, path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        content += b"\0" * (len(content) % 2)
        return name + struct.pack("<I", len(content)) + content

    info = b"".join(chunk(name, content) for name, content in font.info)
    tables = b"".join(chunk(name.encode(), font.tables[name].tobytes()) for name in RECORDS)
    lists = [b"INFO" + info, b"sdta" + chunk(b"smpl", font.samples), b"pdta" + tables]
    path.write_bytes(chunk(b"RIFF", b"sfbk" + b"".join(chunk(b"LIST", content) for content in lists)))


def owned(starts: np.ndarray, keep: Sequence[int]) -> list[range]:
    """For each kept record the indices of what it owns in the next table: ``starts[i] .. starts[i + 1]``."""
    return [range(int(starts[i]), int(starts[i + 1])) for i in keep]


def renumbered(records: np.ndarray, keep: Sequence[int], field: str, counts: Sequence[int]) -> np.ndarray:
    """The kept records and the closing one, ``field`` (first child) counted anew from how many children each has now."""
    kept = records[[*keep, -1]].copy()
    kept[field] = np.concatenate([[0], np.cumsum(counts)])
    return kept


def cut_level(level: Level, keep: Sequence[int], operator: int, dropped: Collection[int] = ()) -> tuple[Level, list[int]]:
    """Presets or instruments ``keep`` without the zones ``dropped``, and the sorted targets they play, now named by rank."""
    zones = [[bag for bag in own if bag not in dropped] for own in owned(level.head["bag"], keep)]
    bags = [bag for own in zones for bag in own]
    gens, mods = owned(level.bag["gen"], bags), owned(level.bag["mod"], bags)
    bag = renumbered(renumbered(level.bag, bags, "gen", [len(g) for g in gens]), range(len(bags)), "mod", [len(m) for m in mods])
    gen = level.gen[[*(i for own in gens for i in own), -1]].copy()
    mod = level.mod[[*(i for own in mods for i in own), -1]]
    naming = gen["operator"] == operator
    naming[-1] = False
    targets = sorted({int(amount) for amount in gen["amount"][naming]})
    gen["amount"][naming] = np.searchsorted(targets, gen["amount"][naming])
    return Level(renumbered(level.head, keep, "bag", [len(z) for z in zones]), bag, mod, gen), targets


class Zone(NamedTuple):
    """One sample of an instrument on a range of keys; ``row`` is where igen keeps that range."""

    bag: int
    row: int
    low: int
    high: int
    root: int
    velocities: int


def instrument_zones(tables: dict[str, np.ndarray], instrument: int) -> Iterator[Zone]:
    gen, root_of_sample = tables["igen"], tables["shdr"]["pitch"]
    for bag in owned(tables["inst"]["bag"], [instrument])[0]:
        rows = owned(tables["ibag"]["gen"], [bag])[0]
        row = {int(gen["operator"][i]): i for i in rows}
        amount = {operator: int(gen["amount"][i]) for operator, i in row.items()}
        if SAMPLE_GENERATOR in amount and KEY_RANGE in amount:
            keys = amount[KEY_RANGE]
            root = amount.get(ROOT_KEY, int(root_of_sample[amount[SAMPLE_GENERATOR]]))
            yield Zone(bag, row[KEY_RANGE], keys & 255, keys >> 8, root, amount.get(VELOCITY_RANGE, ALL_VELOCITIES))


def thin(tables: dict[str, np.ndarray], instruments: Sequence[int], spacing: int) -> tuple[np.ndarray, set[int]]:
    """igen with wider key ranges, and the zones that are no longer needed.

    A zone goes where the roots of its neighbours, below and above, are at most ``spacing`` semitones apart; each of its keys
    is then played by the nearer neighbour.
    """
    gen, dropped = tables["igen"].copy(), set()
    for instrument in instruments:
        zones = list(instrument_zones(tables, instrument))
        for i in range(1, len(zones) - 1):
            below, zone, above = zones[i - 1], zones[i], zones[i + 1]
            side_by_side = below.high + 1 == zone.low and zone.high + 1 == above.low
            rising = below.root < zone.root < above.root <= below.root + spacing
            if not (side_by_side and rising and below.velocities == zone.velocities == above.velocities):
                continue
            split = max(zone.low, min(zone.high + 1, (below.root + above.root) // 2 + 1))
            dropped.add(zone.bag)
            gen["amount"][below.row] = below.low | (split - 1) << 8
            gen["amount"][above.row] = split | above.high << 8
            zones[i + 1] = above._replace(low=split)
            zones[i] = below._replace(high=split - 1)  # still the lower neighbour of what comes next
    return gen, dropped


def cut_samples(table: np.ndarray, data: bytes, keep: Sequence[int]) -> tuple[np.ndarray, bytes]:
    """Headers and bytes of the kept samples, laid end to end. Stereo partners outside ``keep`` are unlinked."""
    kept, block = table[[*keep, -1]].copy(), bytearray()
    for new, old in enumerate(keep):
        compressed = bool(int(table["kind"][old]) & COMPRESSED)
        width = 1 if compressed else 2
        start, end = int(table["start"][old]), int(table["end"][old])
        at = len(block) // width
        block += data[start * width : end * width]
        if not compressed:
            block += bytes(SILENCE_FRAMES * 2)
            kept["loop_start"][new] += at - start  # absolute in SF2, relative to the sample in SF3
            kept["loop_end"][new] += at - start
        kept["start"][new], kept["end"][new] = at, at + end - start
        partner = int(table["link"][old])
        kept["link"][new] = keep.index(partner) if partner in keep else 0
    return kept, bytes(block)


def cut(font: Font, programs: Collection[int], spacing: int) -> Font:
    """The font with the wanted programs of bank 0, thinned to ``spacing`` semitones, and the standard drum kit."""
    tables = font.tables
    where = {(int(p["bank"]), int(p["program"])): i for i, p in enumerate(tables["phdr"][:-1])}
    wanted = sorted((0, program) for program in programs)
    if missing := [w for w in [*wanted, (DRUM_BANK, 0)] if w not in where]:
        raise SystemExit(f"The source font lacks these (bank, program): {missing}.")
    presets = Level(*(tables[name] for name in ("phdr", "pbag", "pmod", "pgen")))
    thinned = cut_level(presets, [where[w] for w in wanted if w[1] not in WHOLE], INSTRUMENT_GENERATOR)[1]
    top, instruments = cut_level(presets, [*(where[w] for w in wanted), where[DRUM_BANK, 0]], INSTRUMENT_GENERATOR)
    gen, dropped = thin(tables, thinned, spacing)
    low, samples = cut_level(Level(tables["inst"], tables["ibag"], tables["imod"], gen), instruments, SAMPLE_GENERATOR, dropped)
    headers, data = cut_samples(tables["shdr"], font.samples, samples)
    names = ("phdr", "pbag", "pmod", "pgen", "inst", "ibag", "imod", "igen")
    info = tuple((name, text.rstrip(b"\0") + MARK + b"\0" if name == b"INAM" else text) for name, text in font.info)
    return Font(info, data, {**dict(zip(names, (*top, *low), strict=True)), "shdr": headers})


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut a General MIDI soundfont down to the instruments of MuseDiff.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--spacing", type=int, default=9, help="semitones between samples that are kept (default 9)")
    arguments = parser.parse_args()
    programs = {program for name, program in INSTRUMENT_PROGRAM.items() if name not in DRUM_INSTRUMENTS}
    font = cut(read(arguments.source), programs, arguments.spacing)
    write(font, arguments.target)
    presets, instruments, samples = (len(font.tables[name]) - 1 for name in ("phdr", "inst", "shdr"))
    size = arguments.target.stat().st_size
    print(f"{arguments.target}: {size:,} bytes, {presets} presets, {instruments} instruments, {samples} samples")


if __name__ == "__main__":
    main()
