"""Recipes: a function returns everything that decides a run. Saved beside the weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from musediff.engines.ar.config import ArConfig
from musediff.engines.muse.dataset import Spoiling
from musediff.engines.muse.losses import LossWeights
from musediff.engines.muse.network import MuseConfig
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.engines.slots.network import NetworkConfig
from musediff.tokens import vocab


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of one training run of any engine. ``steps`` or ``minutes`` ends it; the learning rate follows whichever is nearer."""

    tokens: int = 5000  # of one batch of each process, padding included
    accumulate: int = 1  # batches of one step in each process; all their tokens count alike
    steps: int = 1_000_000
    minutes: float = 60.0
    learning_rate: float = 1e-3  # AdamW, for embeddings and heads
    muon_rate: float = 0.02  # Muon, for the matrices of the blocks; 0: everything AdamW
    warm_up: int = 100
    last_rate: float = 0.02  # share of the learning rate that is left at the end
    weight_decay: float = 0.02
    ema: tuple[float, ...] = (0.999,)  # shares that averages of the weights keep in each step; the best one is shipped
    clip: float = 1.0  # largest norm of the gradient; 0 or less: any
    seed: int = 1
    compile: str = "auto"  # the blocks, once for all sizes of batches; auto: on CUDA alone
    shard: bool = False  # each rank holds a part of the weights, for networks that do not fit
    corpus_weight: dict[str, float] = field(default_factory=lambda: {"pop909": 2.0, "groove": 0.3})
    evaluate_every: int = 500
    save_every: int = 0  # 0: with every evaluation
    keep: int = 2  # last states that are kept, beside the best
    log_every: int = 50
    samples: int = 3  # clips that every evaluation makes


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotsRecipe(Recipe):
    """A run of the slots engine."""

    network: NetworkConfig
    notes_every: int = 1  # steps between batches of hidden and wrong notes; every step has one of lines, if the network reads them
    count_every: int = 3  # steps between batches that train the counts
    tracks_share: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ArRecipe(Recipe):
    """A run of the ar engine."""

    network: ArConfig
    tracks_share: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class MuseRecipe(Recipe):
    """A run of the muse engine."""

    network: MuseConfig
    schedule: ScheduleConfig
    weights: LossWeights
    schedule_sampler: str = "lossaware"
    damaged: float = 0.5  # share of the clips that are damaged
    spoiling: Spoiling = field(default_factory=Spoiling)


def slots_tiny() -> SlotsRecipe:
    """Two minutes on two cores: shows that everything works, makes no music."""
    return SlotsRecipe(network=NetworkConfig.tiny(), tokens=1000, steps=200, minutes=2, evaluate_every=100, warm_up=20, ema=(0.97,))


def slots_small() -> SlotsRecipe:
    """6.2 M parameters, for two hours or more on two CPU cores. With half the batches of hidden notes and lines in every step
    all losses came out lower than with hidden notes alone (LOG.md, "one network, two readings")."""
    network = NetworkConfig(width=256, layers=6, heads=4, neighbours=True, distances=64)
    return SlotsRecipe(network=network, minutes=120, notes_every=2, count_every=4)


def slots_base() -> SlotsRecipe:
    """15 M parameters, for a GPU; batches are shared out as in ``slots_small``. 5.6 minutes of an H200, with another run beside it, were
    too few (LOG.md)."""
    network = NetworkConfig(width=384, layers=7, heads=6, dropout=0.15, neighbours=True, distances=64)
    return replace(slots_small(), network=network, tokens=100_000, learning_rate=2e-3, minutes=20, ema=(0.99, 0.997))


# How much of the time axis teaches. With the plain sqrt schedule and a normalised table of 128 numbers an ideal reader can tell
# one of 128 tokens from its noised embedding until 0.7 of the steps, and only the last fifth is worth a visit. A noise factor
# of 3 spreads it: 0.05, 0.46, 0.83 of the entropy are gone at 0.2, 0.5, 0.8 (measured by drawing; at factor 4 0.23, 0.68,
# 0.91). What counts is width / factor^2. Without ``normalise`` the table grows or shrinks against the noise while it learns.
#
# The anchor is what makes the read probabilities right, but it ties the prediction to them: of two tokens that are .9 and .1
# likely the embedding that says so is nearly their plain mean. The engine therefore samples with the mean of the table under
# the probabilities read (Dieleman et al. 2022): after 250 steps of a small network its squared error in the four quarters
# of the time was .40 .78 .90 .96, against .79 .90 .95 .98 of the prediction itself, and .55 .78 .89 .95 without anchor.


def muse_tiny() -> MuseRecipe:
    """As ``slots_tiny``."""
    network = MuseConfig(
        vocab.SIZE, 640, embedding=32, time_embedding=32, width=64, layers=2, heads=2, feed_forward=128,
        dropout=0.0, layer_dropout=0.0, normalise=True, layout=True,
    )  # fmt: skip
    return MuseRecipe(
        network=network, schedule=ScheduleConfig(noise_factor=1.5), weights=LossWeights(anchor=1.0),
        muon_rate=0.01, tokens=1000, steps=200, minutes=2, evaluate_every=100, warm_up=20, ema=(0.97,),
    )  # fmt: skip


def muse_small() -> MuseRecipe:
    """5.4 M parameters, for about two hours on two CPU cores. 5 % of what would be drawn is longer than 640 tokens."""
    network = MuseConfig(
        vocab.SIZE, 640, width=256, layers=6, heads=4, feed_forward=1024,
        dropout=0.0, layer_dropout=0.0, normalise=True, layout=True,
    )  # fmt: skip
    # Muon .01 was a little ahead of .02 after 270 steps of a small network, .04 clearly behind.
    return MuseRecipe(
        network=network, schedule=ScheduleConfig(noise_factor=3.0), weights=LossWeights(anchor=1.0), muon_rate=0.01, minutes=120
    )


def muse_base() -> MuseRecipe:
    """22 M parameters, for a GPU. 1 % of what would be drawn is longer than 1,024 tokens."""
    small = muse_small().network
    network = replace(small, seq_len=1024, width=384, layers=12, heads=6, feed_forward=1536, dropout=0.05, layer_dropout=0.05)
    return replace(muse_small(), network=network, tokens=200_000, minutes=25, ema=(0.99, 0.999, 0.9999))


def ar_tiny() -> ArRecipe:
    """As ``slots_tiny``."""
    return ArRecipe(network=ArConfig.tiny(), tokens=1000, steps=200, minutes=2, evaluate_every=100, warm_up=20, ema=(0.97,))


def ar_small() -> ArRecipe:
    """5.6 M parameters: the baseline beside ``slots_small``, with the same clips, batches and minutes. It would overfit sooner: dropout."""
    return ArRecipe(network=ArConfig(width=256, layers=6, heads=4, dropout=0.1), minutes=120)


def ar_base() -> ArRecipe:
    """14 M parameters, for a GPU, beside ``slots_base``. It learns its songs by heart sooner: after 1,200 steps (LOG.md)."""
    network = ArConfig(width=384, layers=7, heads=6, dropout=0.15)
    return replace(ar_small(), network=network, tokens=100_000, learning_rate=2e-3, minutes=20, ema=(0.99, 0.997))


RECIPES: Mapping[str, Callable[[], Recipe]] = MappingProxyType(
    {
        "slots-tiny": slots_tiny,
        "slots-small": slots_small,
        "slots-base": slots_base,
        "muse-tiny": muse_tiny,
        "muse-small": muse_small,
        "muse-base": muse_base,
        "ar-tiny": ar_tiny,
        "ar-small": ar_small,
        "ar-base": ar_base,
    }
)
