"""What the steps of an interval took -> tokens per second, the share of waiting, the share of what the hardware could do."""

import time

import torch
from torch import Tensor, nn

from train.ranks import Ranks

PEAK_SECONDS = 0.2  # of measuring
PEAK_SIZES = {"cpu": 1024, "cuda": 8192}  # of the square matrices; a GPU is not full with smaller ones


class Pace:
    """Of all ranks together. Tokens and operations are those of the clips without padding, so that padding counts as loss.

    A token costs 6 operations for each weight of a matrix (2 forward, 4 backward), and for the tokens of its clip 12 for each
    layer and number of its width (two products of attention). Embeddings, norms and softmax are not counted.
    """

    def __init__(self, network: nn.Module, device: str, ranks: Ranks) -> None:
        self.ranks = ranks
        self.per_token, self.per_pair = operations(network)
        self.peak = float(ranks.sum(torch.tensor([measured_peak(torch.device(device))])))
        self._sums = torch.zeros(2, device=device)  # tokens, and pairs of tokens of a clip
        self._seconds, self._waited, self._begun = 0.0, 0.0, 0.0

    def begin(self) -> None:
        """A step begins."""
        self._begun = time.perf_counter()

    def count(self, lengths_B: Tensor) -> None:
        """Clips go through the network."""
        lengths_B = lengths_B.to(self._sums)
        self._sums += torch.stack((lengths_B.sum(), lengths_B.square().sum()))

    def end(self) -> None:
        """The step is done, on the device too."""
        self._seconds += time.perf_counter() - self._begun

    def line(self, waited: float) -> dict[str, float]:
        """Figures of the steps since the last line. ``waited``: seconds for data since the start of the run, on this rank."""
        mine = torch.tensor([*self._sums.tolist(), self._seconds, waited - self._waited], dtype=torch.float64)
        tokens, pairs, seconds, waiting = self.ranks.sum(mine).tolist()
        self._sums.zero_()
        self._seconds, self._waited = 0.0, waited
        rate = (self.per_token * tokens + self.per_pair * pairs) * self.ranks.size / seconds
        return {
            "tokens_per_s": round(tokens * self.ranks.size / seconds),
            "waiting": round(waiting / seconds, 3),
            "of_peak": round(rate / self.peak, 3),
        }


def operations(network: nn.Module) -> tuple[float, float]:
    """Floating-point operations of one step for each token, and for each pair of tokens of a clip."""
    weights = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Linear))
    config = getattr(network, "config", None)
    return 6.0 * weights, 12.0 * config.layers * config.width if config else 0.0


def measured_peak(device: torch.device) -> float:
    """Operations per second of bfloat16 matrix products here and now, with the threads that there are."""
    size = PEAK_SIZES.get(device.type, 2048)
    a, b = (torch.ones(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    at_once = 20 if device.type == "cuda" else 1
    _multiply(a, b, 1)
    start, times, spent = time.perf_counter(), 0, 0.0
    while not times or spent < PEAK_SECONDS:
        _multiply(a, b, at_once)
        times, spent = times + at_once, time.perf_counter() - start
    return 2.0 * size**3 * times / spent


def _multiply(a: Tensor, b: Tensor, times: int) -> None:
    for _ in range(times):
        product = a @ b
    product[0, 0].item()  # waits for the device
