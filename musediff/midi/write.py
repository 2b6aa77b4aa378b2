"""``Clip`` -> bytes of a type 1 MIDI file: one conductor track (tempo, metre, key, chords as markers, settings), then one per part.

A key can be struck only while it is up, so notes of one part and pitch that overlap are made playable by ``playable`` first;
everything else comes back from ``read`` to the tick. The same clip gives the same bytes.
"""

import io
from collections.abc import Iterable, Sequence
from itertools import cycle, groupby, pairwise

import mido

from musediff.chords import ANY_CHORD, chord_name
from musediff.clip import DRUM_INSTRUMENTS, INSTRUMENT_PROGRAM, KEY_INDEX, TICKS_PER_CHORD, TICKS_PER_QUARTER, Clip, Note, Track
from musediff.midi.score import SIGNATURE

UNKNOWN_CHORD = "?"
CHANNELS = tuple(channel for channel in range(16) if channel != 9)
DRUM_CHANNEL = 9
# Key signatures that exist, by key index; the ones of ComMU with more than seven accidentals are written as their twin.
_SIGNATURES = (
    "C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B",
    "Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm",
)  # fmt: skip
Timed = tuple[int, mido.Message | mido.MetaMessage]


def write(clip: Clip, settings: str | None = None) -> bytes:
    """Bytes of a MIDI file. ``settings``: JSON to carry in the text event "musediff {...}"."""
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_QUARTER, charset="utf-8")
    file.tracks.append(_track(_conductor(clip, settings), clip.end_ticks))
    channels = cycle(CHANNELS)
    for part in clip.tracks:
        channel = DRUM_CHANNEL if part.instrument in DRUM_INSTRUMENTS else next(channels)
        file.tracks.append(_track(_part(part, channel), clip.end_ticks))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def playable(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Notes sorted, each cut where its key is struck again; of notes that strike a key together one stays, the longest and loudest."""
    by_key = sorted(notes, key=lambda n: (n.pitch, n.onset_ticks))
    strokes = []
    for (pitch, onset), together in groupby(by_key, key=lambda n: (n.pitch, n.onset_ticks)):
        both = list(together)
        strokes.append(Note(onset, pitch, max(n.duration_ticks for n in both), max(n.velocity for n in both)))
    kept = [
        note._replace(duration_ticks=min(note.duration_ticks, after.onset_ticks - note.onset_ticks)) if after.pitch == note.pitch else note
        for note, after in pairwise(strokes)
    ]
    return tuple(sorted(kept + strokes[-1:]))


def _track(events: Sequence[Timed], end_ticks: int) -> mido.MidiTrack:
    """Events with ticks from the start, in the order they are to be written -> a track with deltas and an end mark."""
    track, now = mido.MidiTrack(), 0
    for tick, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end_ticks - now)))
    return track


def _conductor(clip: Clip, settings: str | None) -> list[Timed]:
    numerator, denominator = map(int, clip.time_signature.split("/"))
    click = 24 if denominator == 4 else 36  # MIDI clocks per beat: a quarter, or a dotted quarter
    events: list[Timed] = [
        (0, mido.MetaMessage("text", text=_plain(f"{SIGNATURE} {settings}" if settings else SIGNATURE))),
        (0, mido.MetaMessage("set_tempo", tempo=round(60e6 / clip.bpm))),
        (0, mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator, clocks_per_click=click)),
    ]
    if clip.key is not None:
        events.append((0, mido.MetaMessage("key_signature", key=_SIGNATURES[KEY_INDEX[clip.key]])))
    before = ANY_CHORD
    for step, chord in enumerate(clip.chords or ()):
        if chord != before:
            name = UNKNOWN_CHORD if chord == ANY_CHORD else chord_name(chord)
            events.append((step * TICKS_PER_CHORD, mido.MetaMessage("marker", text=name)))
        before = chord
    return events


def _part(part: Track, channel: int) -> list[Timed]:
    """Name, program and notes. A part without a name is called after its role and instrument, which ``analyze`` reads back."""
    name = part.name or " ".join(word for word in (part.role, part.instrument) if word)
    setup: list[Timed] = [
        (0, mido.MetaMessage("track_name", name=_plain(name))),
        (0, mido.Message("program_change", channel=channel, program=INSTRUMENT_PROGRAM[part.instrument or "acoustic_piano"])),
    ]
    strokes: list[tuple[int, int, int, int]] = []  # releases before strokes of the same tick
    for note in playable(part.notes):
        assert note.duration_ticks > 0, note
        strokes.append((note.onset_ticks, 1, note.pitch, note.velocity))
        strokes.append((note.onset_ticks + note.duration_ticks, 0, note.pitch, 0))
    return setup + [
        (tick, mido.Message("note_on" if on else "note_off", channel=channel, note=pitch, velocity=velocity))
        for tick, on, pitch, velocity in sorted(strokes)
    ]


def _plain(text: str) -> str:
    """Text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
