"""The original's four corruptions, faults and all, with the standard library's generator (``compat="original"``).

``mt`` meets the chords of the condition and never a note; ``rr`` cuts at where the bars were before its first swap.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from musediff.errors import BadRequest
from musediff.tokens import vocab
from musediff.tokens.vocab import Kind

_FIRST_MASKED = vocab.META_TOKENS + 1  # the position of the first chord is passed over


def mask_tokens(ids: Sequence[int], rng: random.Random, p: float = 0.3) -> list[int]:
    """``mt``: tokens up to the separator become 0."""
    end = ids.index(vocab.EOS)
    return [vocab.PAD if _FIRST_MASKED <= place < end and rng.random() < p else token for place, token in enumerate(ids)]


def mask_notes(ids: Sequence[int], rng: random.Random, p: float = 0.5) -> list[int]:
    """``mn``: the four tokens of a note become 0."""
    result = list(ids)
    for place in _velocities(ids):
        if rng.random() < p:
            result[place - 1 : place + 3] = [vocab.PAD] * 4
    return result


def randomise_notes(ids: Sequence[int], rng: random.Random, p: float = 0.5) -> list[int]:
    """``rn``: velocity, pitch and duration become random, the position stays."""
    result = list(ids)
    for place in _velocities(ids):
        if rng.random() < p:
            velocity = rng.randint(vocab.VELOCITY, vocab.CHORD - 1)
            pitch = rng.randint(vocab.PITCH, vocab.VELOCITY - 1)
            result[place : place + 3] = [velocity, pitch, rng.randint(vocab.DURATION, vocab.POSITION - 1)]
    return result


def _velocities(ids: Sequence[int]) -> list[int]:
    return [place for place, token in enumerate(ids) if vocab.KIND[token] == Kind.VELOCITY]


def swap_bars(ids: Sequence[int], rng: random.Random, count: int = 3) -> list[int]:
    """``rr``: two random bars change places, ``count`` times. The last token stays.

    Raises:
        BadRequest: there are not two bars (the original fails too).
    """
    starts = [place for place, token in enumerate(ids) if token == vocab.BAR]
    if len(starts) < 2:
        raise BadRequest("rr needs two bars to swap. Leave it out for pieces of one bar.")
    ends = [*starts[1:], len(ids) - 1]
    result = list(ids)
    for _ in range(count):
        a, b = sorted(rng.sample(range(len(starts)), 2))
        parts = (result[starts[b] : ends[b]], result[ends[a] : starts[b]], result[starts[a] : ends[a]])
        result[starts[a] : ends[b]] = [token for part in parts for token in part]
    return result


ORIGINAL: Mapping[str, Callable[[Sequence[int], random.Random], list[int]]] = MappingProxyType(
    {"mt": mask_tokens, "mn": mask_notes, "rn": randomise_notes, "rr": swap_bars}
)


def damage(
    ids: Sequence[int], rng: random.Random, available: Sequence[str] = ("mt", "mn", "rn", "rr"), most: int = 4, p: float = 0.5
) -> list[int]:
    """The first ``most`` of the shuffled names, each done with probability ``p``. Settings of a corruption never reach it."""
    names = list(available)
    rng.shuffle(names)
    result = list(ids)
    for name in names[:most]:
        if rng.random() > 1 - p:
            result = ORIGINAL[name](result, rng)
    return result
