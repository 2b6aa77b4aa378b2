"""Weights on disk: a folder with config.json and safetensors shards in bfloat16, each under 10 MB.

config.json says which engine, which network and which vocabulary; a mismatch is refused before a tensor is used.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as packed

from musediff.errors import BadCheckpoint, BadRequest
from musediff.whole_file import replace_whole

SHARD_BYTES = 9_500_000
FORMAT = 1
Network = TypeVar("Network", bound=torch.nn.Module)


def save(
    folder: Path, engine: str, network: Mapping[str, Any], fingerprint: str, weights: Mapping[str, torch.Tensor], about: Mapping[str, Any]
) -> None:
    """Write weights. Each file is written under another name first and then renamed; config.json comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name in sorted(weights):
        tensor = weights[name].detach().to("cpu", torch.bfloat16).contiguous()
        if size and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    # Names of their own: an interrupted save must leave the shards that the old config.json names.
    tag = hashlib.sha256(b"".join(t.flatten()[:64].float().numpy().tobytes() for shard in shards for t in shard.values())).hexdigest()[:8]
    names = [f"weights-{tag}-{i + 1}-of-{len(shards)}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):  # not by save_file: only its owner could read what that writes
        replace_whole(folder / name, lambda path, shard=shard: path.write_bytes(packed(shard)))
    config = {
        "format": FORMAT,
        "engine": engine,
        "vocabulary": fingerprint,
        "network": dict(network),
        "shards": names,
        "about": dict(about),
    }
    replace_whole(folder / "config.json", lambda path: path.write_text(json.dumps(config, indent=1) + "\n"))
    _drop_other_shards(folder, names)


def copy(source: Path, target: Path, more: Mapping[str, Any]) -> None:
    """Copy a checkpoint; ``more`` is added to what config.json says about it.

    Raises:
        BadCheckpoint: there is none in ``source``.
    """
    config = read_config(source)
    target.mkdir(parents=True, exist_ok=True)
    for name in config["shards"]:
        replace_whole(target / name, lambda path, name=name: shutil.copyfile(source / name, path))
    config["about"] |= more
    replace_whole(target / "config.json", lambda path: path.write_text(json.dumps(config, indent=1) + "\n"))
    _drop_other_shards(target, config["shards"])


def _drop_other_shards(folder: Path, names: Iterable[str]) -> None:
    for old in set(folder.glob("weights-*.safetensors")) - {folder / name for name in names}:
        old.unlink()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a weights folder.

    Raises:
        BadCheckpoint: it is missing or not ours.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise BadCheckpoint(f"{folder}: no config.json there. Give a folder that training or convert-checkpoint wrote.") from None
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path}: cannot be read ({error}).") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise BadCheckpoint(f"{path}: not a MuseDiff checkpoint of format {FORMAT}.")
    missing = {"engine", "vocabulary", "network", "shards", "about"} - set(config)
    if missing:
        raise BadCheckpoint(f"{path}: lacks {', '.join(sorted(missing))}.")
    return config


def read_config_of(folder: Path, engine: str) -> dict[str, Any]:
    """``read_config`` of a folder that has to hold weights of this engine.

    Raises:
        BadCheckpoint: it is missing, not ours, or of another engine.
    """
    config = read_config(folder)
    if config["engine"] != engine:
        raise BadCheckpoint(f"{folder}: these are weights of the engine {config['engine']}, not of {engine}.")
    return config


def load_network(folder: Path, config: Mapping[str, Any], fingerprint: str, make: Callable[[Mapping[str, Any]], Network]) -> Network:
    """The network that config.json describes, made by ``make`` from its settings, with its weights.

    Raises:
        BadCheckpoint: its settings are not ours; or see ``load_weights``.
    """
    try:
        network = make(config["network"])
    except (TypeError, BadRequest) as error:
        raise BadCheckpoint(f"{folder / 'config.json'}: unknown network setting ({error}).") from error
    network.load_state_dict(load_weights(folder, config, fingerprint, network.state_dict()))
    return network


def load_weights(
    folder: Path, config: Mapping[str, Any], fingerprint: str, expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Tensors of all shards, checked against the vocabulary and against the names and shapes of ``expected``.

    Raises:
        BadCheckpoint: naming the shard or the tensor that is missing, damaged or of another shape.
    """
    if config["vocabulary"] != fingerprint:
        made = config["vocabulary"]
        raise BadCheckpoint(f"{folder}: made for vocabulary {made}, this version has {fingerprint}. Use the version that trained it.")
    weights: dict[str, torch.Tensor] = {}
    for name in config["shards"]:
        try:
            weights.update(load_file(folder / name))
        except FileNotFoundError:
            raise BadCheckpoint(f"{folder / name}: this shard is missing. Copy the whole folder.") from None
        except (SafetensorError, OSError) as error:
            raise BadCheckpoint(f"{folder / name}: damaged ({error}). Copy it again.") from error
    for name, tensor in expected.items():
        if name not in weights:
            raise BadCheckpoint(f"{folder}: tensor {name} is missing.")
        if weights[name].shape != tensor.shape:
            raise BadCheckpoint(f"{folder}: tensor {name} has shape {tuple(weights[name].shape)}, the network needs {tuple(tensor.shape)}.")
    return {name: weights[name] for name in expected}
