"""Muon for matrices of one shape together against torch's own."""

import torch

from train.muon import TogetherMuon


def test_matrices_of_one_shape_move_together_as_each_does_alone() -> None:
    torch.manual_seed(0)
    shapes = ((24, 8), (8, 24), (24, 8), (8, 8), (8, 24))
    start = [torch.randn(shape) for shape in shapes]
    optimisers = []
    for kind in (torch.optim.Muon, TogetherMuon):
        params = [torch.nn.Parameter(matrix.clone()) for matrix in start]
        optimisers.append((params, kind(params, lr=0.02, weight_decay=0.1, momentum=0.95)))
    for step in range(4):
        grads = [torch.randn(shape) for shape in shapes]
        for params, optimiser in optimisers:
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad.clone() if step != 1 or param.shape != (8, 8) else None  # a step may leave parts of a network out
            optimiser.step()
    for one, other, before in zip(optimisers[0][0], optimisers[1][0], start, strict=True):
        moved = (one - before).norm()
        assert moved > 0.05 and (one - other).norm() < 0.02 * moved  # iterations in bfloat16
    states = [optimiser.state_dict()["state"] for _, optimiser in optimisers]
    assert all(torch.allclose(states[0][i]["momentum_buffer"], states[1][i]["momentum_buffer"], atol=1e-6) for i in range(len(shapes)))
    optimisers[1][1].load_state_dict(optimisers[0][1].state_dict())  # runs go on from states that torch's own wrote
    before = [param.detach().clone() for param in optimisers[1][0]]
    optimisers[1][1].step()
    assert all((param - old).norm() > 0.01 for param, old in zip(optimisers[1][0], before, strict=True))
