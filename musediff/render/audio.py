"""Clip -> stereo sound and the name of the synth that played it; sound -> WAV bytes.

Three synths, the first that works plays: FluidSynth (system library), midirenderer (a wheel), plain tones (NumPy).
"""

import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from musediff.clip import Clip, Note, Track
from musediff.errors import BadSoundfont
from musediff.render import soundfonts
from musediff.render.embedded import MidiRenderer
from musediff.render.events import Performance, perform
from musediff.render.fluid import FluidSynth
from musediff.render.soundfonts import Soundfont
from musediff.render.tone import Tone

SAMPLE_RATE = 44_100
TAIL_SECONDS = 1.5  # after the last bar, for what still rings
FADE_SECONDS = 0.3  # at the end of the tail: what still rings then must not click
PEAK = 10 ** (-1 / 20)  # -1 dBFS
FLOOR = 1e-3  # a quieter peak counts as this one: silence stays silence
PROBE = Clip(1, (Track((Note(0, 60, 480, 100),), instrument="acoustic_piano"),), bpm=300)

SAMPLERS: dict[str, type[FluidSynth] | type[MidiRenderer]] = {"fluidsynth": FluidSynth, "midirenderer": MidiRenderer}
TONE = "tone"
BACKENDS = (*SAMPLERS, TONE)


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """``samples``: (n, 2) float32 in [-1, 1]. ``synth``: what played, for people to read."""

    samples: np.ndarray
    sample_rate: int
    synth: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


class Voice(Protocol):
    """What plays."""

    name: str

    def play(self, performance: Performance, samples: int) -> np.ndarray: ...


class Synthesizer:
    """Plays clips; may be shared by threads.

    ``backend``: one of ``BACKENDS``, None for the best that works here. ``soundfont``: a file, None for the one of the
    ``SOUNDFONT`` variable or the best that is found. ``passed_over`` says why better choices were not taken.

    Raises:
        BadSoundfont: what was asked for by name cannot be used.
    """

    def __init__(self, backend: str | None = None, soundfont: Path | None = None) -> None:
        if backend is not None and backend not in BACKENDS:
            raise BadSoundfont(f"There is no synth {backend!r}. Choose one of {', '.join(BACKENDS)}.")
        wanted = soundfonts.asked_for(soundfont) if backend != TONE else None
        self.font: Soundfont | None = None
        self.passed_over: tuple[str, ...] = ()
        self._voice = self._choose((backend,) if backend else tuple(SAMPLERS), wanted)
        if self._voice is None:
            if wanted is not None or backend in SAMPLERS:
                raise BadSoundfont(" ".join(self.passed_over))
            self._voice = Tone(SAMPLE_RATE)

    @property
    def name(self) -> str:
        assert self._voice is not None
        return self._voice.name

    def render(self, clip: Clip) -> Audio:
        """The whole bars and the tail; the loudest sample at -1 dBFS; all zeros where nothing is played."""
        assert self._voice is not None
        return Audio(finished(self._voice, clip), SAMPLE_RATE, self.name)

    def _choose(self, backends: tuple[str, ...], wanted: Soundfont | None) -> Voice | None:
        """The first pair of synth and font that really sounds; notes what was passed over."""
        fonts = (wanted,) if wanted else soundfonts.installed()
        for sampler in (SAMPLERS[name] for name in backends if name in SAMPLERS):
            usable = [font for font in fonts if font.path.suffix.lower() in sampler.suffixes]
            if not usable:
                what = wanted.path if wanted else "no soundfont that was found"
                self.passed_over += (f"{sampler.__name__} reads {' and '.join(sampler.suffixes)} files: {what} cannot be used.",)
            for font in usable:
                try:
                    voice = sampler(font, SAMPLE_RATE)
                    if not finished(voice, PROBE).any():  # e.g. an SF3 with a FluidSynth that was built without Ogg Vorbis
                        raise BadSoundfont(f"{voice.name} stays silent.")
                except BadSoundfont as error:
                    self.passed_over = tuple(dict.fromkeys((*self.passed_over, str(error))))
                    continue
                self.font = font
                return voice
        return None


def finished(voice: Voice, clip: Clip) -> np.ndarray:
    """A clip played, faded out at the end and brought to the peak level: (n, 2) float32."""
    samples = round((clip.seconds + TAIL_SECONDS) * SAMPLE_RATE)
    sound = voice.play(perform(clip), samples)
    fade = round(FADE_SECONDS * SAMPLE_RATE)
    sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return sound * np.float32(PEAK / max(float(np.abs(sound).max()), FLOOR))


def to_wav(audio: Audio) -> bytes:
    """16-bit PCM, stereo."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(audio.sample_rate)
        file.writeframes(np.round(audio.samples * 32767).astype("<i2").tobytes())
    return out.getvalue()
