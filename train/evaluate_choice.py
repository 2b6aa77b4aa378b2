"""Packed data -> which clips stand for the held-out songs of a role, and which real clips of other songs stand beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from musediff.clip import ROLES, Clip
from musediff.data import store as packed
from musediff.data.choose import choose
from musediff.data.clips import clip_at

BARS = 8
FIRST_SEED = 7  # of the choice of clips


@dataclass(frozen=True, slots=True)
class Real:
    """Real clips; ``songs`` and ``corpora`` of each, the latter by name. One clip of each song comes before the second of any."""

    clips: list[Clip]
    songs: np.ndarray  # (n,) int
    corpora: np.ndarray  # (n,) str


@dataclass(frozen=True, slots=True)
class Sample:
    """``asked``: held-out clips, from whose metadata clips are made. ``others``: of training songs, in the same mix of corpora."""

    asked: Real
    others: Real


def sample(store: packed.Store, role: str, clips: int, corpora: Sequence[str], seed: int) -> Sample:
    """Other clips of the same songs for every seed, and other songs beside them."""
    rng = np.random.default_rng(FIRST_SEED + seed)
    asked = pick(store, packed.VALID, role, corpora, rng)[:clips]
    others = same_mix(store, asked, pick(store, packed.TRAIN, role, corpora, rng))
    return Sample(_real(store, asked), _real(store, others))


def pick(store: packed.Store, split: int, role: str, corpora: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Rows of 8-bar clips of a role, one of each song first; without drums unless they are asked for."""
    return choose(store, split, rng, (ROLES.index(role),), BARS, corpora, () if corpora else ("groove",))


def songs_of(store: packed.Store, rows: np.ndarray) -> int:
    return len(np.unique(store.clip_song[rows]))


def same_mix(store: packed.Store, like: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of each corpus as many of the rows as ``like`` has; fewer where there are not so many."""
    wanted, there = (store.song_corpus[store.clip_song[r]] for r in (like, rows))
    return rows[alike(wanted, there)]


def alike(wanted: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Of each corpus in ``there`` the first places, as many as it has in ``wanted``."""
    places = [np.flatnonzero(there == name)[: int((wanted == name).sum())] for name in np.unique(wanted)]
    return np.concatenate([np.zeros(0, np.int64), *places])


def _real(store: packed.Store, rows: np.ndarray) -> Real:
    songs = store.clip_song[rows]
    return Real([clip_at(store, [int(row)]) for row in rows], songs, store.song_corpus[songs])
