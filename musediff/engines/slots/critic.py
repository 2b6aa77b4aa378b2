"""Of several drafts of a track one that looks like music: a small classifier over what the network knows of each and how each goes about.

A network that writes note after note cannot mend what it only sees at the end: that a clip hardly repeats its figures, that it wanders,
that it is never loud. A draft as a whole shows it. The classifier is trained to tell drafts from real clips of the same metadata
(``train/critic.py``); its logit estimates the logarithm of how much likelier real music is than the network has it, and so drawing a
draft by it corrects the network (importance resampling; with a discriminator: Azadi et al. 2019, https://arxiv.org/abs/1810.06758).

Suffixes as in ``network``; T traits of a clip, C = 1 + F parts of a note, X notes.
"""

import torch
from torch import Tensor, nn

from musediff.engines.slots import habits, vocab
from musediff.engines.slots.batch import Slots, chord_at
from musediff.engines.slots.line import notes_of
from musediff.engines.slots.line_losses import PARTS, surprise
from musediff.engines.slots.reading import InLine
from musediff.engines.slots.recall import REPETITION, repetition

HARMONY = 3  # numbers that tell of a note how it sits in the chords
# A critic has met few such drafts and likes what is steady: one that knew less of them gave an accompaniment of 328 notes in eight bars
# (others of the same wish 58, 151) a logit of 1.4, a pad of 128 (24 to 39), of which half fit the chords, 2.3.
ODD = 2.0
FARTHEST = 5.0  # deviations from the mean that are told apart
# 1 would be exact with endless drafts. 320 clips a role, the best of eight drafts or one drawn at 1, 1.5, 2.5: C2ST of main melodies .611,
# .598, .571, .575, of basses .670, .653, .643, .640; of six drafts chord tones of melodies .692, .712, .707, .701 (real .731).
SHARPNESS = 1.5


class Critic(nn.Module):
    """Traits (B, T) of clips -> logits (B,) that they are real."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        traits = width + 3 * len(PARTS) + 1 + REPETITION + HARMONY + 2 * habits.OF_NOTES + habits.OF_TRACKS
        self.mean_T: Tensor
        self.deviation_T: Tensor
        self.register_buffer("mean_T", torch.zeros(traits))
        self.register_buffer("deviation_T", torch.ones(traits))
        self.layers = nn.Sequential(nn.Dropout(0.1), nn.Linear(traits, hidden), nn.GELU(), nn.Dropout(0.3), nn.Linear(hidden, 1))

    def forward(self, traits_BT: Tensor) -> Tensor:
        scaled_BT = ((traits_BT - self.mean_T.float()) / self.deviation_T.float()).clamp(-FARTHEST, FARTHEST)
        return self.layers(scaled_BT.to(self.mean_T.dtype))[:, 0]


def traits(network: InLine, line: Slots, first: int) -> Tensor:
    """(B, T) of the notes in the tracks from ``first`` on: the mean of what is known after each; mean, deviation and largest of the nats of
    each of its parts; how many there are in a bar; on average how each repeats what was before, and how it sits in the chords. Zeros
    where there is no note. Then the ``habits``: mean and deviation of those of notes, and those of tracks."""
    read = network.read_line(line)
    of = surprise(network, line, read)
    follows = of.follows
    chosen_X = line.track_BN[follows.note_BM] >= first
    clip_X = follows.note_BM.nonzero()[:, 0][chosen_X]
    known_XD = read.line_BMD[follows.note_BM][chosen_X].float()
    advance_X = of.advance_Y[follows.before_BM[follows.real_BM]]
    nats_XC = torch.cat((advance_X[:, None], of.fields_XF), 1)[chosen_X]
    most_BC = nats_XC.new_zeros(len(line.bar_BN), len(PARTS)).scatter_reduce_(0, clip_X[:, None].expand_as(nats_XC), nats_XC, "amax")
    around_XA = torch.cat((repetition(line, follows.note_BM, follows.before_BM), _harmony(network, line)[follows.note_BM]), 1)[chosen_X]
    alone_XA = habits.of_notes(line)[follows.note_BM][chosen_X]
    (known_BD, _), nats, (around_BA, _), alone = (
        _moments(values, clip_X, len(most_BC)) for values in (known_XD, nats_XC, around_XA, alone_XA)
    )
    notes_B1 = torch.bincount(clip_X, minlength=len(most_BC))[:, None] / (~line.pad_BR).sum(1, keepdim=True)
    of_tracks = habits.of_tracks(line, follows.note_BM & (line.track_BN >= first))
    return torch.cat((known_BD, *nats, most_BC, notes_B1, around_BA, *alone, of_tracks), 1)


def _harmony(network: InLine, line: Slots) -> Tensor:
    """(B, M, HARMONY) of notes: on a quarter, in the chord, both. Of what is no note anything."""
    position_BM, pitch_BM = line.values_BNF[..., vocab.POSITION], line.values_BNF[..., vocab.PITCH]
    beat_BM = (position_BM % habits.QUARTER == 0).float()
    chord_BM = network.chord_classes[chord_at(line, position_BM)].float().gather(-1, pitch_BM[..., None] % 12)[..., 0]
    return torch.stack((beat_BM, chord_BM, beat_BM * chord_BM), -1)


def _moments(values_XT: Tensor, clip_X: Tensor, clips: int) -> tuple[Tensor, Tensor]:
    """(B, T) mean and standard deviation in each clip."""
    number_B1 = torch.bincount(clip_X, minlength=clips).clamp(min=1)[:, None]
    mean_BT = values_XT.new_zeros(clips, values_XT.shape[1]).index_add_(0, clip_X, values_XT) / number_B1
    square_BT = torch.zeros_like(mean_BT).index_add_(0, clip_X, (values_XT - mean_BT[clip_X]).square()) / number_B1
    return mean_BT, square_BT.sqrt()


@torch.no_grad()
def drawn(network: InLine, critic: Critic, line: Slots, first: int, drafts: int, generator: torch.Generator) -> list[int]:
    """Rows of a line, one of each ``drafts`` that follow each other, drawn by how real the critic thinks them. One such group at a time:
    the traits cost memory with the square of the notes. Drafts with more than ``ODD`` times the notes of the middle of their group, or
    fewer than that part of them, stay out."""
    rows = []
    for start in range(0, len(line.bar_BN), drafts):
        group = line.rows(slice(start, start + drafts))
        notes_B = (notes_of(group) & (group.track_BN >= first)).sum(1).float()
        usual = notes_B.quantile(0.5)
        odd_B = (notes_B > ODD * usual) | (notes_B * ODD < usual)
        weight_B = (SHARPNESS * critic(traits(network, group, first)).float()).masked_fill(odd_B, -torch.inf).softmax(0)
        rows.append(start + int(torch.multinomial(weight_B, 1, generator=generator)))
    return rows
