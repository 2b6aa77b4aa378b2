"""Looking up classes in tables, and rows in what was worked out of a clip. Suffixes: B batch, X any set, R rows, D width, C classes.

On a GPU both are products with ones and zeros: the gradient of a table that is looked up sorts the classes, in ten kernels or more for each
of twenty tables, and to start them took longer than to run them. Under autocast rows and their sum are
rounded to bfloat16.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Asked = tuple[nn.Embedding, Tensor]  # a table and classes (X)
ALIGNED = 8  # numbers of 16 bits that a matrix product on a GPU takes at once


def on_cpu(tensor: Tensor) -> bool:
    """Whether the plain way is the quick one."""
    return tensor.device.type == "cpu"


def tables_of(modules: nn.ModuleList) -> list[nn.Embedding]:
    """The same, as what they are."""
    return [module for module in modules if isinstance(module, nn.Embedding)]


def summed(asked: Sequence[Asked]) -> Tensor:
    """(X, D) the sum of what tables say, each of its own classes."""
    (first, classes_X), *others = asked
    if on_cpu(classes_X):
        found_XD = first(classes_X)
        for table, classes_X in others:
            found_XD = found_XD + table(classes_X)
        return found_XD
    return summed_by_product(asked)


def summed_by_product(asked: Sequence[Asked]) -> Tensor:
    """``summed``, as one product."""
    (first, classes_X), *_ = asked
    *starts, size = accumulate((table.num_embeddings for table, _ in asked), initial=0)
    columns_XT = torch.stack([classes_X + start for start, (_, classes_X) in zip(starts, asked, strict=True)], -1)
    ones_XC = torch.zeros(*classes_X.shape, size + -size % ALIGNED, dtype=_dtype(first.weight), device=classes_X.device)
    table_CD = F.pad(torch.cat([table.weight for table, _ in asked]), (0, 0, 0, -size % ALIGNED))
    return ones_XC.scatter_(-1, columns_XT, 1.0) @ table_CD


def picked(rows_BRD: Tensor, which_BX: Tensor) -> Tensor:
    """(B, X, D) of each clip the rows with these numbers."""
    if on_cpu(which_BX):
        return rows_BRD[torch.arange(len(rows_BRD))[:, None], which_BX]
    return picked_by_product(rows_BRD, which_BX)


def picked_by_product(rows_BRD: Tensor, which_BX: Tensor) -> Tensor:
    """``picked``, as a product."""
    ones_BXR = which_BX[..., None] == torch.arange(rows_BRD.shape[1], device=which_BX.device)
    return ones_BXR.to(_dtype(rows_BRD)) @ rows_BRD


def _dtype(of: Tensor) -> torch.dtype:
    """Of products with it."""
    kind = of.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else of.dtype
