"""Which steps a training batch is noised to: a batch size -> steps (B,) and the weights (B,) that keep the loss unbiased.

Suffixes: B batch, T steps, H history.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from musediff.errors import BadRequest

HISTORY = 10
UNIFORM_SHARE = 0.001

Rng = np.random.Generator | np.random.RandomState


class TimestepSampler(Protocol):
    """How training draws its steps."""

    def sample(self, batch: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        """Steps (int64) and weights (float32), the mean weight being 1 in expectation."""
        ...

    def update(self, t_B: np.ndarray, loss_B: np.ndarray) -> None:
        """Tell the unweighted losses of some steps; of all processes, if there are several."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What a resumed training needs."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``state``."""
        ...


class Fixed:
    """Steps drawn in proportion to fixed weights."""

    def __init__(self, weight_T: np.ndarray) -> None:
        self.weight_T = weight_T

    def sample(self, batch: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        return draw(self.weight_T, batch, rng)

    def update(self, t_B: np.ndarray, loss_B: np.ndarray) -> None:
        """Nothing is learned from losses."""

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        assert not state


class LossAware:
    """Steps in proportion to the root mean square of their last losses (Nichol and Dhariwal 2021, section 3.3)."""

    def __init__(self, steps: int) -> None:
        self.history_TH = np.zeros((steps, HISTORY))
        self.count_T = np.zeros(steps, np.int64)

    @property
    def weight_T(self) -> np.ndarray:
        """All 1 until every step has a full history."""
        if (self.count_T < HISTORY).any():
            return np.ones(len(self.count_T))
        weight_T = np.sqrt((self.history_TH**2).mean(-1))
        total = weight_T.sum()
        if total == 0:
            return np.ones(len(self.count_T))
        return weight_T / total * (1 - UNIFORM_SHARE) + UNIFORM_SHARE / len(weight_T)

    def sample(self, batch: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        return draw(self.weight_T, batch, rng)

    def update(self, t_B: np.ndarray, loss_B: np.ndarray) -> None:
        for t, loss in zip(t_B.tolist(), loss_B.tolist(), strict=True):
            if not np.isfinite(loss):  # one bad batch would make every later probability not a number
                continue
            if self.count_T[t] == HISTORY:
                self.history_TH[t, :-1] = self.history_TH[t, 1:]
                self.history_TH[t, -1] = loss
            else:
                self.history_TH[t, self.count_T[t]] = loss
                self.count_T[t] += 1

    def state(self) -> dict[str, np.ndarray]:
        return {"history": self.history_TH.copy(), "count": self.count_T.copy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        assert state["history"].shape == self.history_TH.shape
        self.history_TH, self.count_T = state["history"].copy(), state["count"].copy()


def draw(weight_T: np.ndarray, batch: int, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Steps in proportion to ``weight_T``, and importance weights 1 / (T p)."""
    share_T = weight_T / weight_T.sum()
    t_B = rng.choice(len(share_T), size=(batch,), p=share_T)
    return t_B.astype(np.int64), (1 / (len(share_T) * share_T[t_B])).astype(np.float32)


def make_sampler(name: str, steps: int) -> TimestepSampler:
    """ "lossaware", "uniform", or "fixstep" (the noisier half of the steps half as often).

    Raises:
        BadRequest: another name.
    """
    if name == "lossaware":
        return LossAware(steps)
    if name == "uniform":
        return Fixed(np.ones(steps))
    if name == "fixstep":
        return Fixed(np.where(np.arange(steps) < steps // 2, 1.0, 0.5))
    raise BadRequest(f"schedule sampler {name!r}: unknown. Choose lossaware, uniform or fixstep.")
