"""Finding wrong notes: the network, shown a slightly noised clip, says what each token should be; who disagrees is suspected.

It was trained on damaged clips with the clean ones as aim (corruption, as the original does), so its guess is a repaired clip.
"""

import numpy as np
import torch

from musediff.engines.muse.canvas import Canvas
from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.process import q_sample
from musediff.engines.muse.schedule import Schedule
from musediff.tokens.grammar import FREE

DRAWS = 4  # noised copies whose opinions are averaged
READABLE = 0.98  # share of the tokens that the noise leaves readable


@torch.inference_mode()
def find_wrong(
    network: MuseNetwork, schedule: Schedule, prefix: torch.Tensor, canvas: Canvas, survival_T: np.ndarray, sensitivity: float
) -> np.ndarray:
    """(L,) open tokens whose probability, in the mean over some noised copies, is below ``sensitivity`` (0-1)."""
    t = max(0, int((survival_T >= READABLE).sum()) - 1)
    ids = torch.cat((prefix, torch.from_numpy(canvas.ids))).expand(DRAWS, -1)
    noised = torch.cat((torch.zeros(len(prefix), dtype=torch.bool), torch.from_numpy(canvas.fixed == FREE))).expand(DRAWS, -1)
    x0 = network.embed(ids)
    t_B = torch.full((DRAWS,), t)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))  # always the same: what is found does not depend on luck
    guess = network(q_sample(x0, t_B, schedule, noise, noised), schedule.time(t_B), None)
    probability = network.logits(guess).softmax(-1).gather(-1, ids[..., None]).squeeze(-1).mean(0)
    return ((probability[len(prefix) :] < sensitivity) & torch.from_numpy(canvas.fixed == FREE)).numpy()
