"""The denoiser against the recording of the original, against a second writing of its equations, and its options."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from musediff.chords import chord_id
from musediff.engines.muse.convert import IGNORED, to_network
from musediff.engines.muse.network import MuseConfig, MuseNetwork, attention, chord_features, time_code
from musediff.errors import BadRequest
from musediff.tokens.commu import CHORD_PLACES, LAYOUT_SIZES
from musediff.tokens.vocab import CHORD, SIZE, chord_token
from tests.muse_golden import ARGS, HEADS, original_network


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "golden" / "net_a_io.safetensors")


@pytest.fixture(scope="module")
def original(shared: Path) -> MuseNetwork:
    return original_network(shared)


def close(found: Tensor, recorded: Tensor, atol: float = 1e-5) -> bool:
    return torch.allclose(found, recorded, rtol=1e-5, atol=atol)


def test_embeddings_and_times_as_recorded(original: MuseNetwork, golden: dict[str, Tensor]) -> None:
    assert close(original.embed(golden["input_ids"]), golden["embeds"])
    assert close(time_code(golden["timesteps"], 16), golden["timestep_embedding"])
    assert close(time_code(golden["timesteps2"], 16), golden["timestep_embedding2"])
    for width in (128, 15):
        times = torch.tensor([0, 0.5, 1, 250, 999.5])
        # Angles up to 1,000 are exact to 6e-5 in float32, and how they are rounded differs between processors.
        assert close(time_code(times, width), golden[f"timestep_embedding_dim{width}"], atol=6.2e-5)
    assert close(original.embed_time(golden["timesteps"]), golden["time_embed"])


def test_forward_as_recorded(original: MuseNetwork, golden: dict[str, Tensor]) -> None:
    x, times = golden["x"], golden["timesteps"]
    assert close(original(x, times, None), golden["forward"])
    assert close(original(x, golden["timesteps2"], None), golden["forward2"])
    assert close(original(golden["embeds"], times, None), golden["forward_on_embeds"])
    assert close(original(x[:, :17], times, None), golden["forward_L17"])


def test_logits_as_recorded(original: MuseNetwork, golden: dict[str, Tensor]) -> None:
    assert close(original.logits(golden["forward"], 1), golden["logits_mode1"])
    assert close(original.logits(golden["forward"], 2), golden["logits_mode2"])
    assert torch.equal(original.logits(golden["forward"]).argmax(-1), golden["argmax_tokens_mode1"])


def bert(weights: dict[str, Tensor], x: Tensor, times: Tensor, layers: int, heads: int) -> Tensor:
    """The original's equations on its own names: the second opinion where nothing is recorded."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + 1e-12).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    width = weights["time_embed.0.weight"].shape[1]
    time = linear("time_embed.2", F.silu(linear("time_embed.0", time_code(times, width))))
    if "input_up_proj.0.weight" in weights:
        x = linear("input_up_proj.2", linear("input_up_proj.0", x).tanh())
    x = norm("LayerNorm", x + weights["position_embeddings.weight"][: x.shape[1]] + time[:, None])
    for i in range(layers):
        at = f"input_transformers.layer.{i}"
        q, k, v = (linear(f"{at}.attention.self.{n}", x).unflatten(-1, (heads, -1)) for n in ("query", "key", "value"))
        share = (torch.einsum("bqhe,bkhe->bhqk", q, k) / q.shape[-1] ** 0.5).softmax(-1)
        mixed = linear(f"{at}.attention.output.dense", torch.einsum("bhqk,bkhe->bqhe", share, v).flatten(2))
        x = norm(f"{at}.attention.output.LayerNorm", x + mixed)
        inner = linear(f"{at}.intermediate.dense", x)
        inner = inner * (1 + torch.erf(inner / 2**0.5)) / 2
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", inner))
    return linear("output_down_proj.2", linear("output_down_proj.0", x).tanh()) if "output_down_proj.0.weight" in weights else x


def test_the_second_writing_agrees_with_the_recording(shared: Path, golden: dict[str, Tensor]) -> None:
    weights = load_file(shared / "golden" / "net_a_state_dict.safetensors")
    assert close(bert(weights, golden["x"], golden["timesteps"], 2, HEADS), golden["forward"])


def test_without_projections_and_with_other_numbers_of_layers(shared: Path) -> None:
    """Where the embedding is as wide as the transformer the original has no projections."""
    weights = load_file(shared / "golden" / "net_a_state_dict.safetensors")
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(729, 64, generator=generator)
    narrow = {k: v for k, v in weights.items() if "proj" not in k and k != IGNORED}
    narrow |= {"word_embedding.weight": table, "lm_head.weight": table}
    x, times = torch.randn(2, 11, 64, generator=generator), torch.tensor([3.5, 700])
    for layers in (1, 2, 3):
        layered = {k: v for k, v in narrow.items() if "layer." not in k}
        for i in range(layers):
            source = f"input_transformers.layer.{i % 2}."
            layered |= {k.replace(source, f"input_transformers.layer.{i}."): v for k, v in narrow.items() if k.startswith(source)}
        network = to_network(layered, replace(ARGS, hidden_dim=64), "original", HEADS)
        assert network.up is None and network.down is None and network.config.layers == layers
        assert close(network(x, times, None), bert(layered, x, times, layers, HEADS))


def tiny(**options: bool) -> MuseNetwork:
    torch.manual_seed(0)
    return MuseNetwork(replace(MuseConfig.tiny(), **options)).eval()


def inputs(network: MuseNetwork) -> tuple[Tensor, Tensor]:
    ids = torch.randint(network.config.vocab_size, (2, 12), generator=torch.Generator().manual_seed(1))
    return network.embed(ids).detach(), torch.tensor([10.0, 800.0])


@torch.no_grad()
def test_padding_changes_nothing_for_the_others() -> None:
    network = tiny()
    x, times = inputs(network)
    pad = torch.zeros(2, 12, dtype=torch.bool)
    pad[:, 9:] = True
    alone = network(x[:, :9], times, None)
    assert torch.allclose(network(x, times, pad)[:, :9], alone, atol=1e-6)
    assert not torch.allclose(network(x, times, None)[:, :9], alone, atol=1e-4)


@torch.no_grad()
def test_bfloat16_takes_and_gives_float32() -> None:
    network = tiny(self_conditioning=True)
    x, times = inputs(network)
    exact = network(x, times, None)
    found = network.to(torch.bfloat16)(x, times, None)
    assert found.dtype == network.embed(torch.tensor([[1]])).dtype == network.logits(found).dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 0.02


def test_attention_for_training_equals_the_fused_one() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 9, 8, generator=generator).unbind(0)
    attend = torch.rand(2, 1, 1, 9, generator=generator) < 0.7
    attend[..., 0] = True
    for mask in (None, attend):
        fused = attention(q, k, v, mask, 0.0)
        assert torch.allclose(attention(q.clone().requires_grad_(), k, v, mask, 0.0), fused, atol=1e-6)


def test_normalised_embeddings_keep_their_norm() -> None:
    network = tiny(normalise=True)
    with torch.no_grad():
        network.token.weight.mul_(37).add_(3)
    table = network.table_VD
    assert torch.allclose(table.norm(dim=-1), torch.tensor(16.0**0.5).expand(SIZE), rtol=1e-3)
    assert torch.equal(network.embed(torch.tensor([[5, 7]]))[0], table[[5, 7]])
    network.embed(torch.arange(SIZE)[None]).square().sum().backward()
    assert float(network.token.weight.grad.abs().max()) < 1e-3  # growing a row cannot change its norm


@torch.no_grad()
def test_a_guess_matters_only_with_self_conditioning() -> None:
    network = tiny(self_conditioning=True)
    x, times = inputs(network)
    assert torch.equal(network(x, times, None), network(x, times, None, torch.zeros_like(x)))
    assert not torch.allclose(network(x, times, None), network(x, times, None, x), atol=1e-3)
    plain = tiny()
    assert torch.equal(plain(x, times, None), plain(x, times, None, x))


def test_every_weight_learns() -> None:
    network = tiny(self_conditioning=True, tied=False).train()
    x, times = inputs(network)
    ids = torch.zeros(2, 12, dtype=torch.long)
    out = network(network.embed(ids) + x, times, torch.zeros(2, 12, dtype=torch.bool), x)
    (out.square().mean() + network.logits(out).square().mean()).backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


def test_heads_must_share_the_width() -> None:
    with pytest.raises(BadRequest, match="multiple"):
        replace(MuseConfig.tiny(), heads=5)


@torch.no_grad()
def test_a_network_that_is_told_the_layout_uses_it() -> None:
    torch.manual_seed(0)
    network = MuseNetwork(MuseConfig.tiny(layout=True)).eval()
    x, time = torch.randn(1, 6, 16), torch.tensor([500.0])
    here = torch.zeros(1, 6, len(LAYOUT_SIZES), dtype=torch.long)
    for number in range(len(LAYOUT_SIZES)):
        there = here.clone()
        there[0, 3, number] = 1
        assert not torch.allclose(network(x, time, None, layout_BLC=here), network(x, time, None, layout_BLC=there)), number
    with pytest.raises(AssertionError):
        network(x, time, None)
    assert network.position.weight.std().item() == pytest.approx(network.places[0].weight.std().item(), rel=0.2)


def test_chord_tables_begin_alike_where_chords_are_alike() -> None:
    features = chord_features()
    row = lambda name: features[chord_token(chord_id(name)) - CHORD + 1]  # noqa: E731
    assert row("C")[[0, 4, 7]].tolist() == [1, 1, 1] and row("C").sum() == 4 and row("C")[12 + 0] == 1
    assert (row("C") - row("Cm")).nonzero().ravel().tolist() == [3, 4]
    assert not row("N.C.").any() and not features[0].any()
    torch.manual_seed(0)
    tables = MuseNetwork(MuseConfig.tiny(layout=True)).places[-CHORD_PLACES:]
    near, far = (chord_token(chord_id(name)) - CHORD + 1 for name in ("Cm", "F#"))
    start = chord_token(chord_id("C")) - CHORD + 1
    for table in tables:
        distance = lambda other, rows=table.weight: float((rows[start] - rows[other]).detach().norm())  # noqa: E731
        assert distance(near) < distance(far)
    assert not torch.equal(tables[0].weight, tables[1].weight)
