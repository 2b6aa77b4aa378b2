"""What a run draws its clips from: data that cannot be trained on are refused, and batches may grow on the way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musediff.data import store as packed
from musediff.data.clips import clip_at
from musediff.engines.clip_rows import Batches
from musediff.engines.slots import vocab
from musediff.engines.slots.codec import chord_rows, encode_track, part_classes, shared_classes
from musediff.engines.slots.dataset import ClipSource
from musediff.engines.slots.tables import CLIP, NOTE, Tables
from musediff.errors import BadData
from train.recipes import RECIPES, muse_tiny
from train.registry import make_task


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.endswith("-tiny")])
def test_data_without_clips_of_one_kind_are_refused_before_the_first_step(data: Path, recipe: str) -> None:
    """Without held-out songs the first evaluation would be the end of the run."""
    store = packed.load(data)
    for split, kind in ((packed.TRAIN, "held-out"), (packed.VALID, "training")):
        one_kind = replace(store, song_split=np.full_like(store.song_split, split))
        with pytest.raises(BadData, match=f"no {kind} clip"):
            make_task(RECIPES[recipe](), one_kind, "cpu")


def test_data_of_too_long_clips_are_refused(data: Path) -> None:
    recipe = replace(muse_tiny(), network=replace(muse_tiny().network, seq_len=12))
    with pytest.raises(BadData, match="at most 12 tokens"):
        make_task(recipe, packed.load(data), "cpu")


def test_a_pool_that_is_cut_into_fewer_batches_is_gone_on_with(data: Path) -> None:
    """A run may go on with larger batches than it began with."""
    source, rng = ClipSource(packed.load(data), packed.TRAIN), np.random.default_rng(0)
    before = Batches(source.draw, tokens=400, pool=60)
    before.next(rng)
    for _ in before.cuts[1:]:
        before.next(rng)
    after = Batches(source.draw, tokens=4000, pool=60)
    after.restore(before.state())
    assert len(after.cuts) < len(before.cuts) and after.next(rng)


def test_the_notes_of_a_bar_beyond_what_a_network_counts_are_left_out(data: Path) -> None:
    """The lowest of those that begin together stay, and other tracks keep all."""
    store = packed.load(data)
    track = int(np.argmax(np.diff(store.note_offset)))
    its = slice(int(store.note_offset[track]), int(store.note_offset[track + 1]))
    onset = store.note_onset_ticks.copy()
    onset[its] = onset[its][0]
    before, crowded = Tables.of(store, "cpu"), Tables.of(replace(store, note_onset_ticks=onset), "cpu")
    first, number = crowded.clip_C13[:, CLIP.index("first_note")], crowded.clip_C13[:, CLIP.index("notes")]
    row = int(np.flatnonzero((store.clip_track == track) & (number.numpy() > 0))[0])
    assert int(number[row]) == vocab.COUNTS - 1 < its.stop - its.start
    kept = crowded.note_N5[int(first[row]) : int(first[row] + number[row]), NOTE.index("pitch")]
    assert kept.tolist() == np.sort(store.note_pitch[its])[: vocab.COUNTS - 1].tolist()
    others = torch.from_numpy(store.clip_track != track)
    assert torch.equal(number[others], before.clip_C13[others, CLIP.index("notes")])


def test_a_batch_holds_the_clips_of_the_store_with_all_that_is_asked_of_them(data: Path) -> None:
    """Several tracks and clips at once, against the clips that everything else reads."""
    store, rng = packed.load(data), np.random.default_rng(4)
    source = ClipSource(store, packed.TRAIN, tracks_share=0.7)
    drawn = source.draw(rng, 25)
    assert {len(ref.rows) for ref in drawn} >= {1, 2, 3}
    slots = source.batch(drawn, rng, augment=False)
    for b, ref in enumerate(drawn):
        clip = clip_at(store, list(ref.rows))
        bars, tracks = clip.num_measures, len(clip.tracks)
        assert slots.shared_BF[b].tolist() == shared_classes(clip).tolist()
        assert slots.chords_BRC[b, :bars].tolist() == chord_rows(clip).tolist()
        assert slots.parts_BKF[b, :tracks].tolist() == [part_classes(track).tolist() for track in clip.tracks]
        encoded = [encode_track(track, bars, clip.bar_ticks) for track in clip.tracks]
        for k, track in enumerate(encoded):
            here = (slots.track_BN[b] == k) & ~slots.pad_BN[b]
            bar, values = slots.bar_BN[b, here].numpy(), slots.values_BNF[b, here].numpy()
            assert bar.tolist() == track.bar.tolist()
            same = values == track.values
            assert same[:, [vocab.POSITION, vocab.PITCH, vocab.VELOCITY]].all()
            end = bar * clip.bar_ticks + values[:, vocab.POSITION] * vocab.POSITION_TICKS + vocab.DURATION_TICKS[values[:, vocab.DURATION]]
            assert (same[:, vocab.DURATION] | (end > clip.end_ticks)).all()  # a clip ends its notes, a network learns how long they were
        assert int((~slots.pad_BN[b]).sum()) == ref.notes == sum(len(track.bar) for track in encoded)
        assert slots.pad_BR[b].tolist() == [False] * bars + [True] * (slots.pad_BR.shape[1] - bars)


def test_a_pool_of_another_size_is_gone_on_with_as_it_was_drawn(data: Path) -> None:
    source, rng = ClipSource(packed.load(data), packed.TRAIN), np.random.default_rng(0)
    before = Batches(source.draw, tokens=400, pool=60)
    before.next(rng)
    after = Batches(source.draw, tokens=400, pool=90)
    after.restore(before.state())
    assert after.state() == before.state() and after.cuts == before.cuts
