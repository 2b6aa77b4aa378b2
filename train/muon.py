"""Muon for many small matrices: those of one shape in one product."""

import math
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor


class TogetherMuon(torch.optim.Muon):
    """torch's Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), which starts 23 kernels for each matrix: 28 matrices
    took a sixth of a step on a GPU. The state is the same."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # ty: ignore[incompatible-method-override]
        assert closure is None
        for group in self.param_groups:
            assert group["nesterov"] and group["adjust_lr_fn"] is None
            params, grads, momenta = list[Tensor](), list[Tensor](), list[Tensor]()
            self._init_group(group, params, grads, momenta)
            if not params:
                continue
            torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
            ahead = torch._foreach_lerp(grads, momenta, group["momentum"])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            of_shape = defaultdict[torch.Size, list[int]](list)
            for i, param in enumerate(params):
                of_shape[param.shape].append(i)
            for (rows, columns), which in of_shape.items():
                steps_XRC = orthogonal(torch.stack([ahead[i] for i in which]), group["ns_coefficients"], group["ns_steps"], group["eps"])
                moved = steps_XRC.to(params[which[0]].dtype).unbind(0)
                torch._foreach_add_([params[i] for i in which], moved, alpha=-group["lr"] * math.sqrt(max(1, rows / columns)))


def orthogonal(matrix_XRC: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float) -> Tensor:
    """(X, R, C) nearly orthogonal matrices with the same row and column spaces, by Newton-Schulz iterations in bfloat16."""
    a, b, c = coefficients
    tall = matrix_XRC.shape[1] > matrix_XRC.shape[2]
    x = (matrix_XRC.transpose(1, 2) if tall else matrix_XRC).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=epsilon)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if tall else x
