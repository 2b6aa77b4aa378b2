"""Performance -> sound with midirenderer (RustySynth in a wheel): no system library, SF2 fonts only."""

import io
import wave

import numpy as np

from musediff.errors import BadSoundfont
from musediff.render.events import Performance, midi_file
from musediff.render.soundfonts import Soundfont

MAX_FONT_BYTES = 64 << 20  # the whole font is parsed again for each clip
SMOOTH = 256  # lengths for the Fourier transform are multiples of this


class MidiRenderer:
    """Plays with one soundfont.

    Raises:
        BadSoundfont: the wheel is missing or the font is not one that it reads.
    """

    suffixes = (".sf2",)

    def __init__(self, font: Soundfont, sample_rate: int) -> None:
        try:
            from midirenderer import render_wave_from
        except ImportError as error:
            raise BadSoundfont(f"midirenderer is not there ({error}): pip install midirenderer.") from error
        if (size := font.path.stat().st_size) > MAX_FONT_BYTES:
            raise BadSoundfont(f"{font.path} is too large for midirenderer ({size >> 20} of {MAX_FONT_BYTES >> 20} MB).")
        self._render, self._font, self._rate = render_wave_from, font.path.read_bytes(), sample_rate
        self.name = f"midirenderer, {font.path.name}"

    def play(self, performance: Performance, samples: int) -> np.ndarray:
        """(samples, 2) float32, any level."""
        tail = samples / self._rate - performance.end_ticks * performance.seconds_per_tick
        try:
            data = self._render(self._font, midi_file(performance, tail))
        except RuntimeError as error:
            raise BadSoundfont(f"{self.name}: {error}. Name another soundfont.") from error
        with wave.open(io.BytesIO(data)) as file:
            rate, frames = file.getframerate(), file.readframes(file.getnframes())
        sound = np.frombuffer(frames, "<i2").reshape(-1, 2).astype(np.float32) / 32768
        out = resample(sound, rate, self._rate)[:samples]
        return np.pad(out, ((0, samples - len(out)), (0, 0)))


def resample(sound: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """(n, 2) at ``rate`` -> (n * wanted / rate, 2), by cutting or padding the spectrum."""
    if rate == wanted:
        return sound
    step = rate // np.gcd(rate, wanted) * SMOOTH
    padded = np.pad(sound, ((0, -len(sound) % step), (0, 0)))
    length = len(padded) * wanted // rate
    return (np.fft.irfft(np.fft.rfft(padded, axis=0), length, axis=0) * (wanted / rate)).astype(np.float32)
