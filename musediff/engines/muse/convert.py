"""Checkpoints of the original: a .pt file and its training_args.json -> a checkpoint folder of ours.

Every tensor is checked by name and shape before anything is written. The pickle is read with ``weights_only=True``.
"""

import json
import pickle
import struct
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from musediff import checkpoint
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.errors import BadCheckpoint, BadRequest
from musediff.tokens import vocab

Joined = tuple[tuple[str, tuple[str, ...]], ...]
Embedding = Literal["original", "as_trained"]
HEADS = 12  # no tensor shows it; the original always takes BERT's
BLOCK = "input_transformers.layer."
MOST = 1 << 24  # of any size: more is a damaged file
# What torch.load says of a file that is no file of weights.
DAMAGE = (
    pickle.UnpicklingError, struct.error, RuntimeError, EOFError, OSError,
    ValueError, LookupError, TypeError, AttributeError, AssertionError,
)  # fmt: skip
IGNORED = "position_ids"  # a counter, saved beside the weights

# Our parameter <- the original's, joined along the first axis; each stands for a weight and a bias.
OUTER: Joined = (
    ("time_in", ("time_embed.0",)),
    ("time_out", ("time_embed.2",)),
    ("up.0", ("input_up_proj.0",)),
    ("up.2", ("input_up_proj.2",)),
    ("norm", ("LayerNorm",)),
    ("down.0", ("output_down_proj.0",)),
    ("down.2", ("output_down_proj.2",)),
)
INNER: Joined = (
    ("qkv", ("attention.self.query", "attention.self.key", "attention.self.value")),
    ("out", ("attention.output.dense",)),
    ("norm_attention", ("attention.output.LayerNorm",)),
    ("widen", ("intermediate.dense",)),
    ("narrow", ("output.dense",)),
    ("norm_mlp", ("output.LayerNorm",)),
)
TABLE, HEAD = "word_embedding.weight", "lm_head.weight"
ALONE: Joined = (("token.weight", (TABLE,)), ("bias", ("lm_head.bias",)), ("position.weight", ("position_embeddings.weight",)))


@dataclass(frozen=True, slots=True)
class TrainingArgs:
    """The settings of training_args.json that say what the weights are."""

    vocab_size: int
    seq_len: int
    hidden_dim: int
    hidden_t_dim: int
    diffusion_steps: int
    noise_schedule: str
    dropout: float = 0.1
    timestep_respacing: str = ""
    rescale_timesteps: bool = True
    predict_xstart: bool = True

    def schedule(self) -> ScheduleConfig:
        return ScheduleConfig(self.noise_schedule, self.diffusion_steps, self.rescale_timesteps, self.timestep_respacing)


def convert(original: Path, training_args: Path, out: Path, embedding: Embedding = "original", heads: int = HEADS) -> None:
    """Write a checkpoint folder of ours.

    The original saves its embedding table twice, and the copies differ in its averaged weights (``ema_*.pt``) and wherever
    it was given a table to start from. ``embedding="original"`` uses the head's copy for both, which is what the original
    does when it loads the file; ``"as_trained"`` keeps both as they are.

    Raises:
        BadCheckpoint: a file is missing, damaged or of another network; the message names the key and the shape.
    """
    args = read_training_args(training_args)
    network = to_network(read_weights(original), args, embedding, heads)
    about = {"source": original.name, "embedding": embedding, "schedule": asdict(args.schedule()), "readable": False}
    checkpoint.save(out, "muse", asdict(network.config), vocab.fingerprint(), network.state_dict(), about)


def read_training_args(path: Path) -> TrainingArgs:
    """The settings that matter here; the many others are left unread.

    Raises:
        BadCheckpoint: the file cannot be read, or a setting is missing, of the wrong type, or not supported.
    """
    try:
        settings = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadCheckpoint(f"{path}: not there. The original writes training_args.json beside its weights; give that file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(settings, dict):
        raise BadCheckpoint(f"{path}: holds no settings, but {type(settings).__name__}.")
    args = TrainingArgs(**{field.name: _setting(path, settings, field.name, field.default) for field in fields(TrainingArgs)})
    if not 0 <= args.dropout < 1:
        raise BadCheckpoint(f"{path}: dropout is {args.dropout}, a share from 0 to below 1 is expected.")
    if not args.predict_xstart:
        raise BadCheckpoint(f"{path}: predict_xstart is false; only networks that predict the clean embeddings can be used.")
    if args.vocab_size != vocab.SIZE_ORIGINAL:
        raise BadCheckpoint(f"{path}: vocab_size is {args.vocab_size}; ComMU's vocabulary has {vocab.SIZE_ORIGINAL} tokens.")
    try:
        args.schedule().build()
    except BadRequest as error:
        raise BadCheckpoint(f"{path}: {error}") from None
    return args


def _setting(path: Path, settings: Mapping[str, Any], name: str, default: Any) -> Any:
    kind = {"noise_schedule": str, "timestep_respacing": str, "dropout": float, "rescale_timesteps": bool, "predict_xstart": bool}.get(
        name, int
    )
    if name not in settings:
        if default is MISSING:
            raise BadCheckpoint(f"{path}: the setting {name} is missing.")
        return default
    value = settings[name]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (kind is int and not 0 < value <= MOST):
        raise BadCheckpoint(f"{path}: {name} is {value!r}, not a usable {kind.__name__}.")
    return value


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a .pt file.

    Raises:
        BadCheckpoint: the file is missing, damaged, or holds something else.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadCheckpoint(f"{path}: there is no such file.") from None
    except DAMAGE as error:
        raise BadCheckpoint(f"{path}: damaged, cut short, or no file of weights ({str(error)[:200]}). Copy it again.") from error
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise BadCheckpoint(f"{path}: holds no named tensors. Give model_*.pt or ema_*.pt.")
    if TABLE not in found:
        raise BadCheckpoint(f"{path}: {TABLE} is missing. Give model_*.pt or ema_*.pt; opt_*.pt holds no weights.")
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            raise BadCheckpoint(f"{path}: {name} is no tensor, but {type(tensor).__name__}.")
        if not bool(tensor.isfinite().all()):
            raise BadCheckpoint(f"{path}: {name} holds numbers that are not finite: the training had failed, or the file is damaged.")
    return {name: tensor for name, tensor in found.items() if name != IGNORED}


def to_network(weights: Mapping[str, Tensor], args: TrainingArgs, embedding: Embedding, heads: int = HEADS) -> MuseNetwork:
    """Our network with the original's weights, in float32.

    Raises:
        BadCheckpoint: naming the tensor that is missing, unknown, or of another shape than the settings ask for.
    """
    twins = HEAD in weights and weights[HEAD].shape == weights[TABLE].shape and torch.equal(weights[HEAD], weights[TABLE])
    config = _config(weights, args, heads, tied=twins or embedding == "original")
    with torch.device("meta"):
        network = MuseNetwork(config)
    filled: dict[str, Tensor] = {}
    used = {HEAD}
    for ours, theirs in mapping(config):
        shape = network.get_parameter(ours).shape
        parts = [_take(weights, name, (shape[0] // len(theirs), *shape[1:])) for name in theirs]
        filled[ours] = torch.cat(parts).float()
        used.update(theirs)
    head = _take(weights, HEAD, (config.vocab_size, config.embedding)).float()
    filled["token.weight" if config.tied else "head"] = head
    unknown = sorted(set(weights) - used)
    if unknown:
        raise BadCheckpoint(f"{unknown[0]}: not part of the original's network of {config.layers} layers with these settings.")
    network.load_state_dict(filled, assign=True)
    return network.eval()


def mapping(config: MuseConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every parameter of ours but the head's, with the names of the original's that it is joined from."""
    yield from ALONE
    absent = ("up", "down") if config.embedding == config.width else ()
    pairs = [pair for pair in OUTER if pair[0].split(".")[0] not in absent]
    for layer in range(config.layers):
        pairs += [(f"blocks.{layer}.{ours}", tuple(f"{BLOCK}{layer}.{name}" for name in theirs)) for ours, theirs in INNER]
    for ours, theirs in pairs:
        for kind in ("weight", "bias"):
            yield f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs)


def _take(weights: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in weights:
        raise BadCheckpoint(f"{name}: missing; the settings ask for {shape}.")
    if tuple(weights[name].shape) != shape:
        raise BadCheckpoint(f"{name}: has shape {tuple(weights[name].shape)}, the settings ask for {shape}.")
    return weights[name]


def _config(weights: Mapping[str, Tensor], args: TrainingArgs, heads: int, tied: bool) -> MuseConfig:
    """Sizes from the settings where they are told; the rest, which the original takes from BERT, from the tensors."""

    def rows_of(name: str, axis: int) -> int:
        if name not in weights:
            raise BadCheckpoint(f"{name}: missing.")
        if weights[name].dim() != 2:
            raise BadCheckpoint(f"{name}: has shape {tuple(weights[name].shape)}, a matrix is expected.")
        return weights[name].shape[axis]

    layers = len({name[len(BLOCK) :].split(".")[0] for name in weights if name.startswith(BLOCK)})
    width = rows_of("position_embeddings.weight", 1)
    feed_forward = rows_of(f"{BLOCK}0.intermediate.dense.weight", 0)
    if width % heads:
        raise BadCheckpoint(f"position_embeddings.weight: a width of {width} cannot be shared by {heads} heads.")
    return MuseConfig(
        args.vocab_size, args.seq_len, args.hidden_dim, args.hidden_t_dim, width, layers, heads, feed_forward, args.dropout, tied=tied
    )
