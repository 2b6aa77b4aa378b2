"""Weights of a run -> clips to hear and see: the same few requests at every evaluation, by the product's own engine.

Needs what the product needs: without its MIDI library there are no samples, without matplotlib no picture. Training goes on.
"""

from pathlib import Path

import torch

from musediff.clip import Meta
from musediff.errors import MuseError
from musediff.progression import parse
from train.states import writing

FOLDER, PICTURE = "samples", "rolls.png"
BARS, METRE, KEY = 8, "4/4", "aminor"
CHORDS = "Am | F | C | G | Am | F | Dm E | Am"
# Each request leaves nothing open, so that the samples of all steps and of all runs can be compared.
PARTS = (
    Meta(track_role="main_melody", inst="acoustic_piano", pitch_range="mid_high", min_velocity=50, max_velocity=90),
    Meta(track_role="accompaniment", inst="acoustic_piano", pitch_range="mid", min_velocity=40, max_velocity=80),
    Meta(track_role="bass", inst="electric_bass", pitch_range="low", min_velocity=50, max_velocity=90),
)


def requests(number: int) -> list[Meta]:
    """The first ``number`` of them; they begin again, to be drawn with other seeds."""
    chords = parse(CHORDS, key=KEY, time_signature=METRE, num_measures=BARS).chords
    whole = Meta(bpm=100, audio_key=KEY, time_signature=METRE, num_measures=BARS, genre="pop", rhythm="standard", chord_progression=chords)
    return [whole.but(PARTS[i % len(PARTS)]) for i in range(number)]


class Samples:
    """Writes MIDI files and one picture of them into ``out/samples/STEP``; ``number`` 0: nothing at all."""

    def __init__(self, out: Path, number: int) -> None:
        self.out, self.number = out, number
        self._said: set[str] = set()

    def make(self, weights: Path, step: int) -> str:
        """Of a folder of weights. Returns what the user should know, once; torch's own chance is left as it is.

        Raises:
            BadRequest: the folder cannot be written.
        """
        note = ""
        if self.number:
            with torch.random.fork_rng(devices=[]), writing(self.out):
                note = self._make(weights, self.out / FOLDER / f"{step:06}")
        new = note if note not in self._said else ""
        self._said.add(note)
        return new

    def _make(self, weights: Path, folder: Path) -> str:
        try:
            from musediff.pipeline import MusePipeline, Sampling

            pipeline = MusePipeline.load(weights)
            made = [pipeline.generate(meta, Sampling(seed=i + 1)) for i, meta in enumerate(requests(self.number))]
        except ImportError as missing:
            return f"no samples: {missing.name} is not installed"
        except MuseError as error:
            return f"no samples: {error}"
        folder.mkdir(parents=True, exist_ok=True)
        for i, result in enumerate(made):
            (folder / f"{i + 1}-{result.clips[0].tracks[0].role}.mid").write_bytes(result.midi())
        try:
            from musediff.render.sheet import save_sheet

            save_sheet([result.clips[0] for result in made], folder / PICTURE)
        except ImportError as missing:
            return f"the samples are MIDI files only: for a picture pip install {(missing.name or '').split('.')[0]}"
        return ""
