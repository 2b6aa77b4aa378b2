"""Parts that POP909 does not have by themselves: a bass cut from the piano's notes, a pad made of the expert's chords."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from musediff.clip import Note
from musediff.data.quantise import top_line
from musediff.data.song import Bar

HIGHEST_BASS = 52  # E3
HIGHEST_OCTAVE = 49  # an octave leap of the bass stays below D3
NEAR_LOWEST = 2  # semitones above the lowest note of the half bar that still count as the bass
# Neither part is tied to an instrument; each song draws one.
BASS_INSTRUMENTS = ("acoustic_piano", "acoustic_bass", "electric_bass", "electric_bass", "synth_bass", "string_cello", "string_double_bass")
PAD_INSTRUMENTS = (
    "acoustic_piano", "electric_piano", "organ", "string_ensemble", "string_ensemble", "synth_pad", "synth_pad", "pad_synth", "choir",
    "brass_ensemble", "synth_voice",
)  # fmt: skip

SHORTEST_PAD_TICKS = 240
LOWEST_PAD, HIGHEST_PAD = 43, 84
PAD_STYLES = ("close", "close", "open", "rooted", "block")


def bass_line(notes: Sequence[Note], half_bar_ticks: int, start_ticks: int = 0) -> list[Note]:
    """The lowest piano note of each onset, if it is at or near the lowest of its half bar (counted from ``start_ticks``)."""
    lowest: dict[int, Note] = {}
    floor: dict[int, int] = {}
    for note in notes:
        if note.pitch <= HIGHEST_BASS:
            half = (note.onset_ticks - start_ticks) // half_bar_ticks
            floor[half] = min(note.pitch, floor.get(half, note.pitch))
            if note.onset_ticks not in lowest or note.pitch < lowest[note.onset_ticks].pitch:
                lowest[note.onset_ticks] = note
    line = []
    for note in lowest.values():
        above = note.pitch - floor[(note.onset_ticks - start_ticks) // half_bar_ticks]
        if above <= NEAR_LOWEST or (above == 12 and note.pitch <= HIGHEST_OCTAVE):
            line.append(note)
    return top_line(line)


def pad_notes(chords: Sequence[tuple[int, int, tuple[int, ...]]], bars: Sequence[Bar], chance: Random) -> list[Note]:
    """Held chords, (start, end, pitches) each, in one voicing style, register and loudness for the whole song.

    Chords are struck at their start and again at every bar line, so that any whole bars of them stand alone.
    """
    style, centre = chance.choice(PAD_STYLES), chance.randint(57, 68)
    centre = min(centre, 62) if style == "rooted" else centre  # else a hole gapes above the root
    loudness, swell = chance.randint(50, 90), chance.choice((0, 0, 3, 6))
    lines = [bar.start_ticks for bar in bars]
    notes: list[Note] = []
    voicing: tuple[int, ...] = ()
    for start, end, pitches in chords:
        if len({p % 12 for p in pitches}) < 3 or end - start < SHORTEST_PAD_TICKS:
            continue
        voicing = _voicing(pitches, voicing, style, centre)
        velocity = loudness + chance.randint(-swell, swell)
        first, last = max(start, lines[0]), min(end, bars[-1].end_ticks)
        edges = [first, *(line for line in lines if first < line < last), last]
        for onset, release in pairwise(edges):
            if release - onset >= SHORTEST_PAD_TICKS:
                notes += [Note(onset, pitch, release - onset, velocity) for pitch in voicing]
    return sorted(notes)


def _voicing(pitches: Sequence[int], previous: Sequence[int], style: str, centre: int) -> tuple[int, ...]:
    """Where the chord's pitch classes lie: the inversion nearest to the previous voicing, spread by the style."""
    classes = list(dict.fromkeys(p % 12 for p in sorted(pitches)))[:4]
    if style == "block":
        shift = round((centre - 4 - pitches[0]) / 12) * 12
        return tuple(sorted({p + shift for p in pitches}))
    candidates = []
    for turn in range(len(classes)):
        for lowest in range(centre - 12, centre + 6):
            if lowest % 12 == classes[turn]:
                stack = [lowest]
                for pitch_class in classes[turn + 1 :] + classes[:turn]:
                    stack.append(stack[-1] + (pitch_class - stack[-1]) % 12)
                candidates.append(stack)
    aim = previous[-3:] or (centre,)
    upper = min(candidates, key=lambda stack: (abs(sum(stack[-3:]) / 3 - sum(aim) / len(aim)) + 0.3 * abs(stack[-1] - centre - 6), stack))
    if style == "open" and upper[-2] - 12 >= LOWEST_PAD:
        upper = sorted([*upper[:-2], upper[-2] - 12, upper[-1]])
    if style == "rooted":
        root = next(p for p in range(LOWEST_PAD, LOWEST_PAD + 12) if p % 12 == classes[0])
        upper = [root, *(p for p in upper if p > root)]
    return tuple(p for p in upper if p <= HIGHEST_PAD)
