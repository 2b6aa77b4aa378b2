"""Bytes of any Standard MIDI File (types 0, 1, best effort for 2) -> ``Score``, with everything that was changed said in ``Score.notes``.

A MIDI track is split into one part per channel and program. A note of no length becomes a 1/32 note.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from musediff.clip import TICKS_PER_QUARTER, Note
from musediff.errors import BadMidi
from musediff.midi import smf
from musediff.midi.perform import HANG_QUARTERS, Played, Player, Report, count
from musediff.midi.score import Score, ScoreTrack

MAX_BYTES = 512 * 1024
MAX_NOTES = 20_000
MAX_TICKS = 16_384 * TICKS_PER_QUARTER  # 2 h 16 min at 120 bpm
SHORTEST_TICKS = 60
DRUM_CHANNEL = 9
_MAX_NAME = 80
_DEFAULT_BPM = 120


def read(data: bytes, name: str = "the file", *, pedal: bool = True) -> Score:
    """Score of a MIDI file. ``pedal=False`` leaves notes as long as their keys were held (what training data is made of).

    Raises:
        BadMidi: too large, no MIDI, damaged beyond use, without notes, too many notes, or notes absurdly far out.
    """
    if len(data) > MAX_BYTES:
        raise BadMidi(f"{name} has {len(data) // 1024:,} KB; at most {MAX_BYTES // 1024} KB are read. Export only the part you need.")
    raw = smf.parse(data, name)
    said: list[str] = []
    tracks, said_kind = _sequences(raw)
    said += said_kind
    per_quarter, said_division = _division(raw, tracks, name)
    said += said_division
    _check_amount(tracks, per_quarter, name)
    broken = [number for number, track in enumerate(tracks, 1) if not track.whole]
    report = Report(broken, left_out=sum(track.left_out for track in tracks))
    parts = _parts(tracks, per_quarter, pedal, report)
    if not parts:
        raise BadMidi(_no_notes(name, raw, report))
    end = max([n.onset_ticks + n.duration_ticks for part in parts for n in part.notes] + [_scaled(t.end_tick, per_quarter) for t in tracks])
    return Score(tuple(parts), *_said_beside(tracks, per_quarter), end_ticks=min(end, MAX_TICKS), notes=(*said, *report.sentences()))


def _no_notes(name: str, raw: smf.RawFile, report: Report) -> str:
    if not raw.tracks:
        return f"{name} has a MIDI header but no track behind it: it is cut off or damaged. Copy or export it again."
    if report.broken:
        return f"{name}: no note could be read. {report.damage()}. Export the file again."
    return f"{name} has no notes ({count(len(raw.tracks), 'track', 'tracks')} with tempo or text only). Choose a file with notes in it."


def _sequences(raw: smf.RawFile) -> tuple[list[smf.RawTrack], list[str]]:
    """The tracks that sound together. Type 2 holds independent pieces: the first one with notes is taken."""
    said = []
    tracks = raw.tracks
    if raw.kind == 2:
        with_notes = [t for t in tracks if any(_is_onset(e) for e in t.events)]
        if len(with_notes) > 1:
            said.append(f"This is a type 2 file of {len(with_notes)} separate pieces; the first one was read.")
        tracks = with_notes[:1] or tracks
    elif raw.kind > 2:
        said.append(f"The header names the unknown file type {raw.kind}; it was read as type 1.")
    if len(raw.tracks) < raw.announced:
        said.append(f"The header announces {raw.announced:,} tracks, {len(raw.tracks)} could be found: the file is cut off or damaged.")
    return tracks, said


def _is_onset(event: smf.Event) -> bool:
    return event.status & 0xF0 == smf.NOTE_ON and event.second > 0


def _division(raw: smf.RawFile, tracks: Sequence[smf.RawTrack], name: str) -> tuple[Fraction, list[str]]:
    """Ticks of the file per quarter. Time in film frames becomes quarters at the file's first tempo, or at 120 bpm."""
    if raw.division == 0:
        raise BadMidi(f"{name}: its header says that a quarter note lasts 0 ticks, so no time can be read. Export it again.")
    if raw.division < 0x8000:
        odd = TICKS_PER_QUARTER % raw.division and raw.division % TICKS_PER_QUARTER
        return Fraction(raw.division), [f"Times were rounded from {raw.division} to 480 ticks per quarter."] if odd else []
    frames, per_frame = 256 - (raw.division >> 8), raw.division & 0xFF
    if frames not in (24, 25, 29, 30) or per_frame == 0:
        raise BadMidi(
            f"{name}: its header counts {frames} frames a second of {per_frame} ticks each, which no MIDI file does. Export it again."
        )
    tempi = [bpm for _, bpm in _tempos(tracks, Fraction(1))]
    bpm = tempi[0] if tempi else _DEFAULT_BPM
    per_second = Fraction(30_000, 1001) if frames == 29 else Fraction(frames)
    return per_second * per_frame * 60 / Fraction(bpm), [f"The file counts time in film frames; beats were laid over it at {bpm:g} bpm."]


def _check_amount(tracks: Sequence[smf.RawTrack], per_quarter: Fraction, name: str) -> None:
    onsets = [event.tick for track in tracks for event in track.events if _is_onset(event)]
    if len(onsets) > MAX_NOTES:
        raise BadMidi(f"{name} has {len(onsets):,} notes; at most {MAX_NOTES:,} are read. Export only the tracks and bars you need.")
    quarters = max(onsets, default=0) / per_quarter
    if quarters * TICKS_PER_QUARTER > MAX_TICKS:
        raise BadMidi(
            f"{name} has a note {float(quarters):,.0f} quarters after the start; notes are read up to {MAX_TICKS // TICKS_PER_QUARTER:,}. "
            "The file is damaged, or has a huge gap to be cut out."
        )


def _scaled(tick: int, per_quarter: Fraction) -> int:
    """Ticks of the file -> ticks of 480 per quarter, halves rounded up."""
    top, bottom = per_quarter.numerator, per_quarter.denominator
    return (2 * tick * TICKS_PER_QUARTER * bottom + top) // (2 * top)


def _parts(tracks: Sequence[smf.RawTrack], per_quarter: Fraction, pedal: bool, report: Report) -> list[ScoreTrack]:
    """One part per track, channel and program that plays notes."""
    programs: dict[int, int] = {}  # some files set all programs in their first track
    for event in (e for t in tracks for e in t.events):
        if event.status & 0xF0 == smf.PROGRAM:
            programs.setdefault(event.status & 0x0F, event.first)
    parts = []
    for track in tracks:
        own = {e.status & 0x0F: e.first for e in reversed(track.events) if e.status & 0xF0 == smf.PROGRAM}
        player = Player(programs | own, per_quarter * HANG_QUARTERS, pedal, report)
        for event in track.events:
            if event.status != smf.META:
                player.play(event)
        player.finish(track.end_tick)
        parts += _split(track, player.notes, per_quarter, report)
    return parts


def _split(track: smf.RawTrack, played: dict[tuple[int, int], list[Played]], per_quarter: Fraction, report: Report) -> list[ScoreTrack]:
    names = [_text(e.text)[:_MAX_NAME] for kind in (0x03, 0x04) for e in track.events if e.status == smf.META and e.first == kind]
    name = next((n for n in names if n), "")
    channels = Counter(channel for channel, _ in played)
    parts = []
    for (channel, program), notes in sorted(played.items()):
        report.lengthened += sum(end == onset for onset, end, _, _ in notes)
        here = f"{name} (channel {channel + 1})".strip() if len(channels) > 1 else name
        here = f"{here} (program {program + 1})".strip() if channels[channel] > 1 and channel != DRUM_CHANNEL else here
        parts.append(ScoreTrack(here, program, channel == DRUM_CHANNEL, tuple(sorted(_note(n, per_quarter) for n in notes))))
    return parts


def _note(note: Played, per_quarter: Fraction) -> Note:
    onset, end, pitch, velocity = note
    first, last = _scaled(onset, per_quarter), _scaled(end, per_quarter)
    return Note(first, pitch, SHORTEST_TICKS if end == onset else max(1, last - first), velocity)


def _text(content: bytes) -> str:
    """UTF-8, else Latin-1; control characters out."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()


def _tempos(tracks: Sequence[smf.RawTrack], per_quarter: Fraction) -> list[tuple[int, float]]:
    found = {
        _scaled(e.tick, per_quarter): 60e6 / int.from_bytes(e.text, "big")
        for e in _metas(tracks, 0x51)
        if len(e.text) == 3 and any(e.text)
    }  # fmt: skip
    return sorted((tick, bpm) for tick, bpm in found.items() if tick <= MAX_TICKS)


def _metas(tracks: Sequence[smf.RawTrack], kind: int) -> list[smf.Event]:
    """Meta events of one type in all tracks, in the order of time."""
    return sorted((e for t in tracks for e in t.events if e.status == smf.META and e.first == kind), key=lambda e: e.tick)


Beside = tuple[
    tuple[tuple[int, float], ...],
    tuple[tuple[int, int, int], ...],
    tuple[tuple[int, int | None], ...],
    tuple[tuple[int, str], ...],
    tuple[str, ...],
]


def _said_beside(tracks: Sequence[smf.RawTrack], per_quarter: Fraction) -> Beside:
    """Tempos, time signatures, key signatures, markers and texts; the last one said at a tick stands."""
    metres = {
        _scaled(e.tick, per_quarter): (e.text[0], 1 << e.text[1])
        for e in _metas(tracks, 0x58)
        if len(e.text) >= 2 and 1 <= e.text[0] <= 64 and e.text[1] <= 6
    }
    keys = {_scaled(e.tick, per_quarter): _key(e.text) for e in _metas(tracks, 0x59) if len(e.text) >= 2}
    markers = [(_scaled(e.tick, per_quarter), _text(e.text)) for e in _metas(tracks, 0x06)]
    return (
        tuple(_tempos(tracks, per_quarter)),
        tuple(sorted((tick, *metre) for tick, metre in metres.items() if tick <= MAX_TICKS)),
        tuple(sorted((tick, key) for tick, key in keys.items() if tick <= MAX_TICKS)),
        tuple((tick, text) for tick, text in markers if tick <= MAX_TICKS),
        tuple(_text(e.text) for e in _metas(tracks, 0x01)),
    )


def _key(content: bytes) -> int | None:
    """Sharps (or, below zero, flats) and minor flag -> key index."""
    sharps = content[0] - 256 if content[0] > 127 else content[0]
    if abs(sharps) > 7 or content[1] > 1:
        return None
    return sharps * 7 % 12 if content[1] == 0 else (sharps * 7 + 9) % 12 + 12
