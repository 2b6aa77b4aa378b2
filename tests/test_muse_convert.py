"""Checkpoints of the original: what is written in its layout becomes ours, and every kind of damage is refused by name."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from musediff import checkpoint
from musediff.engines.muse.convert import TrainingArgs, convert, mapping, read_training_args, read_weights, to_network
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.schedule import ScheduleConfig
from musediff.errors import BadCheckpoint
from musediff.tokens import vocab

HEADS = 4
SETTINGS: dict[str, Any] = {
    "vocab_size": 729, "seq_len": 24, "hidden_dim": 8, "hidden_t_dim": 6, "dropout": 0.4, "diffusion_steps": 300,
    "noise_schedule": "cosine", "timestep_respacing": "", "rescale_timesteps": True, "predict_xstart": True,
    "lr": 0.0001, "dataset": "ComMU", "ema_rate": "0.5,0.9", "corr_kwargs": "",
}  # fmt: skip


def layout(layers: int = 2, width: int = 16, inner: int = 20, projections: bool = True) -> OrderedDict[str, Tensor]:
    """Random weights with the original's names and shapes."""
    generator = torch.Generator().manual_seed(0)
    size = SETTINGS["hidden_dim"] if projections else width
    found: OrderedDict[str, Tensor] = OrderedDict(position_ids=torch.arange(24)[None])

    def linear(name: str, after: int, before: int) -> None:
        found[f"{name}.weight"] = torch.randn(after, before, generator=generator) * 0.3
        found[f"{name}.bias"] = torch.randn(after, generator=generator) * 0.3

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = torch.rand(width, generator=generator) + 0.5, torch.zeros(width)

    found["word_embedding.weight"] = torch.randn(729, size, generator=generator)
    found["lm_head.weight"], found["lm_head.bias"] = found["word_embedding.weight"], torch.randn(729, generator=generator)
    linear("time_embed.0", 24, 6)
    linear("time_embed.2", width, 24)
    if projections:
        linear("input_up_proj.0", width, size)
        linear("input_up_proj.2", width, width)
        linear("output_down_proj.0", width, width)
        linear("output_down_proj.2", size, width)
    for i in range(layers):
        at = f"input_transformers.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{at}.attention.{part}", width, width)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.intermediate.dense", inner, width)
        linear(f"{at}.output.dense", width, inner)
        norm(f"{at}.output.LayerNorm")
    found["position_embeddings.weight"] = torch.randn(24, width, generator=generator)
    norm("LayerNorm")
    return found


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder as the original leaves it."""
    (tmp_path / "training_args.json").write_text(json.dumps(SETTINGS))
    torch.save(layout(), tmp_path / "model_000010.pt")
    return tmp_path


def run(given: Path, embedding: Any = "original", heads: int = HEADS) -> Path:
    convert(given / "model_000010.pt", given / "training_args.json", given / "out", embedding, heads)
    return given / "out"


def load(folder: Path) -> MuseNetwork:
    config = checkpoint.read_config(folder)
    network = MuseNetwork(MuseConfig(**config["network"]))
    network.load_state_dict(checkpoint.load_weights(folder, config, vocab.fingerprint(), network.state_dict()))
    return network.eval()


@torch.no_grad()
def test_a_checkpoint_of_the_original_becomes_ours(given: Path) -> None:
    network = load(run(given))
    about = checkpoint.read_config(given / "out")["about"]
    assert ScheduleConfig(**about["schedule"]) == ScheduleConfig("cosine", 300)
    assert (about["source"], about["embedding"]) == ("model_000010.pt", "original")
    config = network.config
    assert (config.vocab_size, config.seq_len, config.embedding, config.time_embedding) == (729, 24, 8, 6)
    assert (config.width, config.layers, config.heads, config.feed_forward, config.dropout) == (16, 2, HEADS, 20, 0.4)
    exact = to_network(read_weights(given / "model_000010.pt"), read_training_args(given / "training_args.json"), "original", HEADS)
    x, times = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 990.0])
    apart = (network(x, times, None) - exact(x, times, None)).norm() / exact(x, times, None).norm()
    assert float(apart) < 0.03  # of bfloat16 on disk


def test_the_full_layout_has_211_names_and_each_is_used() -> None:
    weights = layout(layers=12, width=24)
    assert len(weights) == 211
    del weights["position_ids"]
    network = to_network(weights, TrainingArgs(729, 24, 8, 6, 300, "sqrt"), "original")
    named = {name for _, names in mapping(network.config) for name in names}
    assert named == set(weights) - {"lm_head.weight"}
    assert sum(p.numel() for p in network.parameters()) == sum(w.numel() for w in weights.values()) - 729 * 8
    q = network.get_parameter("blocks.7.qkv.weight")[:24]
    assert torch.equal(q, weights["input_transformers.layer.7.attention.self.query.weight"])


def test_twelve_layers_without_projections_have_eight_names_less() -> None:
    weights = layout(layers=12, width=24, projections=False)
    assert len(weights) == 211 - 8
    network = to_network({k: v for k, v in weights.items() if k != "position_ids"}, TrainingArgs(729, 24, 24, 6, 300, "sqrt"), "original")
    assert network.up is None and network.down is None


def test_both_readings_of_an_averaged_checkpoint(given: Path) -> None:
    """There the head's copy of the table is not the embedding's: the original lets the head's win."""
    weights = layout()
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1
    torch.save(weights, given / "model_000010.pt")
    ids, x = torch.arange(50)[None], torch.randn(1, 3, 8)
    original = load(run(given, "original"))
    assert original.config.tied
    assert torch.allclose(original.embed(ids), weights["lm_head.weight"][ids], atol=0.03)
    trained = load(run(given, "as_trained"))
    assert not trained.config.tied
    assert torch.allclose(trained.embed(ids), weights["word_embedding.weight"][ids], atol=0.03)
    assert torch.allclose(trained.logits(x), original.logits(x), atol=0.2)


def test_copies_that_agree_are_one_table(given: Path) -> None:
    assert load(run(given, "as_trained")).config.tied


WEIGHTS_DAMAGE = {
    "missing head": (lambda w: w.pop("lm_head.weight"), "lm_head.weight: missing"),
    "missing table": (lambda w: w.pop("word_embedding.weight"), "word_embedding.weight is missing"),
    "missing inner": (lambda w: w.pop("input_transformers.layer.1.output.dense.bias"), r"layer\.1\.output\.dense\.bias: missing.*\(16,\)"),
    "missing layer": (
        lambda w: [w.pop(k) for k in list(w) if "layer.0." in k],
        r"layer\.0\.intermediate\.dense\.weight: missing",
    ),
    "missing projection": (lambda w: w.pop("input_up_proj.0.weight"), r"input_up_proj\.0\.weight: missing.*\(16, 8\)"),
    "wrong shape": (
        lambda w: w.update({"time_embed.0.weight": torch.zeros(24, 7)}),
        r"time_embed\.0\.weight: has shape \(24, 7\), the settings ask for \(24, 6\)",
    ),
    "wrong dimension": (lambda w: w.update({"position_embeddings.weight": torch.zeros(24)}), r"position_embeddings\.weight.*\(24,\)"),
    "scalar": (lambda w: w.update({"lm_head.bias": torch.tensor(1.0)}), r"lm_head\.bias: has shape \(\)"),
    "unknown": (lambda w: w.update({"pooler.dense.weight": torch.zeros(2)}), r"pooler\.dense\.weight: not part"),
    "nan": (lambda w: w["LayerNorm.bias"].fill_(torch.nan), r"LayerNorm\.bias.*not finite"),
    "no tensor": (lambda w: w.update({"LayerNorm.bias": [1, 2]}), r"LayerNorm\.bias is no tensor, but list"),
}


@pytest.mark.parametrize("what", WEIGHTS_DAMAGE)
def test_weights_that_do_not_fit_are_refused_by_key_and_shape(given: Path, what: str) -> None:
    damage, words = WEIGHTS_DAMAGE[what]
    weights = layout()
    damage(weights)
    torch.save(weights, given / "model_000010.pt")
    with pytest.raises(BadCheckpoint, match=words):
        run(given)
    assert not (given / "out").exists()


SETTINGS_DAMAGE = {
    "hidden_dim": ({"hidden_dim": 500}, r"input_up_proj\.0\.weight|word_embedding\.weight: has shape \(729, 8\).*\(729, 500\)"),
    "seq_len": ({"seq_len": 2096}, r"position_embeddings\.weight: has shape \(24, 16\).*\(2096, 16\)"),
    "schedule": ({"noise_schedule": "magic"}, "magic.*sqrt"),
    "respacing": ({"timestep_respacing": "ddim299"}, "ddim299"),
    "type": ({"seq_len": "24"}, "seq_len is '24'"),
    "bool": ({"seq_len": True}, "seq_len is True"),
    "size": ({"diffusion_steps": -3}, "diffusion_steps is -3"),
    "huge": ({"hidden_dim": 10**12}, "hidden_dim"),
    "dropout": ({"dropout": 1.5}, "dropout is 1.5"),
    "aim": ({"predict_xstart": False}, "predict_xstart"),
    "vocabulary": ({"vocab_size": 30522}, "vocab_size is 30522"),
}


@pytest.mark.parametrize("what", SETTINGS_DAMAGE)
def test_settings_that_do_not_fit_are_refused(given: Path, what: str) -> None:
    changes, words = SETTINGS_DAMAGE[what]
    (given / "training_args.json").write_text(json.dumps(SETTINGS | changes))
    with pytest.raises(BadCheckpoint, match=words):
        run(given)


@pytest.mark.parametrize(("text", "words"), [("{", "JSON"), ("[1]", "no settings"), ("{}", "vocab_size is missing"), ("\xff", "JSON")])
def test_settings_that_cannot_be_read_are_refused(given: Path, text: str, words: str) -> None:
    (given / "training_args.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadCheckpoint, match=words):
        run(given)


def test_missing_files_and_other_files_are_refused(given: Path) -> None:
    with pytest.raises(BadCheckpoint, match="cannot be shared by 5 heads"):
        run(given, heads=5)
    torch.save({"state": {}, "param_groups": []}, given / "model_000010.pt")
    with pytest.raises(BadCheckpoint, match=r"opt_\*\.pt holds no weights"):
        run(given)
    torch.save([torch.zeros(2)], given / "model_000010.pt")
    with pytest.raises(BadCheckpoint, match="no named tensors"):
        run(given)
    torch.save(Path("x"), given / "model_000010.pt")  # a pickle of anything else
    with pytest.raises(BadCheckpoint, match="no file of weights"):
        run(given)
    (given / "model_000010.pt").unlink()
    with pytest.raises(BadCheckpoint, match="no such file"):
        run(given)
    (given / "training_args.json").unlink()
    with pytest.raises(BadCheckpoint, match="beside its weights"):
        run(given)


@pytest.mark.filterwarnings("ignore:TypedStorage")  # torch, while it words its refusal
def test_cut_and_corrupted_files_are_refused(given: Path) -> None:
    path = given / "model_000010.pt"
    whole = path.read_bytes()
    for size in (0, 1, 10, 1000, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(BadCheckpoint, match="damaged, cut short"):
            run(given)
    rng = np.random.default_rng(0)
    path.write_bytes(rng.bytes(5000))
    with pytest.raises(BadCheckpoint, match="damaged"):
        run(given)
    refused = 0
    for _ in range(60):  # one wrong byte in the part that names things
        spoiled = bytearray(whole)
        spoiled[int(rng.integers(0, 4000))] = int(rng.integers(0, 256))
        path.write_bytes(spoiled)
        try:
            read_weights(path)
        except BadCheckpoint:
            refused += 1
    assert refused > 5


def test_the_recorded_network_survives_the_way_over_disk(shared: Path, tmp_path: Path) -> None:
    """From the original's tensors to tokens, through a .pt file and a folder of ours."""
    golden = shared / "golden"
    torch.save(OrderedDict(load_file(golden / "net_a_state_dict.safetensors")), tmp_path / "model_000010.pt")
    settings = SETTINGS | {"seq_len": 64, "hidden_dim": 32, "hidden_t_dim": 16}
    (tmp_path / "training_args.json").write_text(json.dumps(settings))
    network = load(run(tmp_path))
    io = load_file(golden / "net_a_io.safetensors")
    found = network.logits(network(io["x"], io["timesteps"], None)).argmax(-1)
    assert float((found == io["argmax_tokens_mode1"]).float().mean()) > 0.95  # bfloat16 on disk
