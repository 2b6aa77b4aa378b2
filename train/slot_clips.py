"""What training the engines over note slots shares: clips drawn by weight, their place in the data, more padding."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch.nn.functional as F

from musediff.data.store import TRAIN, VALID, Store
from musediff.engines.clip_rows import FIRST_POOL, Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.dataset import ClipSource
from musediff.engines.slots.tables import Tables
from train.compiled import compiling
from train.recipes import ArRecipe, SlotsRecipe

TOKENS_A_CLIP = 10  # a tenth of what clips have on average: a pool is cut into about ten batches
HELD_OUT_BATCHES, HELD_OUT_CLIPS = 6, 64


class SlotClips:
    """The data's side of a ``tasks.Task``. Nothing is learned beside the weights."""

    def __init__(self, recipe: SlotsRecipe | ArRecipe, store: Store, device: str) -> None:
        self.device = device
        tables = Tables.of(store, device)
        source = lambda split: ClipSource(store, split, recipe.corpus_weight, recipe.tracks_share, tables)  # noqa: E731
        self.source, self.held_out = source(TRAIN), source(VALID)
        self.batches = Batches(self.source.draw, recipe.tokens, pool=max(FIRST_POOL, recipe.tokens // TOKENS_A_CLIP))
        self.padded = compiling(recipe.compile, device)
        self.fingerprint = vocab.fingerprint()
        self.about: Mapping[str, Any] = {}

    def describe(self) -> str:
        return f"{len(self.source.rows)} clips, {len(self.held_out.rows)} held out"

    def drawn(self, rng: np.random.Generator) -> Slots:
        """The next batch to learn from."""
        return self.source.batch(self.batches.next(rng), rng, augment=True)

    def held_out_batches(self) -> Iterator[Slots]:
        """The same every time."""
        rng = np.random.default_rng(0)
        for _ in range(HELD_OUT_BATCHES):
            yield self.held_out.batch(self.held_out.draw(rng, HELD_OUT_CLIPS), rng, augment=False)

    def learn(self, told: np.ndarray) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        assert not state

    def place(self) -> dict[str, Any]:
        return {"batches": self.batches.state()}

    def go_to(self, place: Mapping[str, Any]) -> None:
        self.batches.restore(place["batches"])


def with_more(slots: Slots, notes: int, bars: int = 0) -> Slots:
    """The same with so many more padded notes and bars."""
    return replace(
        slots.of_notes(lambda x: F.pad(x, (*[0, 0] * (x.ndim - 2), 0, notes))),
        chords_BRC=F.pad(slots.chords_BRC, (0, 0, 0, bars)),
        counts_BRK=F.pad(slots.counts_BRK, (0, 0, 0, bars)),
        pad_BN=F.pad(slots.pad_BN, (0, notes), value=True),
        pad_BR=F.pad(slots.pad_BR, (0, bars), value=True),
    )
