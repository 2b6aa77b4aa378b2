"""Events of one track -> its notes: keys, sustain pedal, notes that never end; and a count of what had to be mended.

- a note-on for a key that already sounds starts a second note, the first note-off ends the first (as most readers do);
- a note without note-off ends at the next stroke of its key, at the end of its track, or after four quarters, whichever is first;
- a note-off under the sustain pedal is moved to the pedal's release or the next stroke of the key, by four quarters at most.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from musediff.midi import smf

HANG_QUARTERS = 4
Played = tuple[int, int, int, int]  # onset, end, pitch, velocity, in the file's ticks


@dataclass(slots=True)
class Report:
    """Counts of what was changed. ``broken``: numbers of tracks, from 1."""

    broken: list[int] = field(default_factory=list)
    stuck: int = 0
    pedalled: int = 0
    lengthened: int = 0
    left_out: int = 0

    def damage(self) -> str:
        """Which tracks are broken, without a full stop."""
        first = ", ".join(map(str, self.broken[:8])) + (f" and {len(self.broken) - 8} more" if len(self.broken) > 8 else "")
        return f"Tracks {first} are cut off or damaged" if len(self.broken) > 1 else f"Track {first} is cut off or damaged"

    def sentences(self) -> list[str]:
        said = []
        if self.broken:
            said.append(f"{self.damage()}; what comes before the damage was read.")
        if self.stuck:
            said.append(
                f"{count(self.stuck, 'note never ends', 'notes never end')} in the file; ended at the next stroke of the key, "
                "the end of the track or after four quarters."
            )
        if self.pedalled:
            said.append(f"{count(self.pedalled, 'note was', 'notes were')} lengthened to the release of the sustain pedal.")
        if self.lengthened:
            said.append(f"{count(self.lengthened, 'note', 'notes')} of no length got the length of a 1/32 note.")
        if self.left_out:
            said.append(f"{count(self.left_out, 'event is', 'events are')} left out: volume, pan, pitch bends and other controls.")
        return said


def count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


@dataclass(slots=True)
class _Channel:
    """What sounds on one channel of one track. Times are the file's ticks."""

    program: int
    down: bool = False
    sounding: dict[int, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))  # key -> onset, velocity, program
    held: dict[int, list[tuple[int, int, int, int]]] = field(default_factory=lambda: defaultdict(list))  # and the tick of the note-off


class Player:
    """Plays the events of one track and collects its notes as (channel, program) -> [(onset, end, pitch, velocity)]."""

    def __init__(self, programs: dict[int, int], hang: Fraction, pedal: bool, report: Report) -> None:
        self.channels = {number: _Channel(programs.get(number, 0)) for number in range(16)}
        self.hang, self.pedal, self.report = hang, pedal, report
        self.notes: dict[tuple[int, int], list[Played]] = defaultdict(list)

    def play(self, event: smf.Event) -> None:
        number = event.status & 0x0F
        channel, command = self.channels[number], event.status & 0xF0
        if command == smf.NOTE_ON and event.second > 0:
            self._release(number, event.tick, list(channel.held))
            channel.sounding[event.first].append((event.tick, event.second, channel.program))
        elif command <= smf.NOTE_ON:
            self._off(number, event.first, event.tick)
        elif command == smf.PROGRAM:
            channel.program = event.first
        elif event.first != smf.SUSTAIN:
            for pitch in list(channel.sounding):
                while channel.sounding[pitch]:
                    self._off(number, pitch, event.tick)
        elif self.pedal:
            channel.down = event.second >= 64
            if not channel.down:
                self._release(number, event.tick, list(channel.held))

    def _off(self, number: int, pitch: int, tick: int) -> None:
        channel = self.channels[number]
        if not channel.sounding[pitch]:
            return
        onset, velocity, program = channel.sounding[pitch].pop(0)
        if channel.down:
            channel.held[pitch].append((onset, velocity, program, tick))
        else:
            self.notes[number, program].append((onset, tick, pitch, velocity))

    def _release(self, number: int, tick: int, pitches: Iterable[int]) -> None:
        held = self.channels[number].held
        for pitch in pitches:
            for onset, velocity, program, off in held.pop(pitch, ()):
                end = min(tick, int(off + self.hang))
                self.report.pedalled += end > off
                self.notes[number, program].append((onset, end, pitch, velocity))

    def finish(self, tick: int) -> None:
        for number, channel in self.channels.items():
            self._release(number, tick, list(channel.held))
            for pitch, hanging in channel.sounding.items():
                following_onsets = [onset for onset, *_ in hanging[1:]] + [tick] * bool(hanging)
                for (onset, velocity, program), following in zip(hanging, following_onsets, strict=True):
                    self.report.stuck += 1
                    end = min(following if following > onset else tick, int(onset + self.hang))
                    self.notes[number, program].append((onset, end, pitch, velocity))
