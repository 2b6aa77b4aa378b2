"""Parameters that each rank holds a part of (FSDP2), and whole tensors for what is written, evaluated and read back."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def share_out(training: nn.Module, blocks: nn.ModuleList, size: int) -> None:
    """In place: every block is gathered for itself when it is needed, the rest for the whole step."""
    mesh = init_device_mesh(next(training.parameters()).device.type, (size,))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(training, mesh=mesh)


@contextmanager
def gathering(module: FSDPModule) -> Generator[None, None, None]:
    """Around forward and backward: gradients gather on each rank."""
    module.set_requires_gradient_sync(False)
    yield
    module.set_requires_gradient_sync(True)


def whole(tree: Any) -> Any:
    """The same with whole tensors. All ranks call it together; without parts it is as it was."""
    if isinstance(tree, Mapping):
        return {name: whole(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [whole(value) for value in tree]
    return tree.full_tensor() if isinstance(tree, DTensor) else tree


def own(tensor: Tensor) -> Tensor:
    """What this rank holds of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def as_held(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, that each rank has, as another one is held. What is no value of a parameter (a count of steps) stays."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def optimiser_as_held(saved: Mapping[str, Any], opt: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser, whole, as its parameters are held; rates, decay and so on stay those of ``opt``."""
    params = [param for group in opt.param_groups for param in group["params"]]
    state = {
        place: {name: as_held(value, params[place]) if isinstance(value, Tensor) else value for name, value in entry.items()}
        for place, entry in saved["state"].items()
    }
    return {"state": state, "param_groups": opt.state_dict()["param_groups"]}
