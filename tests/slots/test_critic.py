"""Several drafts of a new track are written, and one is drawn by how real the critic thinks them."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musediff import checkpoint
from musediff.chords import chord_id
from musediff.clip import Clip, Meta, Note, Track
from musediff.data import store as packed
from musediff.engines.slots import composing, habits, layout, vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.critic import HARMONY, SHARPNESS, Critic, drawn, traits
from musediff.engines.slots.engine import DRAFTS, SlotsEngine
from musediff.engines.slots.line import in_line, notes_of
from musediff.engines.slots.line_losses import PARTS, line_losses
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.errors import BadRequest
from musediff.pipeline import MusePipeline, Sampling
from musediff.priors import Priors
from tests.ar.conftest import cut
from tests.command import run
from tests.slots.conftest import make_clip
from tests.test_engines import assert_legal
from train import critic as training
from train.recipes import slots_tiny
from train.slots_task import SlotsTask
from train.train import weights_for

META = Meta(num_measures=4, chord_progression=None)


def network(seed: int = 0, **more: int) -> SlotsNetwork:
    """With a critic unless it is said otherwise."""
    torch.manual_seed(seed)
    return SlotsNetwork(replace(NetworkConfig.tiny(), **{"critic": 8, **more})).eval().requires_grad_(False)


def pipeline(of: SlotsNetwork) -> MusePipeline:
    return MusePipeline(SlotsEngine(of), "slots", Priors())


def line_of(clips: list[Clip]) -> Slots:
    """One row each; all are as long as the longest."""
    closed = np.zeros((clips[0].num_measures, len(clips[0].tracks)), bool)
    rows = [layout.start_row(layout.encode_clip(clip), closed, np.zeros(len(vocab.FIELDS), bool)) for clip in clips]
    return in_line(layout.batch(rows, clips[0])[0])


def alone(line: Slots, row: int) -> Slots:
    """One row without its padding."""
    one = Slots(**{name: getattr(line, name)[row : row + 1] for name in Slots.__dataclass_fields__})
    return cut(one, 0, int((~one.pad_BN).sum()))


def plain(clip: Clip) -> Clip:
    """Labels as those of all clips of a batch."""
    return replace(clip, key=None, chords=None)


# --- traits


def test_traits_are_of_each_clip_alone_whatever_its_length() -> None:
    net, clips = network(), [plain(make_clip(seed, bars=3, per_bar=notes)) for seed, notes in ((1, 3), (2, 8), (3, 1))]
    together = traits(net, line_of(clips), 0)
    for row, clip in zip(together, clips, strict=True):
        torch.testing.assert_close(row, traits(net, line_of([clip]), 0)[0], rtol=1e-3, atol=1e-4)


def test_traits_are_moments_of_what_is_known_and_of_the_nats() -> None:
    net, clip = network(), plain(make_clip(4, bars=2, per_bar=6))
    line = line_of([clip])
    read, told, width, notes = net.read_line(line), traits(net, line, 0)[0], net.config.width, len(clip.tracks[0].notes)
    known = read.line_BMD[0, 1 : notes + 1]
    torch.testing.assert_close(told[:width], known.mean(0), rtol=1e-4, atol=1e-5)
    mean, deviation, most = told[width : width + 3 * len(PARTS)].view(3, len(PARTS))
    whole = line_losses(net, line) / notes
    torch.testing.assert_close(mean[1:], whole[1:], rtol=1e-4, atol=1e-5)
    assert told[width + 3 * len(PARTS)] == notes / 2, "a bar"
    assert (most >= mean).all() and (deviation > 0).all() and mean[0] < whole[0], "that the track is over is no part of a note"


def test_given_tracks_are_no_part_of_it() -> None:
    net, both = network(), plain(make_clip(5, bars=2, tracks=2))
    line = line_of([both])
    everything, second = traits(net, line, 0), traits(net, line, 1)
    one = line.track_BN[0] == 1
    known = net.read_line(line).line_BMD[0][one][1:]  # without the start
    torch.testing.assert_close(second[0, : net.config.width], known.mean(0), rtol=1e-4, atol=1e-5)
    assert not torch.equal(everything, second)


def test_traits_tell_of_notes_on_quarters_and_chord_tones_and_end_with_habits() -> None:
    chords = (chord_id("C"),) * 8 + (chord_id("Am"),) * 8
    of = [(0, 60), (480, 64), (720, 61), (1920, 57), (2400, 60), (2640, 67)]  # C E C# | A C G: of four on quarters all fit, of two none
    clip = Clip(2, (Track(tuple(Note(onset, pitch, 240, 82) for onset, pitch in of)),), chords=chords)
    line, behind = line_of([clip]), 2 * habits.OF_NOTES + habits.OF_TRACKS
    told = traits(network(), line, 0)[0]
    torch.testing.assert_close(told[-behind - HARMONY : -behind], torch.tensor([4, 4, 4]) / 6)
    unknown = traits(network(), line_of([replace(clip, chords=None)]), 0)[0]
    torch.testing.assert_close(unknown[-behind - HARMONY : -behind], torch.tensor([4, 0, 0]) / 6)
    alone = habits.of_notes(line)[0, 1:]
    expected = torch.cat((alone.mean(0), alone.std(0, correction=0), habits.of_tracks(line, notes_of(line))[0]))
    torch.testing.assert_close(told[-behind:], expected, rtol=1e-4, atol=1e-4)


# --- drafts


def test_the_draft_is_drawn_from_all_each_judged_as_if_it_were_alone() -> None:
    net = network()
    assert net.critic is not None
    net.critic.deviation_T.fill_(1e-3)
    net.critic.layers[-1].weight.mul_(100)  # so that it is always the best
    for guidance in (1.0, 1.7):
        sampling = Sampling(seed=3, variants=2, drafts=3, guidance=guidance)
        job = pipeline(net).start_generate(META, sampling)
        state = composing.begin(job._request, torch.Generator().manual_seed(3), 3, torch.device("cpu"))
        for _ in composing.write(net, state, net.critic):
            pass
        assert state.composer is not None
        line = state.composer.all_lines
        scores = [float(net.critic(traits(net, alone(line, row), 0))) for row in range(6)]
        assert len(set(scores)) == 6
        notes = (~line.pad_BN & (line.values_BNF[..., 0] < vocab.SIZES[0])).sum(1).tolist()
        for rows, one in zip(((0, 1, 2), (3, 4, 5)), state.chosen, strict=True):
            usual = sorted(notes[row] for row in rows)[1]
            assert one == max((row for row in rows if usual / 2 <= notes[row] <= usual * 2), key=scores.__getitem__)
        made = pipeline(net).generate(META, sampling)
        assert made.clips == tuple(composing.clips(state)) and '"drafts": 3' in made.settings


def test_eight_drafts_are_usual_and_one_is_what_a_network_without_a_critic_writes() -> None:
    net, without = network(1), network(1, critic=0)
    without.load_state_dict({name: tensor for name, tensor in net.state_dict().items() if name in without.state_dict()})
    made, other = pipeline(net), pipeline(without)
    sampling = Sampling(seed=5, variants=2)
    assert made.generate(META, replace(sampling, drafts=1)).clips == other.generate(META, sampling).clips
    assert made.generate(META, sampling).clips == made.generate(META, replace(sampling, drafts=DRAFTS)).clips
    assert made.generate(META, sampling).clips != other.generate(META, sampling).clips
    for clip in made.generate(META, sampling).clips:
        assert_legal(clip)


def test_a_job_that_is_stopped_shows_the_first_draft() -> None:
    """Of a bar that is done in all drafts."""
    job = pipeline(network()).start_generate(META, Sampling(seed=0))
    for _ in zip(range(1), job, strict=False):
        pass
    (clip,) = job.result().clips
    assert_legal(clip)
    first, second, *_ = composing.clips(replace(job._state, chosen=list(range(DRAFTS))))
    assert clip == first != second and not job.result().complete


def test_drafts_that_are_done_stay_as_they_are_while_others_are_written() -> None:
    net, seen = network(), dict[int, Clip]()
    job = pipeline(net).start_generate(META, Sampling(seed=3, variants=2, drafts=6))
    state = composing.begin(job._request, torch.Generator().manual_seed(3), 6, torch.device("cpu"))
    for _ in composing.write(net, state, net.critic):
        assert state.composer is not None
        for rows, _ in state.composer.aside:
            for row in rows.tolist():
                (clip,) = composing.clips(replace(state, chosen=[row]))
                assert clip == seen.setdefault(row, clip)
    last = composing.clips(replace(state, chosen=list(range(12))))
    assert len(seen) > 3 and all(last[row] == clip for row, clip in seen.items()) and len({*map(str, last)}) == 12


def test_a_track_for_given_ones_has_drafts_too() -> None:
    given = make_clip(3, bars=4)
    made = pipeline(network()).generate(META, Sampling(seed=2), context=given).clips[0]
    one = pipeline(network()).generate(META, Sampling(seed=2, drafts=1), context=given).clips[0]
    assert made.tracks[0] == given.tracks[0] == one.tracks[0] and made.tracks[1].notes and made.tracks[1] != one.tracks[1]


def test_of_much_there_are_fewer_drafts_and_what_is_too_much_is_refused() -> None:
    made, more = pipeline(network()), [(8, 1), (8, 4), (8, 8), (64, 1), (64, 4)]
    jobs = [made.start_generate(Meta(num_measures=bars), Sampling(seed=1, variants=variants)) for bars, variants in more]
    assert [job._request.drafts for job in jobs] == [8, 4, 2, 2, 1]
    assert made.start_generate(Meta(num_measures=64), Sampling(seed=1, drafts=8))._request.drafts == 8
    with pytest.raises(BadRequest, match="fewer variants, drafts"):
        made.start_generate(Meta(num_measures=64), Sampling(seed=1, variants=2, drafts=8))


@pytest.mark.parametrize(
    "start",
    [
        lambda s: pipeline(network(critic=0)).start_generate(META, s),
        lambda s: pipeline(network()).start_generate(META, replace(s, sampler="any-order")),
        lambda s: pipeline(network()).start_modify(make_clip(), 0.5, sampling=s),
        lambda s: MusePipeline.tiny("muse").start_generate(META, s),
        lambda s: MusePipeline.tiny("ar").start_generate(META, s),
    ],
)
def test_drafts_that_cannot_be_chosen_from_are_refused_in_words(start) -> None:
    with pytest.raises(BadRequest, match="drafts: there is nothing to choose from"):
        start(Sampling(seed=1, drafts=2))
    start(Sampling(seed=1, drafts=1))


@pytest.mark.parametrize(("drafts", "rows"), [(3, [1, 5]), (2, [1, 2, 5])])
def test_one_of_each_group(drafts: int, rows: list[int]) -> None:
    class Likes(Critic):
        left = (100.0, 300.0, 200.0, 0.0, -100.0, 500.0)

        def forward(self, traits_BT: torch.Tensor) -> torch.Tensor:
            now, self.left = self.left[: len(traits_BT)], self.left[len(traits_BT) :]
            return torch.tensor(now)

    net = network()
    line = line_of([plain(make_clip(1))] * 6)
    assert drawn(net, Likes(net.config.width, 1), line, 0, drafts, torch.Generator().manual_seed(0)) == rows


def test_a_draft_is_drawn_as_often_as_the_critic_says() -> None:
    class Says(Critic):
        def forward(self, traits_BT: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 1.0, -1.0])

    net, generator = network(), torch.Generator().manual_seed(0)
    line = line_of([plain(make_clip(1, bars=1, per_bar=1))] * 3)
    rows = [drawn(net, Says(net.config.width, 1), line, 0, 3, generator)[0] for _ in range(1500)]
    share = torch.bincount(torch.tensor(rows), minlength=3) / len(rows)
    torch.testing.assert_close(share, (SHARPNESS * torch.tensor([0.0, 1.0, -1.0])).softmax(0), atol=0.03, rtol=0)


@pytest.mark.parametrize(("notes", "row"), [((4, 5, 6, 20), 2), ((8, 7, 3, 8), 3), ((2, 2, 9, 9), 3), ((3, 6, 7, 8), 3)])
def test_drafts_with_far_more_or_fewer_notes_than_the_others_stay_out(notes: tuple[int, ...], row: int) -> None:
    class Likes(Critic):
        def forward(self, traits_BT: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 100.0, 200.0, 300.0])

    net = network()
    clips = [Clip(4, (Track(tuple(Note(120 * i, 60, 120, 82) for i in range(number))),)) for number in notes]
    assert drawn(net, Likes(net.config.width, 1), line_of(clips), 0, 4, torch.Generator().manual_seed(0)) == [row]


# --- training


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, net = tmp_path_factory.mktemp("weights"), network(critic=0)
    checkpoint.save(folder, "slots", asdict(net.config), vocab.fingerprint(), net.state_dict(), {})
    return folder


def test_a_critic_learns_to_tell_drafts_from_music_and_the_network_stays(data, weights, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(training, "STEPS", 300)
    words = [str(weights), "--data", str(data), "--out", str(tmp_path / "w"), "--clips", "60"]
    monkeypatch.setattr("sys.argv", ["train.critic", *words])
    training.main()
    said = re.search(r"'auc': ([\d.]+), 'auc_held_out': ([\d.]+)", capsys.readouterr().out)
    assert said is not None and float(said[1]) > 0.95 and float(said[2]) > 0.9, "random notes are no music"
    before, after = (SlotsEngine.load(folder).network for folder in (weights, tmp_path / "w"))
    assert after.critic is not None
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
    assert checkpoint.read_config(tmp_path / "w")["about"]["critic"]["pairs"] == 60
    task = SlotsTask(slots_tiny(), packed.load(data), "cpu")
    assert set(weights_for(slots_tiny(), task, tmp_path / "w")) == set(before.state_dict()), "training goes on from it"
    made = MusePipeline.load(tmp_path / "w")
    assert made.generate(META, Sampling(seed=1)).clips != made.generate(META, Sampling(seed=1, drafts=1)).clips


def test_weights_that_do_not_read_in_order_have_no_drafts_to_choose_from(data, tmp_path, monkeypatch) -> None:
    net = network(critic=0, distances=0)
    checkpoint.save(tmp_path / "b", "slots", asdict(net.config), vocab.fingerprint(), net.state_dict(), {})
    monkeypatch.setattr("sys.argv", ["train.critic", str(tmp_path / "b"), "--data", str(data), "--out", str(tmp_path / "w")])
    with pytest.raises(BadRequest, match="does not read in order"):
        training.main()
    assert not (tmp_path / "w").exists()


def test_what_is_written_for_the_critic_has_the_metadata_of_real_clips(data) -> None:
    store, net = packed.load(data), network()
    rng = np.random.default_rng(0)
    source = training.ClipSource(store, packed.TRAIN, {}, tracks_share=0)
    groups = list(training.alike(source.draw(rng, 40)))
    assert sum(map(len, groups)) == 40 and all(len({(c.meter, c.bars) for c in group}) == 1 for group in groups)
    line = in_line(source.batch(groups[0], rng, augment=True))
    made = training.written(net, line, torch.Generator().manual_seed(0))
    assert made.pad_BN.shape[1] <= 2 * line.pad_BN.shape[1] + 1
    assert torch.equal(made.shared_BF, line.shared_BF) and torch.equal(made.chords_BRC, line.chords_BRC)
    notes = ~made.pad_BN & (made.values_BNF[..., 0] < vocab.SIZES[0])
    assert (notes.sum(1) > 0).all() and (made.bar_BN[notes] < line.pad_BR.shape[1]).all()


def test_the_command_line_knows_drafts(tmp_path, capsys) -> None:
    code, _, err = run(["generate", "--model", "tiny", "--drafts", "2", "--out", str(tmp_path / "a.mid")], capsys)
    assert code == 2 and "nothing to choose from" in err
    code, _, err = run(["generate", "--model", "tiny", "--drafts", "9", "--out", str(tmp_path / "a.mid")], capsys)
    assert code == 2 and "drafts" in err and "between 1 and 8" in err
