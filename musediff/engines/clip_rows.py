"""The clip table of a packed file -> clips drawn by weight, in batches of like length. What the engines' data sets share."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from musediff.chords import NO_CHORD, QUALITIES
from musediff.clip import ROLES
from musediff.data.store import TRAIN, Store
from musediff.errors import BadData

RIFF_SHARE = 0.5
FIRST_POOL = 768  # clips that batches were cut from before there were others
LENGTH_SHARES = ((4, 0.25), (8, 0.60), (16, 0.15))  # bars, share


class Measured(Protocol):
    """A clip that knows its number of tokens in the network."""

    @property
    def length(self) -> int: ...


T = TypeVar("T", bound=Measured)


class Frame(NamedTuple):
    """What the bars of a clip share, as it is stored. ``row`` is the first of them in the table of bars."""

    row: int
    bar: int
    bars: int
    meter: int
    key: int
    genre: int
    bpm: int
    rhythm: int


def frame_at(store: Store, clip: int) -> Frame:
    """The frame of a row of the clip table."""
    song, bar = int(store.clip_song[clip]), int(store.clip_bar[clip])
    row = int(store.bar_offset[song]) + bar
    meter, key, bpm = int(store.bar_meter[row]), int(store.bar_key[row]), int(store.bar_bpm[row])
    return Frame(row, bar, int(store.clip_bars[clip]), meter, key, int(store.song_genre[song]), bpm, int(store.clip_rhythm[clip]))


def transposed(chords: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """Chord ids moved by semitones; what names no chord stays."""
    size = len(QUALITIES)
    return np.where(chords >= NO_CHORD, chords, (chords // size + shift) % 12 * size + chords % size)


class ClipRows:
    """Rows of one split of the clip table with the weight of each.

    Raises:
        BadData: there is none.
    """

    def __init__(self, store: Store, split: int, corpus_weight: Mapping[str, float]) -> None:
        self.rows = np.flatnonzero(store.song_split[store.clip_song] == split)
        if not len(self.rows):
            kind = "training" if split == TRAIN else "held-out"
            raise BadData(f"The packed data have no {kind} clip. Pack more songs: the hash of its name decides which one is held out.")
        self.weight = weights(store, self.rows, corpus_weight)

    def keep(self, which: np.ndarray) -> float:
        """Leave out all rows but ``which`` (bool, one per row); the others keep their weights. Returns the lost share of the weight."""
        before = self.weight.sum()
        self.rows, self.weight = self.rows[which], self.weight[which]
        return float(1 - self.weight.sum() / before) if before else 0.0

    def pick(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """(size,) places in ``rows``, drawn by weight."""
        picks = np.searchsorted(np.cumsum(self.weight), rng.random(size) * self.weight.sum())
        return np.minimum(picks, len(self.rows) - 1)


def weights(store: Store, rows: np.ndarray, corpus_weight: Mapping[str, float]) -> np.ndarray:
    """Equal share per role (riff half), lengths 4 : 8 : 16 as 25 : 60 : 15; inside those, a corpus of n clips counts
    its weight (default 1) times the root of n, so that piano pop does not drown strings, winds and voice."""
    role, bars = store.clip_role[rows], store.clip_bars[rows]
    names, corpus = np.unique(store.song_corpus, return_inverse=True)
    corpus = corpus.ravel()[store.clip_song[rows]]
    weight = np.zeros(len(rows))
    for index, name in enumerate(ROLES):
        for length, share in LENGTH_SHARES:
            here = (role == index) & (bars == length)
            number = np.bincount(corpus[here], minlength=len(names))
            mass = np.array([corpus_weight.get(str(n), 1.0) for n in names]) * np.sqrt(number)
            if mass.sum() > 0:
                each = mass / np.maximum(number, 1) / mass.sum()
                weight[here] = each[corpus[here]] * share * (RIFF_SHARE if name == "riff" else 1.0)
    return weight


class Batches(Generic[T]):
    """Endless batches of clips of like length, each of about ``tokens`` tokens with padding.

    A pool of clips is drawn at a time, sorted by length and cut. A run that goes on later draws its last pool anew,
    from the state that the generator had then.
    """

    def __init__(self, draw: Callable[[np.random.Generator, int], list[T]], tokens: int, pool: int = FIRST_POOL) -> None:
        self.draw, self.tokens, self.pool = draw, tokens, pool
        self.cuts: list[list[T]] = []
        self.taken = 0
        self.before: Mapping[str, Any] | None = None  # the generator when the pool was drawn
        self.drawn = pool  # clips of that pool

    def next(self, rng: np.random.Generator) -> list[T]:
        """One more batch."""
        if self.taken == len(self.cuts):
            self._fill(rng, self.pool)
        self.taken += 1
        return self.cuts[self.taken - 1]

    def _fill(self, rng: np.random.Generator, clips_drawn: int) -> None:
        self.before, self.taken, self.drawn = rng.bit_generator.state, 0, clips_drawn
        clips = sorted(self.draw(rng, clips_drawn), key=lambda clip: clip.length)
        cuts = cut(clips, self.tokens)
        self.cuts = [cuts[which] for which in rng.permutation(len(cuts))]

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs."""
        return {"before": self.before, "taken": self.taken, "drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was asked for; in batches of another size, as many of them into the pool as there are."""
        if state["before"] is not None:
            rng = np.random.default_rng()
            rng.bit_generator.state = state["before"]
            self._fill(rng, state.get("drawn", FIRST_POOL))
            self.taken = min(state["taken"], len(self.cuts))


def cut(clips: list[T], tokens: int) -> list[list[T]]:
    """Pieces of a list sorted by length, each of at most ``tokens`` tokens with padding, or of one clip."""
    cuts, start = [], 0
    for i in range(1, len(clips) + 1):
        if i == len(clips) or clips[i].length * (i + 1 - start) > tokens:
            cuts.append(clips[start:i])
            start = i
    return cuts
