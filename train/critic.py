"""Teach slots weights to choose between drafts: python -m train.critic RUN/weights --data clips.npz --out runs/x/with-critic

Writes clips from the metadata of training clips and learns to tell them from these, by what the network itself knows of both and by how
they go about. The other tensors stay as they are. Under torchrun the processes write a share of the clips each.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace

os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # see app.py

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from musediff import checkpoint
from musediff.cli import guarded
from musediff.clip import BAR_TICKS, TIME_SIGNATURES, Track
from musediff.data import store as packed
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import METER, Slots
from musediff.engines.slots.composer import Composer, Limits, Taste
from musediff.engines.slots.constraints import allowed
from musediff.engines.slots.critic import Critic, traits
from musediff.engines.slots.dataset import ClipRef, ClipSource
from musediff.engines.slots.engine import SlotsEngine
from musediff.engines.slots.line import in_line
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import drop_conditions
from musediff.engines.slots.tables import Tables
from musediff.errors import BadRequest
from musediff.gather import joined
from musediff.metrics.ranking import auc
from musediff.ranks import from_environment
from train.arguments import weights_parser
from train.recipes import slots_small

TOGETHER = 48  # clips written at once
HIDDEN, STEPS, RATE, DECAY, BATCH = 64, 4000, 1e-3, 0.05, 256


def pairs(network: SlotsNetwork, source: ClipSource, augment: bool, clips: int, seed: int) -> tuple[Tensor, Tensor]:
    """(N, T) traits of real clips and of what the network writes from their metadata, of which half of the clips forget some."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    real, made = [], []
    for batch in tqdm(list(alike(source.draw(rng, clips))), leave=False):
        slots = source.batch(batch, rng, augment)
        if rng.random() < 0.5:
            drop_conditions(slots, generator)
        line = in_line(slots)
        real.append(traits(network, line, 0))
        made.append(traits(network, written(network, line, generator), 0))
    return torch.cat(real), torch.cat(made)


def alike(clips: list[ClipRef]) -> Iterator[list[ClipRef]]:
    """Of one metre and number of bars, about equally long ones together."""
    key = lambda clip: (clip.meter, clip.bars, clip.notes)  # noqa: E731
    clips = sorted(clips, key=key)
    while clips:
        size = next((i for i, clip in enumerate(clips[:TOGETHER]) if key(clip)[:2] != key(clips[0])[:2]), TOGETHER)
        yield clips[:size]
        clips = clips[size:]


def written(network: SlotsNetwork, line: Slots, generator: torch.Generator) -> Slots:
    """Tracks of the same metadata, all rows of one metre and number of bars. About three in a hundred do not end before they have twice
    the notes of the longest real one: of these the beginning, for traits cost memory with the square of the notes."""
    start = line.of_notes(lambda x_BM: x_BM[:, :1])
    metre = TIME_SIGNATURES[int(line.shared_BF[0, METER]) - 1]
    bar_ticks, bars = BAR_TICKS[metre], line.pad_BR.shape[1]
    limits = Limits(allowed((Track(()),), bar_ticks), bar_ticks // vocab.POSITION_TICKS, bars, 1)
    composer = Composer(network, start, 0, limits, Taste(1.0, 1.0, 0.0, generator))
    for _ in range(2 * line.pad_BN.shape[1]):
        if not composer.finished:
            composer.write()
    return composer.all_lines


def fit(critic: Critic, real: Tensor, made: Tensor, seed: int) -> None:
    """Logistic regression with one hidden layer."""
    generator = torch.Generator().manual_seed(seed)
    known, truth = torch.cat((real, made)), torch.cat((torch.ones(len(real)), torch.zeros(len(made))))
    critic.mean_T.copy_(known.mean(0))
    critic.deviation_T.copy_(known.std(0).clamp(min=1e-4))
    optimiser = torch.optim.AdamW(critic.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    critic.train()
    for _ in range(STEPS):
        rows = torch.randint(len(known), (BATCH,), generator=generator)
        loss = F.binary_cross_entropy_with_logits(critic(known[rows]), truth[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    critic.eval()


def told(critic: Critic, real: Tensor, made: Tensor) -> float:
    """AUC: how often a real clip scores above a written one."""
    with torch.no_grad():
        scores = critic(torch.cat((real, made))).numpy()
    return auc(scores, np.arange(len(scores)) < len(real))


def main() -> None:
    parser = weights_parser("critic", str(__doc__), 24_000, "training clips to learn from")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    network, store, ranks = SlotsEngine.load(args.weights).network, packed.load(args.data), from_environment()
    if not network.config.distances:
        raise BadRequest(f"{args.weights}: this network does not read in order, so it writes no drafts.")
    with joined(ranks) as gather:
        seed, share = args.seed * ranks.size + ranks.rank, -(-args.clips // ranks.size)
        weight, tables = slots_small().corpus_weight, Tables.of(store, "cpu")
        learned, other = (ClipSource(store, split, weight, 0, tables) for split in (packed.TRAIN, packed.VALID))
        known = gather([pairs(network, learned, True, share, seed), pairs(network, other, False, -(-share // 10), seed)])
    if not ranks.first:
        return
    (real, made), held_out = (tuple(map(torch.cat, zip(*of_split, strict=True))) for of_split in zip(*known, strict=True))
    torch.manual_seed(args.seed)
    critic = Critic(network.config.width, HIDDEN)
    fit(critic, real, made, args.seed)
    figures = {
        "pairs": len(real),
        "seed": args.seed,
        "processes": ranks.size,
        "auc": round(told(critic, real, made), 4),
        "auc_held_out": round(told(critic, *held_out), 4),
    }
    config = checkpoint.read_config(args.weights)
    weights = network.state_dict() | {f"critic.{name}": tensor for name, tensor in critic.state_dict().items()}
    settings = asdict(replace(network.config, critic=HIDDEN))
    checkpoint.save(args.out, "slots", settings, vocab.fingerprint(), weights, config["about"] | {"critic": figures})
    print(figures)


if __name__ == "__main__":
    sys.exit(guarded(main))
