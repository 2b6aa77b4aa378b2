"""Performance -> sound with FluidSynth, through pyfluidsynth. Needs the system library libfluidsynth.

Each clip gets a synth of its own, made in 3-20 ms. One that is kept and reset between clips goes on with the phases of its
reverb and chorus and lets the end of the last clip be heard at the start of the next (measured with FluidSynth 2.3.1):
the same clip would not give the same sound.
"""

import contextlib
import sys
import threading
import weakref
from collections.abc import Callable
from ctypes import c_int, c_void_p
from itertools import groupby
from types import ModuleType
from typing import Any

import numpy as np

from musediff.errors import BadSoundfont
from musediff.render.events import Performance
from musediff.render.soundfonts import Soundfont

BLOCK = 64  # FluidSynth's own: events take effect at the start of a block
INSTALL = "Debian and Ubuntu: apt-get install fluidsynth; macOS: brew install fluid-synth; Windows: choco install fluidsynth"


def library() -> ModuleType:
    """pyfluidsynth.

    Raises:
        BadSoundfont: it or libfluidsynth is not there.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where CI is set it prints what it found, amid a command's JSON
            import fluidsynth
    except (ImportError, OSError) as error:
        raise BadSoundfont(f"FluidSynth is not there ({error}). {INSTALL}, then pip install pyfluidsynth.") from error
    if not hasattr(fluidsynth, "Synth"):
        raise BadSoundfont(
            "The package named fluidsynth hides pyfluidsynth: pip uninstall fluidsynth, then pip install --force-reinstall pyfluidsynth."
        )
    return fluidsynth


class FluidSynth:
    """Plays with one soundfont, SF2 or SF3.

    Raises:
        BadSoundfont: the library is missing or the font cannot be loaded.
    """

    suffixes = (".sf2", ".sf3")

    def __init__(self, font: Soundfont, sample_rate: int) -> None:
        self._library, self._font, self._rate = library(), font.path, sample_rate
        pointer, number = c_void_p, c_int
        # Floats: pyfluidsynth's own get_samples gives 16 bits, clipped, with a dither that goes on from clip to clip.
        self._write = self._library.cfunc(
            "fluid_synth_write_float", c_int, ("synth", pointer, 1), ("len", number, 1),
            ("left", pointer, 1), ("left_at", number, 1), ("left_step", number, 1),
            ("right", pointer, 1), ("right_at", number, 1), ("right_step", number, 1),
        )  # fmt: skip
        self._lock = threading.Lock()
        self._release: Callable[[], object] = lambda: None
        self.name = f"FluidSynth, {font.path.name}"

    def play(self, performance: Performance, samples: int) -> np.ndarray:
        """(samples, 2) float32, any level. One clip at a time: the samples of one clip in memory, one core busy."""
        blocks = -(-samples // BLOCK)
        out = np.zeros((blocks * BLOCK, 2), np.float32)
        per_tick = performance.seconds_per_tick * self._rate / BLOCK
        with self._lock:
            synth = self._open()
            for channel, program in performance.programs:
                synth.program_change(channel, program)
            self._keep(synth)
            done = 0
            for block, events in groupby(performance.events, key=lambda e: min(int(e.ticks * per_tick), blocks)):
                self._advance(synth, out, done, block)
                done = block
                for event in events:
                    synth.noteon(event.channel, event.pitch, event.velocity)  # velocity 0 is a note off
            self._advance(synth, out, done, blocks)
        return out[:samples]

    def _open(self) -> Any:
        # Samples are read when a program is chosen: FluidR3Mono_GM.sf3 opens in 0.02 s instead of 2.6 s.
        synth = self._library.Synth(samplerate=self._rate, channels=16, **{"synth.dynamic-sample-loading": 1})
        if synth.sfload(str(self._font)) < 0:
            synth.delete()
            raise BadSoundfont(f"FluidSynth cannot load {self._font}. Name another soundfont.")
        return synth

    def _keep(self, synth: Any) -> None:
        """Hold on to the newest synth and let go of the one before: what both play is decoded once."""
        self._release()
        self._release = weakref.finalize(self, synth.delete)

    def _advance(self, synth: Any, out: np.ndarray, first: int, last: int) -> None:
        if last > first:
            at, address = 2 * first * BLOCK, out.ctypes.data
            self._write(synth.synth, (last - first) * BLOCK, address, at, 2, address, at + 1, 2)
