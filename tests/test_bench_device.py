"""The bench of one device runs where there is no GPU too, and names kernels by what they do."""

from dataclasses import asdict
from pathlib import Path

import pytest

from musediff import checkpoint
from musediff.engines.slots import vocab
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from train import bench_device


def test_it_tells_steps_and_clips(data: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    network = SlotsNetwork(NetworkConfig.tiny())
    checkpoint.save(tmp_path / "w", "slots", asdict(network.config), vocab.fingerprint(), network.state_dict(), {})
    arguments = ["slots-tiny", "--data", str(data), "--compile", "no", "--tokens", "300", "--seconds", "0.1", "--clips", "3"]
    monkeypatch.setattr("sys.argv", ["bench_device", *arguments, "--weights", str(tmp_path / "w")])
    bench_device.main()
    told = capsys.readouterr().out
    assert "slots-tiny, compile no" in told and "'tokens_per_s'" in told and told.count("3 at once") == 2


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("nvjet_sm90_tst_192x192_64x3_2x1_v_bz_coopB_TNN", "matrix products"),
        ("fmha_cutlassB_bf16_aligned_64x64_k64_sm80(PyTorchMemEffAttention::AttentionBackwardKernel)", "attention"),
        ("void at::native::(anonymous namespace)::compute_grad_weight_atomic_accumulate<float>", "gradients of embeddings"),
        ("triton_poi_fused_add_cat_mul_neg_slice_0", "compiled"),
        ("void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda>", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", "elementwise"),
    ],
)
def test_kernels_are_told_by_kind(name: str, what: str) -> None:
    assert bench_device.kind(name) == what
