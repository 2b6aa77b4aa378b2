"""Which clips of the packed data to look at: rows of one split in a random order, one of each song before the second of any."""

from collections.abc import Sequence

import numpy as np

from musediff.data.store import TRAIN, VALID, Store

# As in the original, test and validation are the same songs.
SPLITS = {"train": TRAIN, "valid": VALID, "test": VALID}


def choose(
    store: Store,
    split: int,
    rng: np.random.Generator,
    roles: Sequence[int] = (),
    bars: int | None = None,
    corpora: Sequence[str] = (),
    without: Sequence[str] = (),
) -> np.ndarray:
    """(n,) rows of the clip table. No roles, bars or corpora: any; ``without`` names corpora to leave out."""
    song_ok = (store.song_split == split) & ~np.isin(store.song_corpus, without)
    if corpora:
        song_ok &= np.isin(store.song_corpus, corpora)
    ok = song_ok[store.clip_song]
    if roles:
        ok &= np.isin(store.clip_role, roles)
    if bars is not None:
        ok &= store.clip_bars == bars
    rows = rng.permutation(np.flatnonzero(ok))
    _, first = np.unique(store.clip_song[rows], return_index=True)
    one_each = np.zeros(len(rows), bool)
    one_each[first] = True
    return np.concatenate((rows[one_each], rows[~one_each]))
