"""The settings of a run as a table: every field of a recipe has a name, the original's where there is one, and a range.

It serves the parser, the reader of JSON and what is printed alike.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from itertools import groupby
from typing import Any, get_origin, get_type_hints

from musediff.engines.muse.schedule import SCHEDULES
from musediff.tokens import vocab
from train.compiled import CHOICES
from train.recipes import Recipe

MOST = 10**9
LEAST_TOKENS = 100


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. The type is that of its field, ``network.width`` for example."""

    name: str
    field: str
    about: str
    low: float = 0.0
    high: float = math.inf
    other: tuple[str, ...] = ()  # names that mean the same
    choices: tuple[str, ...] = ()

    @property
    def flags(self) -> list[str]:
        return ["--" + name.replace("_", "-") for name in (self.name, *self.other)]


SETTINGS = (
    Setting("tokens", "tokens", "tokens of one pass of each process, padding included", LEAST_TOKENS, MOST),
    Setting("accumulate", "accumulate", "passes of a step; their tokens count alike", 1, 10_000),
    Setting("learning_steps", "steps", "end after this many steps", 1, MOST, ("steps",)),
    Setting("minutes", "minutes", "end after this long", 0.001),
    Setting("lr", "learning_rate", "learning rate of AdamW", 1e-9, 1, ("learning_rate",)),
    Setting("muon_rate", "muon_rate", "learning rate of Muon, for the matrices of the blocks; 0: AdamW for all", 0, 1),
    Setting("warm_up", "warm_up", "steps until the learning rate is reached", 1, MOST),
    Setting("last_rate", "last_rate", "share of the learning rate that is left at the end", 0, 1),
    Setting("weight_decay", "weight_decay", "of both optimisers", 0, 10),
    Setting("ema_rate", "ema", "shares that averages of the weights keep in each step: 0.99,0.999", 0, 0.999999, ("ema",)),
    Setting("gradient_clipping", "clip", "largest norm of the gradient; 0 or less: any", -1),
    Setting("seed", "seed", "of everything that is drawn", 0, 2**32 - 1),
    Setting("compile", "compile", "the blocks of the network; auto: on CUDA alone", choices=CHOICES),
    Setting("shard", "shard", "each process holds a part of the weights (FSDP2), for networks that do not fit"),
    Setting("corpus_weight", "corpus_weight", "how much each corpus counts (default 1), as JSON by name"),
    Setting("eval_interval", "evaluate_every", "steps between evaluations", 1, MOST, ("evaluate_every",)),
    Setting("save_interval", "save_every", "steps between saves; 0: with every evaluation", 0, MOST, ("save_every",)),
    Setting("keep", "keep", "last states that are kept, beside the best", 1, MOST),
    Setting("log_interval", "log_every", "steps between lines of the log", 1, MOST, ("log_every",)),
    Setting("samples", "samples", "clips made at every evaluation, as MIDI and a picture; 0: none", 0, 1000),
    Setting("width", "network.width", "of the transformer", 8, 8192),
    Setting("layers", "network.layers", "of the transformer", 1, 100),
    Setting("heads", "network.heads", "of attention; they share the width", 1, 256),
    Setting("dropout", "network.dropout", "slots, ar: in the layers; muse: of the sum of embeddings", 0, 0.95),
    Setting("in_note", "network.in_note", "the fields of a note are drawn one after another"),
    Setting("neighbours", "network.neighbours", "each note is told the notes around it"),
    Setting("distances", "network.distances", "of notes in line that attention tells apart; 0 (slots): no line is read", 0, 4096),
    Setting("notes_every", "notes_every", "steps between batches of hidden and wrong notes", 1, MOST),
    Setting("count_every", "count_every", "steps between batches that train the numbers of notes", 1, MOST),
    Setting("tracks_share", "tracks_share", "share of the clips with several tracks", 0, 1),
    Setting("seq_len", "network.seq_len", "most tokens of a clip; longer ones are left out", 64, 65_536),
    Setting("hidden_dim", "network.embedding", "numbers of a token's embedding", 2, 8192),
    Setting("hidden_t_dim", "network.time_embedding", "numbers of the time's embedding", 2, 8192),
    Setting("feed_forward", "network.feed_forward", "width inside the layers", 8, 65_536),
    Setting("layer_dropout", "network.layer_dropout", "inside the layers", 0, 0.95),
    Setting("self_conditioning", "network.self_conditioning", "the network is shown its last guess"),
    Setting("normalise", "network.normalise", "embeddings are kept at one length"),
    Setting("tied", "network.tied", "the head's matrix is the embedding table"),
    Setting("noise_schedule", "schedule.name", "how noise grows", choices=tuple(SCHEDULES)),
    Setting("diffusion_steps", "schedule.steps", "steps of the noise", 4, 100_000),
    Setting("rescale_timesteps", "schedule.rescale", "the network is told times as if there were 1000 steps"),
    Setting("timestep_respacing", "schedule.respacing", 'the steps that are used: "ddim50" or "10,15,20"; "": all'),
    Setting("noise_factor", "schedule.noise_factor", "how much earlier wide embeddings lose information", 0.01, 100),
    Setting("mse_weight", "weights.mse", "of the squared error"),
    Setting("rounding_weight", "weights.rounding", "of the tokens read from the clean embeddings"),
    Setting("anchor_weight", "weights.anchor", "of the tokens read from the prediction"),
    Setting("prior_weight", "weights.prior", "of what the last step leaves of the embeddings"),
    Setting("schedule_sampler", "schedule_sampler", "which steps are trained", choices=("lossaware", "uniform", "fixstep")),
    Setting("damaged", "damaged", "share of the clips that are damaged", 0, 1),
    Setting("corr_available", "spoiling.available", "ways to damage, of mt,mn,rn,rr"),
    Setting("corr_max", "spoiling.most", "at most so many of them on a clip", 0, 100),
    Setting("corr_p", "spoiling.p", "each with this probability", 0, 1),
    Setting("corr_kwargs", "spoiling.settings", """what they do, by name or for all: '{"rn": {"p": 0.4}}'; else drawn for each clip"""),
)
# Other words for settings above. The field says whose they are; they are never printed.
WORDS = (
    Setting("batch_size", "tokens", "tokens of a whole step of each process, padding included", LEAST_TOKENS, MOST),
    Setting("microbatch", "accumulate", "most tokens of one pass, the step being cut into as many; 0: one pass", -1, MOST),
    Setting("use_corruption", "damaged", "damage clips, or none"),
)
WORD_KINDS: Mapping[str, type] = {"batch_size": int, "microbatch": int, "use_corruption": bool}
BY_NAME: Mapping[str, Setting] = {name: setting for setting in (*SETTINGS, *WORDS) for name in (setting.name, *setting.other)}
# The vocabulary decides; what is trained here is always told the layout; the critic is trained behind the network, see ``critic``.
NOT_SET = ("network.vocab_size", "network.layout", "network.critic")
RUN: Mapping[str, tuple[str, ...]] = {
    "data": ("data_dir",),
    "out": ("checkpoint_path",),
    "device": (),
    "resume": ("resume_checkpoint",),
    "init": (),
}
RUN_NAMES: Mapping[str, str] = {name: key for key, names in RUN.items() for name in (key, *names)}


@dataclass(frozen=True, slots=True)
class Fixed:
    """A setting of the original that is always one way here. Any other value than ``same`` is refused; None: any will do."""

    same: bool | str | None
    why: str


FIXED: Mapping[str, Fixed] = {
    "dataset": Fixed(None, "it is a label only."),
    "data_loader_workers": Fixed(None, "the clips are cut in the process that trains."),
    "use_bucketing": Fixed(True, "batches are always of clips of about one length. Leave it out."),
    "vocab_size": Fixed(
        str(vocab.SIZE),
        f"the vocabulary has {vocab.SIZE} tokens. Leave it out; the original's weights: musediff convert-checkpoint.",
    ),
    "predict_xstart": Fixed(True, "the network always predicts the clean embeddings. Leave it out."),
    "pretrained_denoiser": Fixed("", "training begins with random weights, or goes on where its --out stopped. Leave it out."),
    "pretrained_embedding": Fixed("", "the embeddings are trained with the rest. Leave it out."),
    "freeze_embedding": Fixed(False, "the embeddings are trained with the rest. Leave it out."),
}


def kinds(recipe: type[Recipe]) -> dict[str, type]:
    """Types of the fields of a recipe, those of its parts by dotted names."""
    found: dict[str, type] = {}
    for name, kind in get_type_hints(recipe).items():
        parts = {f"{name}.{part}": of_part for part, of_part in get_type_hints(kind).items()} if is_dataclass(kind) else {name: kind}
        found |= {full: get_origin(plain) or plain for full, plain in parts.items()}
    return found


def leaves(recipe: Recipe) -> dict[str, Any]:
    """Values of the fields of a recipe by the names of ``kinds``."""
    found = {}
    for name in kinds(type(recipe)):
        value: Any = recipe
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = value
    return found


def build(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with these values of its fields, by the names of ``kinds``."""
    own = {name: value for name, value in values.items() if "." not in name}
    for part, names in groupby(sorted(values.keys() - own.keys()), lambda name: name.split(".")[0]):
        own[part] = replace(getattr(recipe, part), **{name.split(".")[1]: values[name] for name in names})
    return replace(recipe, **own)
