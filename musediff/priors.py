"""What "any" becomes: the metadata of a real training clip that agrees best with what was asked.

The network is trained on sets of labels that occur together, and the listener wants a tempo, a key and chords that
suit each other, so all open fields come from one clip. ``priors.json`` lies beside the weights.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from musediff.chords import ANY_CHORD, pitch_classes, transpose
from musediff.clip import BAR_TICKS, KEY_INDEX, KEY_NAMES, MAX_BARS, TICKS_PER_CHORD, Meta, mean_pitch_range
from musediff.errors import BadCheckpoint
from musediff.midi.harmony import infer_key

# How much agreement in a field counts. Metre and mode must agree where they decide whether the chords fit.
_WEIGHT = {"time_signature": 1000, "track_role": 400, "inst": 200, "genre": 60, "rhythm": 40, "pitch_range": 30, "num_measures": 20}
_MODE_WEIGHT = 300
_USUAL = {"time_signature": "4/4", "inst": "acoustic_piano"}  # of equals, what a newcomer expects


@dataclass(frozen=True, slots=True)
class Priors:
    """Complete sets of metadata of training clips. Without any, plain defaults are used."""

    rows: tuple[Meta, ...] = ()

    def complete(self, asked: Meta, rng: np.random.Generator) -> Meta:
        """``asked`` with every open field filled in; fields that were asked stay."""
        if asked.chord_progression is not None:
            asked = _framed_by_chords(asked)
        row = self._like(asked, rng)
        if asked.audio_key is not None and row.audio_key is not None:
            row = _moved(row, KEY_INDEX[asked.audio_key])
        full = row.but(asked)
        chords = asked.chord_progression
        if chords is None and row.chord_progression is not None and row.time_signature == full.time_signature:
            chords = _tiled(row.chord_progression, full)
        return replace(full, chord_progression=chords)

    def _like(self, asked: Meta, rng: np.random.Generator) -> Meta:
        if not self.rows:
            return DEFAULT
        score = self._agreement(asked)
        return self.rows[int(rng.choice(np.flatnonzero(score == score.max())))]

    def _agreement(self, asked: Meta) -> np.ndarray:
        """How well each row fits what was asked."""
        score = np.zeros(len(self.rows))
        for name, weight in _WEIGHT.items():
            value = getattr(asked, name)
            if value is not None:
                score += weight * np.array([getattr(row, name) == value for row in self.rows])
        for name, value in _USUAL.items():
            if getattr(asked, name) is None:
                score += [getattr(row, name) == value for row in self.rows]
        if asked.audio_key is not None:
            mode = KEY_INDEX[asked.audio_key] // 12
            score += _MODE_WEIGHT * np.array([row.audio_key is None or KEY_INDEX[row.audio_key] // 12 == mode for row in self.rows])
        return score


DEFAULT = Meta(
    bpm=100, audio_key="cmajor", time_signature="4/4", num_measures=8, track_role="main_melody", inst="acoustic_piano",
    pitch_range=mean_pitch_range(72), rhythm="standard", min_velocity=60, max_velocity=100,
)  # fmt: skip


def _framed_by_chords(asked: Meta) -> Meta:
    """Chords that were asked decide metre (4/4) and bars that were not. The key of another clip would not suit them:
    it is the one whose scale holds most of their notes."""
    assert asked.chord_progression is not None
    meter = asked.time_signature or "4/4"
    per_bar = BAR_TICKS[meter] // TICKS_PER_CHORD
    bars = asked.num_measures or min(MAX_BARS, max(1, len(asked.chord_progression) // per_bar))
    weights = np.zeros(12)
    for chord in asked.chord_progression:
        weights[list(pitch_classes(chord))] += 1
    key = asked.audio_key or (KEY_NAMES[infer_key(weights)[0]] if weights.any() else None)
    return replace(asked, time_signature=meter, num_measures=bars, audio_key=key)


def _moved(row: Meta, key: int) -> Meta:
    """The row transposed to another tonic; its mode stays if that of ``key`` differs, then chords are left out."""
    assert row.audio_key is not None
    old = KEY_INDEX[row.audio_key]
    if old // 12 != key // 12 or row.chord_progression is None:
        return replace(row, audio_key=None, chord_progression=None)
    return replace(row, audio_key=KEY_NAMES[key], chord_progression=tuple(transpose(c, key - old) for c in row.chord_progression))


def _tiled(chords: Sequence[int], full: Meta) -> tuple[int, ...] | None:
    """Chords repeated or cut to the length that is wanted."""
    assert full.time_signature is not None and full.num_measures is not None
    number = full.num_measures * (BAR_TICKS[full.time_signature] // TICKS_PER_CHORD)
    return tuple(chords[i % len(chords)] for i in range(number)) if chords and ANY_CHORD not in chords else None


def load(path: Path) -> Priors:
    """Read priors.json.

    Raises:
        BadCheckpoint: it is not there or cannot be read.
    """
    try:
        rows = json.loads(path.read_text())
        return Priors(tuple(Meta(**(row | {"chord_progression": _unpacked(row["chord_progression"])})) for row in rows))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadCheckpoint(f"{path}: cannot be read ({error}). Copy the assets folder again.") from error


def save(path: Path, rows: Sequence[Meta]) -> None:
    """Write priors.json, chords run-length coded."""
    packed = [
        {name: getattr(row, name) for name in Meta.__dataclass_fields__} | {"chord_progression": _packed(row.chord_progression)}
        for row in rows
    ]
    path.write_text("[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in packed) + "\n]\n")


def _packed(chords: Sequence[int] | None) -> list[list[int]] | None:
    if chords is None:
        return None
    runs: list[list[int]] = []
    for chord in chords:
        if runs and runs[-1][0] == chord:
            runs[-1][1] += 1
        else:
            runs.append([chord, 1])
    return runs


def _unpacked(runs: Sequence[Sequence[int]] | None) -> tuple[int, ...] | None:
    return None if runs is None else tuple(chord for chord, number in runs for _ in range(number))
