"""Log-probabilities of a note part -> the likeliest legal one: exactly so many tokens, exactly so many bars.

A legal note part is bars and notes in a row, a bar first, then EOS, then padding. With its length and its number of bars
its number of notes is decided too, so it is a path through a grid of bars x notes, and the best path is found by dynamic
programming (Viterbi) over that grid: a step in one direction is a BAR token, one in the other the four tokens of a note.
Where a token stands is what decides which kinds may stand there, so the choice inside a kind is free of the path.
"""

import numpy as np

from musediff.tokens.vocab import EOS, KIND, NOTE, PAD, SIZE, Kind

FREE = -1  # a token that is not fixed
NOTE_TOKENS = len(NOTE)
_IMPOSSIBLE = -1e9


def note_part_length(bars: int, notes: int) -> int:
    """Tokens of a note part, EOS included."""
    return bars + NOTE_TOKENS * notes + 1


def constrain(score_LV: np.ndarray, fixed_L: np.ndarray, bars: int, length: int) -> np.ndarray:
    """The legal note part whose kinds of tokens are likeliest together, each place with its likeliest token of that kind.

    Args:
        score_LV: log-probability of every token at every place, -inf forbids one. V is the vocabulary's size, ours or the original's.
        fixed_L: the token that a place must have, or ``FREE``. There has to be a legal note part with these.
        bars: how many bars it has, 1 or more.
        length: how many tokens it has with EOS; the places behind become PAD. ``length - bars - 1`` is a multiple of four.

    Returns:
        tokens (L,)
    """
    notes, rest = divmod(length - bars - 1, NOTE_TOKENS)
    assert bars >= 1 and notes >= 0 and rest == 0 and length <= len(score_LV), (bars, length, len(score_LV))
    best, kind_score = _per_kind(score_LV[: length - 1], fixed_L[: length - 1])
    path = _best_path(kind_score, bars, notes)
    tokens = np.full(len(score_LV), PAD, np.int64)
    tokens[: length - 1] = best[path, np.arange(length - 1)]
    tokens[length - 1] = EOS
    wrong = (fixed_L != FREE) & (fixed_L != tokens)
    assert not wrong.any(), f"no legal note part has these fixed tokens, first at place {int(wrong.argmax())}"
    return tokens


def _per_kind(score_LV: np.ndarray, fixed_L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, L) best token of each kind at each place, and (K, L) log-probability of the kind there: all its tokens together."""
    kind_V = KIND[: score_LV.shape[1]]
    assert score_LV.shape[1] <= SIZE
    best = np.zeros((len(Kind), len(score_LV)), np.int64)
    total = np.full(best.shape, _IMPOSSIBLE)
    for kind in (Kind.BAR, *NOTE):
        ids = np.flatnonzero(kind_V == kind)
        part = np.maximum(score_LV[:, ids].astype(np.float64), _IMPOSSIBLE)
        best[kind] = ids[part.argmax(1)]
        top = part.max(1)
        total[kind] = top + np.log(np.exp(part - top[:, None]).sum(1))
    given = np.flatnonzero(fixed_L != FREE)
    best[KIND[fixed_L[given]], given] = fixed_L[given]
    total[:, given] = _IMPOSSIBLE
    total[KIND[fixed_L[given]], given] = 0.0
    return best, total


def _best_path(kind_score: np.ndarray, bars: int, notes: int) -> np.ndarray:
    """(L,) kind at every place of the best path from (0 bars, 0 notes) to (bars, notes).

    reach[n, r]: best score of a path to n notes and r bars, which is r + 4 n tokens long. Row n follows from row n - 1
    by one note, then any number of bars: max over s <= r of from_note[s] + bar scores between s and r, a running maximum.
    """
    row = np.arange(bars + 1)
    came_by_note = np.zeros((notes + 1, bars + 1), bool)
    reach = np.zeros(bars + 1)
    padded = np.concatenate((kind_score, np.full((len(kind_score), NOTE_TOKENS), _IMPOSSIBLE)), 1)
    note_score = np.sum([padded[kind, i : i + kind_score.shape[1] + 1] for i, kind in enumerate(NOTE)], 0)
    for n in range(notes + 1):
        bar_sum = np.concatenate(([0.0], np.cumsum(padded[Kind.BAR, NOTE_TOKENS * n : NOTE_TOKENS * n + bars])))
        if n == 0:
            from_note = np.where(row == 0, 0.0, -np.inf)
        else:
            from_note = np.where(row == 0, -np.inf, reach + note_score[row + NOTE_TOKENS * (n - 1)])  # a bar comes first
        excess = from_note - bar_sum
        running = np.maximum.accumulate(excess)
        came_by_note[n] = excess >= running
        reach = running + bar_sum
    kinds: list[Kind] = []
    r, n = bars, notes
    while r or n:
        if n and came_by_note[n, r]:
            kinds.extend(reversed(NOTE))
            n -= 1
        else:
            kinds.append(Kind.BAR)
            r -= 1
    return np.array(kinds[::-1])
