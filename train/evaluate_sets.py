"""Sets of clips -> figures by name: of one set against what was asked, of a made set beside real ones, of copies.

All are shares, similarities or distances as plain floats; a figure that cannot be said is left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from musediff.clip import Clip
from musediff.data import store as packed
from musediff.metrics.classifier import Told, tell_apart
from musediff.metrics.compare import vectors_of
from musediff.metrics.control import (
    bars_exact,
    chord_tone_ratio,
    harmony_misses,
    pitch_control,
    summed,
    velocity_control,
    velocity_misses,
)
from musediff.metrics.copying import Index
from musediff.metrics.distribution import (
    Features,
    features,
    frechet_distance,
    groove_similarity,
    overlapped_area,
    overlapped_distances,
    pitch_class_entropy,
)
from musediff.metrics.similarity import COMPONENTS, Vectors, mean_similarity, one_nn_accuracy
from musediff.metrics.traits import Traits, traits

Figures = dict[str, float]
NEAREST = tuple("1nnc" if name == "product" else f"1nnc_{name}" for name in COMPONENTS)


@dataclass(frozen=True, slots=True)
class Measured:
    """What comparisons need of n clips, worked out once. A made clip belongs to the song whose metadata it took."""

    songs: np.ndarray  # (n,) int
    corpora: np.ndarray  # (n,) str
    vectors: Vectors
    features: Features
    traits: Traits

    @classmethod
    def of(cls, clips: Sequence[Clip], songs: np.ndarray, corpora: np.ndarray) -> "Measured":
        return cls(songs, corpora, vectors_of(clips), features([clip.tracks[0].notes for clip in clips]), traits(clips))

    def take(self, rows: np.ndarray) -> "Measured":
        """Some of the clips, by number or by a mask."""
        vectors = Vectors(*(getattr(self.vectors, name)[rows] for name in COMPONENTS[1:]))
        parts = ({name: values[rows] for name, values in part.items()} for part in (self.features, self.traits))
        return Measured(self.songs[rows], self.corpora[rows], vectors, *parts)


def describe(clips: Sequence[Clip], asked: Sequence[Clip]) -> Figures:
    """Figures of at least one clip against the metadata of ``asked``, which the clips were made from (or are)."""
    pairs = [(clip.tracks[0].notes, clip, meta.meta()) for clip, meta in zip(clips, asked, strict=True)]
    played = [pair for pair in pairs if pair[0]]
    found = {
        "valid": [bool(notes) and legal(clip) for notes, clip, _ in pairs],
        "bars": [bars_exact(clip, meta.num_measures) for _, clip, meta in pairs if meta.num_measures],
        "cp": [pitch_control(notes, meta.pitch_range) for notes, _, meta in pairs if meta.pitch_range],
        "cv_clips": [velocity_control(notes, meta.min_velocity, meta.max_velocity) == 1 for notes, _, meta in played],
        "chord_tones": [chord_tone_ratio(notes, clip) for notes, clip, _ in played],
        "groove": [groove_similarity(notes, clip.num_measures, clip.bar_ticks) for notes, clip, _ in played],
        "entropy": [pitch_class_entropy(notes) for notes, _, _ in played],
        "notes": [len(notes) for notes, _, _ in pairs],
    }
    figures = {name: float(np.mean(said)) for name, values in found.items() if (said := [v for v in values if not math.isnan(v)])}
    figures["cv"] = 1 - summed(velocity_misses(notes, meta.min_velocity, meta.max_velocity) for notes, _, meta in pairs).share
    figures["ch"] = 1 - summed(harmony_misses(notes, clip) for notes, clip, _ in pairs).share
    return _said(figures)


def legal(clip: Clip) -> bool:
    """Every note lies inside the clip and the MIDI ranges."""
    return all(
        n.onset_ticks >= 0
        and n.onset_ticks + n.duration_ticks <= clip.end_ticks
        and n.duration_ticks > 0
        and 0 <= n.pitch <= 127
        and 1 <= n.velocity <= 127
        for n in clip.tracks[0].notes
    )


def beside(real: Measured, made: Measured) -> tuple[Figures, Told]:
    """How near two sets are to each other: 1NNC of one clip a song, overlapped areas, Frechet distance, and C2ST.

    >= 2 clips each. What cannot be said (of one song, 1NNC is nothing) is left out.
    """
    one = one_of_each_song(real, made)
    nearest = one_nn_accuracy(*(of.take(rows).vectors for of, rows in zip((real, made), one, strict=True))) if len(one[0]) > 1 else None
    figures = {} if nearest is None else {name: getattr(nearest, part) for name, part in zip(NEAREST, COMPONENTS, strict=True)}
    figures["oa"] = float(np.mean(list(overlapped_area(real.features, made.features).values())))
    figures["oa_distances"] = float(np.mean(list(overlapped_distances(real.features, made.features).values())))
    figures["fd"] = frechet_distance(real.features, made.features)
    told = tell_apart(real.traits, made.traits, [*real.songs.tolist(), *made.songs.tolist()])
    return _said(figures | {"c2st": told.auc}), told


def one_of_each_song(a: Measured, b: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both, one clip of a song and as many of a corpus on either side: else 1NNC is not .5 by chance."""
    firsts = [np.sort(np.unique(of.songs, return_index=True)[1]) for of in (a, b)]
    rows: tuple[list[int], list[int]] = ([], [])
    for corpus in np.unique(a.corpora):
        of_corpus = [first[of.corpora[first] == corpus].tolist() for of, first in zip((a, b), firsts, strict=True)]
        size = min(map(len, of_corpus))
        for chosen, there in zip(rows, of_corpus, strict=True):
            chosen += there[:size]
    return np.array(rows[0], np.int64), np.array(rows[1], np.int64)


def inside(of: Measured) -> Figures:
    """How alike the clips of a set are: much more than real ones if a model always makes the same."""
    return _said({"msim_within": mean_similarity(of.vectors)})


def training_runs(store: packed.Store) -> Index:
    """The runs of notes in all tracks of all training songs."""
    tracks = len(store.track_instrument)
    song = np.repeat(np.arange(store.songs), np.diff(store.track_offset))
    track = np.repeat(np.arange(tracks), np.diff(store.note_offset))
    train = store.song_split[song[track]] == packed.TRAIN
    return Index.of(store.note_onset_ticks[train], store.note_pitch[train], track[train])


def copies(index: Index, clips: Sequence[Clip]) -> Figures:
    """Share of clips with a run of their top line that is in the index, by length."""
    return {f"copied_{run}": share for run, share in index.rates([clip.tracks[0].notes for clip in clips]).items()}


def _said(figures: Mapping[str, float]) -> Figures:
    return {name: float(value) for name, value in figures.items() if not math.isnan(value)}
