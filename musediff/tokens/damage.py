"""Damage for training and evaluation: a clean note part or clip -> a damaged one, for the engine to mend.

Four ways by name, as in the original, but on notes instead of the condition, and bars are swapped whole: ``mt`` hides single
tokens, ``mn`` whole notes, ``rn`` gives notes a random velocity, pitch and duration, ``rr`` exchanges bars. A hidden token
is ``PAD``. The original's own four are in ``original_damage``.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from musediff.clip import Clip
from musediff.errors import BadRequest
from musediff.tokens import commu, vocab

Settings = Mapping[str, float]
# (L,) ids, (L,) noised, generator, settings -> (L,) new ids. Where ``noised`` is False nothing may change.
Apply = Callable[[np.ndarray, np.ndarray, np.random.Generator, Settings], np.ndarray]


@dataclass(frozen=True, slots=True)
class Corruption:
    """One way to damage, with its settings and their defaults. A setting ``p`` is a probability; none is below 0."""

    apply: Apply
    defaults: Settings = field(default_factory=dict)


def _mask_tokens(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, settings: Settings) -> np.ndarray:
    of_notes = np.isin(vocab.KIND[ids], vocab.NOTE)
    return np.where(noised & of_notes & (rng.random(len(ids)) < settings["p"]), vocab.PAD, ids)


def _mask_notes(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, settings: Settings) -> np.ndarray:
    result = ids.copy()
    result[_chosen(ids, noised, rng, settings["p"])[:, None] + np.arange(4)] = vocab.PAD
    return result


def _randomise_notes(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, settings: Settings) -> np.ndarray:
    result, at = ids.copy(), _chosen(ids, noised, rng, settings["p"])
    for offset, first, size in ((1, vocab.VELOCITY, len(vocab.VELOCITY_BINS)), (2, vocab.PITCH, 128), (3, vocab.DURATION, vocab.GRID)):
        result[at + offset] = first + rng.integers(size, size=len(at))
    return result


def _chosen(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, p: float) -> np.ndarray:
    """Places of the positions of wholly noised notes, each with probability ``p``. What is already damaged is no note any more."""
    kinds = vocab.KIND[ids]
    whole = np.ones(max(len(ids) - 3, 0), bool)
    for offset, kind in enumerate(vocab.NOTE):
        here = slice(offset, offset + len(whole))
        whole &= noised[here] & (kinds[here] == kind)
    at = np.flatnonzero(whole)
    return at[rng.random(len(at)) < p]


def _swap_bars(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, settings: Settings) -> np.ndarray:
    """``count`` times two different bars; a piece of one bar stays as it is. The last bar ends at the end, or where something is given.

    Where the bars' own tokens are given, notes change places between bars that have as many.
    """
    starts = np.flatnonzero(noised & (ids == vocab.BAR))
    if not len(starts):
        return _swap_notes(ids, noised, rng, int(settings["count"]))
    ends = np.flatnonzero(~noised[starts[0] :] | (ids[starts[0] :] == vocab.EOS))
    end = int(starts[0] + ends[0]) if len(ends) else len(ids)
    starts = starts[starts < end]
    if len(starts) < 2:
        return ids.copy()
    bars = np.split(ids[starts[0] : end], starts[1:] - starts[0])
    for _ in range(int(settings["count"])):
        a, b = rng.choice(len(bars), 2, replace=False)
        bars[a], bars[b] = bars[b], bars[a]
    return np.concatenate((ids[: starts[0]], *bars, ids[end:]))


def _swap_notes(ids: np.ndarray, noised: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """``count`` times the notes of two bars of one length that are wholly noised."""
    result = ids.copy()
    starts = np.flatnonzero(ids == vocab.BAR) + 1
    ends = np.append(np.flatnonzero((ids == vocab.BAR) | (ids == vocab.EOS)), len(ids))
    bars = [slice(start, int(ends[ends >= start][0])) for start in starts.tolist()]
    open_bars = [bar for bar in bars if bar.stop > bar.start and noised[bar].all()]
    pairs = [(a, b) for a, b in combinations(open_bars, 2) if a.stop - a.start == b.stop - b.start]
    for _ in range(count if pairs else 0):
        a, b = pairs[rng.integers(len(pairs))]
        result[a], result[b] = result[b].copy(), result[a].copy()
    return result


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "mt": Corruption(_mask_tokens, MappingProxyType({"p": 0.3})),
        "mn": Corruption(_mask_notes, MappingProxyType({"p": 0.5})),
        "rn": Corruption(_randomise_notes, MappingProxyType({"p": 0.5})),
        "rr": Corruption(_swap_bars, MappingProxyType({"count": 3})),
    }
)


NO_SETTINGS: Mapping[str, Settings] = MappingProxyType({})


def check(
    available: Sequence[str] = tuple(CORRUPTIONS),
    most: int = 4,
    p: float = 0.5,
    settings: Mapping[str, Settings] = NO_SETTINGS,
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
) -> None:
    """What :func:`damage` would refuse, before any work.

    Raises:
        BadRequest: an unknown name of a corruption or a setting, or a number out of range.
    """
    for name in (*available, *settings):
        if name not in corruptions:
            raise BadRequest(f"Corruption {name!r} is not known. Choose from {', '.join(corruptions)}.")
    if most < 0:
        raise BadRequest(f"The number of corruptions is {most}: give 0 or more.")
    _check_share("The probability of a corruption", p)
    for name, own in settings.items():
        defaults = corruptions[name].defaults
        for key, value in own.items():
            if key not in defaults:
                raise BadRequest(f"Corruption {name} has no setting {key!r}. It has {', '.join(defaults) or 'none'}.")
            if key == "p":
                _check_share(f"{name}: p", value)
            elif value < 0:
                raise BadRequest(f"{name}: {key} is {value}: give 0 or more.")


def _check_share(what: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadRequest(f"{what} is {value}: give a number from 0 to 1.")


def damage(
    ids: np.ndarray,
    noised: np.ndarray,
    rng: np.random.Generator,
    available: Sequence[str] = tuple(CORRUPTIONS),
    most: int = 4,
    p: float = 0.5,
    settings: Mapping[str, Settings] = NO_SETTINGS,
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
) -> np.ndarray:
    """(L,) damaged copy of tokens: up to ``most`` of the ``available`` in random order, each done with probability ``p``.

    Only where ``noised`` (L,) is True anything changes. Bars and end keep their number; ``rr`` moves bars. ``settings``: by
    name, what differs from the defaults. Own corruptions come in as ``corruptions={**CORRUPTIONS, name: Corruption(...)}``.

    Raises:
        BadRequest: as :func:`check` does.
    """
    check(available, most, p, settings, corruptions)
    result = ids.copy()
    for index in rng.permutation(len(available))[:most]:
        name = available[index]
        if rng.random() < p:
            way = corruptions[name]
            result = way.apply(result, noised, rng, {**way.defaults, **settings.get(name, {})})
    assert result.shape == ids.shape and np.array_equal(result[~noised], ids[~noised])
    return result


def damage_clip(
    clip: Clip,
    rng: np.random.Generator,
    track: int = 0,
    way: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray] = damage,
) -> Clip:
    """The clip with one track damaged by ``way``, :func:`damage` with any settings bound to it.

    A note that has lost a token is gone; one that was spared keeps its exact ticks, in another bar too.
    """
    part = clip.tracks[track]
    whole = commu.note_part(np.array(part.notes, np.int64).reshape(-1, 4), clip.num_measures, clip.bar_ticks)
    after = commu.notes_of(way(whole.ids, whole.noised, rng)).rows
    order = whole.source[whole.source >= 0][::4]
    moved = _moved(commu.notes_of(whole.ids).rows, after)
    notes = []
    for row, before in zip(after, moved, strict=True):
        note = commu.to_notes(row[None], clip)[0]
        if before is not None:
            spared = part.notes[order[before.index]]
            onset = spared.onset_ticks + (int(row[0]) - before.bar) * clip.bar_ticks
            note = spared._replace(onset_ticks=onset, duration_ticks=min(spared.duration_ticks, clip.end_ticks - onset))
        notes.append(note)
    tracks = (*clip.tracks[:track], replace(part, notes=tuple(sorted(notes))), *clip.tracks[track + 1 :])
    return replace(clip, tracks=tracks)


class _Spared(NamedTuple):
    index: int  # row before the damage
    bar: int


def _moved(before: np.ndarray, after: np.ndarray) -> list[_Spared | None]:
    """For every row after the damage the one that it was: the same in the same bar, else the same in another one."""
    waiting: dict[tuple[int, ...], list[_Spared]] = defaultdict(list)
    for index, (bar, *values) in enumerate(before.tolist()):
        waiting[tuple(values)].append(_Spared(index, bar))
    found: list[_Spared | None] = [None] * len(after)
    for in_place in (True, False):
        for place, (bar, *values) in enumerate(after.tolist()):
            fits = [one for one in waiting[tuple(values)] if not in_place or one.bar == bar]
            if found[place] is None and fits:
                found[place] = fits[0]
                waiting[tuple(values)].remove(fits[0])
    return found
