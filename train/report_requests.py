"""The ten requests of every report: the same metadata and seeds for all models, so that one can listen to what changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from musediff.clip import Clip, Meta
from musediff.errors import BadRequest
from musediff.job import Result
from musediff.meta_json import parse_meta
from musediff.pipeline import MusePipeline, Sampling

SEED = 2024


@dataclass(frozen=True, slots=True)
class Wish:
    """``asked``: all that a clip is asked for, so that nothing is filled in."""

    name: str
    asked: Mapping[str, Any]

    @property
    def meta(self) -> Meta:
        return parse_meta(self.asked)[0]


def _wish(name: str, role: str, inst: str, pitch_range: str, key: str, bpm: int, genre: str, chords: str, metre: str = "4/4") -> Wish:
    asked = {"track_role": role, "inst": inst, "pitch_range": pitch_range, "audio_key": key, "bpm": bpm, "genre": genre}
    shared = {"num_measures": 8, "time_signature": metre, "rhythm": "standard", "min_velocity": 50, "max_velocity": 100}
    return Wish(name, MappingProxyType(asked | shared | {"chord_progression": chords}))


WISHES = (
    _wish("pop melody", "main_melody", "acoustic_piano", "mid_high", "aminor", 100, "pop", "Am | F | C | G | Am | F | G | Am"),
    _wish("violin melody", "main_melody", "string_violin", "mid_high", "dmajor", 92, "classical", "D | A7 | Bm | G | D | A7 | G A7 | D"),
    _wish("song in three", "main_melody", "vocal", "mid", "fmajor", 110, "classical", "F | C7 | F | Bb | F | Dm | C7 | F", "3/4"),
    _wish("second melody", "sub_melody", "flute", "mid_high", "cmajor", 104, "orchestral", "C | Am | F | G | C | Am | Dm G7 | C"),
    _wish("piano pattern", "accompaniment", "acoustic_piano", "mid", "cmajor", 96, "pop", "C | G | Am | F | C | G | F | C"),
    _wish("minor piano", "accompaniment", "acoustic_piano", "mid_low", "eminor", 84, "pop", "Em | C | G | D | Em | C | D | Em"),
    _wish("waltz strings", "accompaniment", "string_viola", "mid", "gmajor", 132, "classical", "G | D7 | G | C | G | Em | D7 | G", "3/4"),
    _wish("walking bass", "bass", "acoustic_bass", "low", "fmajor", 112, "pop", "F | Dm | Gm | C7 | F | Dm | Bb C7 | F"),
    _wish("cello in six", "bass", "string_cello", "mid_low", "gminor", 88, "classical", "Gm | D7 | Gm | Eb | Cm | Gm | D7 | Gm", "6/8"),
    _wish("held chords", "pad", "string_ensemble", "mid", "bbmajor", 90, "pop", "Bb | F | Gm | Eb | Bb | F | Eb | Bb"),
)


@dataclass(frozen=True, slots=True)
class Take:
    """What a model made of a request, or why not."""

    model: str
    result: Result | None
    refused: str = ""

    @property
    def clip(self) -> Clip | None:
        return None if self.result is None else self.result.clips[0]


def takes(wish: Wish, number: int, models: Mapping[str, MusePipeline]) -> Iterator[Take]:
    """One of each model."""
    for name, pipeline in models.items():
        try:
            yield Take(name, pipeline.generate(wish.meta, Sampling(seed=SEED + number)))
        except BadRequest as error:
            yield Take(name, None, str(error))
