"""Performance -> sound with NumPy alone: sums of decaying partials, shaped noise for drums. Plain, but always there.

One row of ``FAMILIES`` for each of the sixteen groups of eight General MIDI programs says how its tones build up and die away.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from musediff.render.events import DRUM_CHANNEL, Event, Performance

HIGHEST_HZ = 12_000
RELEASE_SECONDS = 0.25
ROOM = ((0.023, 0.031, 0.22), (0.047, 0.041, 0.15), (0.079, 0.089, 0.1))  # echoes: delay left, delay right (seconds), level


class Family(NamedTuple):
    """``partials``: how many. ``slope``: the k-th has amplitude k ** -slope. ``odd``: only odd ones. ``attack``: seconds.

    ``decay``: of the first partial, at 440 Hz, per second, the k-th decays (2 + k) / 3 times as fast; 0 holds the tone.
    ``vibrato``: share of the frequency.
    """

    partials: int
    slope: float
    odd: bool = False
    attack: float = 0.004
    decay: float = 0.0
    vibrato: float = 0.0


FAMILIES = (
    Family(10, 1.3, decay=1.6),  # piano
    Family(5, 1.9, decay=2.6),  # chromatic percussion
    Family(7, 0.9, attack=0.02),  # organ
    Family(10, 1.1, decay=2.4),  # guitar
    Family(7, 1.2, decay=1.2),  # bass
    Family(9, 1.1, attack=0.09, vibrato=0.003),  # strings
    Family(9, 1.2, attack=0.14, vibrato=0.002),  # ensemble
    Family(9, 0.9, attack=0.04, vibrato=0.001),  # brass
    Family(8, 1.0, odd=True, attack=0.04, vibrato=0.002),  # reed
    Family(4, 1.7, attack=0.05, vibrato=0.003),  # pipe
    Family(10, 1.0, attack=0.01),  # synth lead
    Family(6, 1.5, attack=0.25, vibrato=0.002),  # synth pad
    Family(6, 1.4, attack=0.05, decay=0.6),  # synth effects
    Family(10, 0.9, decay=3.2),  # ethnic, most of them plucked
    Family(5, 1.6, decay=5.0),  # percussive
    Family(6, 1.0, decay=1.0),  # sound effects
)

# Keys of the General MIDI drum kit.
KICKS, SNARES, CLOSED_HATS, CYMBALS, TOMS = {35, 36}, {37, 38, 39, 40}, {42, 44}, {46, 49, 51, 52, 53, 55, 57, 59}, {41, 43, 45, 47, 48, 50}


class Sounding(NamedTuple):
    """One note: first sample, samples held, MIDI pitch and velocity, channel."""

    start: int
    held: int
    pitch: int
    velocity: int
    channel: int


class Tone:
    """Needs nothing but NumPy; keeps no state."""

    name = "plain tones (NumPy)"

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate

    def play(self, performance: Performance, samples: int) -> np.ndarray:
        """(samples, 2) float32, any level."""
        out = np.zeros((samples, 2), np.float32)
        programs = dict(performance.programs)
        order = {channel: i for i, channel in enumerate(programs)}
        for note in soundings(performance.events, performance.seconds_per_tick * self._rate):
            if note.channel == DRUM_CHANNEL:
                sound, side = self.drum(note.pitch), 0.0
            else:
                sound = self.tone(FAMILIES[programs[note.channel] // 8], note.pitch, note.held, note.velocity)
                side = 0.3 * (-1) ** order[note.channel] * min(order[note.channel], 2) / 2  # the first in the middle
            sound = sound[: samples - note.start] * np.float32((note.velocity / 127) ** 1.7)
            out[note.start : note.start + len(sound)] += sound[:, None] * np.array([1 - side, 1 + side], np.float32)
        dry = out.copy()
        for left, right, level in ROOM:
            for side, delay in enumerate((round(left * self._rate), round(right * self._rate))):
                out[delay:, side] += level * dry[: max(0, samples - delay), 1 - side]
        return out

    def tone(self, family: Family, pitch: int, held: int, velocity: int) -> np.ndarray:
        """(held + release,) float32."""
        release = round(RELEASE_SECONDS * self._rate)
        time = np.arange(held + release) / self._rate
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        phase = 2 * np.pi * hertz * time + family.vibrato * hertz / 5 * np.sin(2 * np.pi * 5 * time)
        turn = np.exp(1j * (phase % (2 * np.pi))).astype(np.complex64)
        time = time.astype(np.float32)
        step = turn * turn if family.odd else turn
        fade = np.exp(-family.decay * (0.4 + 0.6 * hertz / 440) * time / 3)  # low strings ring longer
        bright = np.float32(0.55 + 0.45 * velocity / 127)
        envelope, sound = fade**3, np.zeros_like(time)
        for k in range(1, family.partials + 1):
            number = 2 * k - 1 if family.odd else k
            if number * hertz > HIGHEST_HZ:
                break
            envelope = envelope * fade if k > 1 else envelope
            sound += np.float32(number**-family.slope) * bright ** (k - 1) * envelope * turn.imag
            turn = turn * step
        sound *= np.minimum(1, time / family.attack)
        sound[held:] *= np.linspace(1, 0, release, dtype=np.float32) ** 2
        return sound

    def drum(self, key: int) -> np.ndarray:
        """(samples,) float32, the same each time."""
        fade, first, last, noise = drum_shape(key)
        time = np.arange(round(fade * 5 * self._rate), dtype=np.float32) / self._rate
        phase = 2 * np.pi * (last * time + (first - last) * 0.03 * (1 - np.exp(-time / 0.03)))
        hiss = np.diff(np.random.default_rng(key).standard_normal(len(time) + 1)).astype(np.float32)
        sound = ((1 - noise) * 2 * np.sin(phase) + noise * 0.5 * hiss) * np.exp(-time / fade)
        return (sound * np.minimum(1, time / 0.001)).astype(np.float32)


def drum_shape(key: int) -> tuple[float, float, float, float]:
    """Seconds to fade to a third, start and end frequency in Hz, share of noise."""
    if key in KICKS:
        return 0.12, 160, 48, 0.03
    if key in SNARES:
        return 0.09, 240, 180, 0.7
    if key in CLOSED_HATS:
        return 0.03, 400, 400, 1.0
    if key in CYMBALS:
        return 0.3, 400, 400, 0.95
    if key in TOMS:
        return 0.16, 60 + 5 * (key - 35) * 1.5, 40 + 5 * (key - 35), 0.08
    return 0.05, 300 + 12 * key, 300 + 12 * key, 0.3


def soundings(events: tuple[Event, ...], samples_per_tick: float) -> Iterator[Sounding]:
    """Ons and offs paired; every on has its off."""
    began: dict[tuple[int, int], Event] = {}
    for event in events:
        if event.velocity:
            began[event.channel, event.pitch] = event
        else:
            on = began.pop((event.channel, event.pitch))
            start = round(on.ticks * samples_per_tick)
            yield Sounding(start, round(event.ticks * samples_per_tick) - start, on.pitch, on.velocity, on.channel)
