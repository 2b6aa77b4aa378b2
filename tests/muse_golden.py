"""The recorded network of the original in our form, for several tests."""

from pathlib import Path

from safetensors.torch import load_file

from musediff.engines.muse.convert import IGNORED, TrainingArgs, to_network
from musediff.engines.muse.network import MuseNetwork

ARGS = TrainingArgs(vocab_size=729, seq_len=64, hidden_dim=32, hidden_t_dim=16, diffusion_steps=2000, noise_schedule="sqrt")
HEADS = 4


def original_network(shared: Path) -> MuseNetwork:
    """Two layers, with projections; frozen."""
    weights = load_file(shared / "golden" / "net_a_state_dict.safetensors")
    del weights[IGNORED]
    return to_network(weights, ARGS, "original", HEADS).requires_grad_(False)
