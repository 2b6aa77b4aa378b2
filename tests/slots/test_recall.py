"""What followed where a line was last alike, against a search note by note."""

from dataclasses import replace
from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musediff.clip import Clip, Note, Track
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import BAR_POSITIONS, METER, Slots
from musediff.engines.slots.line import following, starts
from musediff.engines.slots.recall import LONGEST, REPETITION, WAYS, recall, repetition
from tests.ar.conftest import line_of
from tests.slots.test_critic import line_of as line_of_clips


def searched(line: Slots, row: int) -> list[list[tuple[int, tuple[int, ...] | None]]]:
    """Of each token and way: the length of the match and the values that would follow."""
    length = BAR_POSITIONS[int(line.shared_BF[row, METER])]
    real = int((~line.pad_BN[row]).sum())
    start, bar, values = starts(line)[row].tolist(), line.bar_BN[row].tolist(), line.values_BNF[row].tolist()
    when = [b * length + v[0] for b, v in zip(bar, values, strict=True)]
    wait = [0] + [max(0, b - a) for a, b in pairwise(when)]
    step = [0] + [b[1] - a[1] for a, b in pairwise(values)]
    kinds = [
        [None if s else (track, *key) for s, track, key in zip(start, line.track_BN[row].tolist(), keys, strict=True)]
        for keys in (
            [(v[0], v[1]) for v in values],
            list(zip(wait, step, strict=True)),
            [(w, v[2]) for w, v in zip(wait, values, strict=True)],
        )
    ]
    found = []
    for i in range(real):
        ways: list[tuple[int, tuple[int, ...] | None]] = []
        for kind in kinds:
            best, where = 0, -1
            for j in range(i):
                n = 0
                while n < LONGEST and j - n >= 0 and kind[i - n] is not None and kind[i - n] == kind[j - n]:
                    n += 1
                if n and n >= best:
                    best, where = n, j
            told = None
            if best and not start[where + 1]:
                after = values[where + 1]
                told = ((when[i] + when[where + 1] - when[where]) % length, values[i][1] + after[1] - values[where][1], after[2], after[3])
            ways.append((best, told))
        found.append(ways)
    return found


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), tracks=st.integers(1, 3), bars=st.integers(1, 4), few=st.sampled_from((2, 3, 128)))
def test_the_longest_match_and_the_latest_of_these(seed: int, tracks: int, bars: int, few: int) -> None:
    line = line_of(seed, tracks=tracks, variants=2, bars=bars)
    note = ~starts(line)[..., None]
    line = replace(line, values_BNF=torch.where(note, torch.minimum(line.values_BNF, line.values_BNF % few), line.values_BNF))
    told = recall(line)
    for row in range(2):
        for token, ways in enumerate(searched(line, row)):
            for way, (length, values) in enumerate(ways):
                assert told.length_BMG[row, token, way] == length, (row, token, way)
                assert told.values_BMGF[row, token, way].tolist() == list(values or (-1,) * 4), (row, token, way)


def figure(shift: int, bar: int) -> list[Note]:
    return [Note(bar * 1920 + 480 * i, 60 + shift + step, 120 * (i + 1), 82) for i, step in enumerate((0, 4, 7, 5))]


def test_a_figure_that_comes_again_is_recalled_exactly_moved_or_by_its_rhythm_alone() -> None:
    def told(second: list[Note]) -> list[list[float]]:
        line = line_of_clips([Clip(2, (Track((*figure(0, 0), *second)),))])
        of = following(line)
        rows = repetition(line, of.note_BM, of.before_BM)
        assert rows.shape == (8, REPETITION)
        return rows[-1, 3 * WAYS :].view(WAYS, len(vocab.FIELDS)).tolist()  # the last note: which way tells which field

    everything = [1.0] * 4
    assert told(figure(0, 1)) == [everything, everything, everything]
    exactly, moved, rhythm = told(figure(2, 1))
    assert exactly == [0.0] * 4 and moved == rhythm == everything
    other = [note._replace(pitch=50 + 2 * i * i) for i, note in enumerate(figure(0, 1))]
    exactly, moved, rhythm = told(other)
    assert exactly == moved == [0.0] * 4 and rhythm == [1.0, 0.0, 1.0, 1.0]
