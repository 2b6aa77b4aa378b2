"""Finding wrong notes: the network, shown a slightly noised clip, says what each token should be; who disagrees is suspected.

It was trained on damaged clips with the clean ones as aim (corruption, as the original does), so its guess is a repaired clip.
"""

import numpy as np
import torch

from musediff.engines.muse.canvas import Canvas
from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.process import q_sample
from musediff.engines.muse.schedule import Schedule
from musediff.tokens import commu
from musediff.tokens.grammar import FREE

DRAWS = 4  # noised copies whose opinions are averaged
READABLE = 0.998  # share of the tokens that the noise leaves readable; .9 to .998 find as many, but touch more of a clean clip
MOST = 0.4  # at sensitivity 1 a token is suspected that is less than this times as likely as the likeliest in its place


@torch.inference_mode()
def find_wrong(
    network: MuseNetwork, schedule: Schedule, prefix: torch.Tensor, canvas: Canvas, survival_T: np.ndarray, sensitivity: float
) -> np.ndarray:
    """(L,) open tokens that are much less likely, in the mean over some noised copies, than the likeliest in their place.

    ``sensitivity`` (0-1) says how much less: at the usual .5 a tenth.
    """
    t = max(0, int((survival_T >= READABLE).sum()) - 1)
    ids = torch.cat((prefix, torch.from_numpy(canvas.ids))).expand(DRAWS, -1)
    noised = torch.cat((torch.zeros(len(prefix), dtype=torch.bool), torch.from_numpy(canvas.fixed == FREE))).expand(DRAWS, -1)
    x0 = network.embed(ids)
    t_B = torch.full((DRAWS,), t)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))  # always the same: what is found does not depend on luck
    layout = torch.from_numpy(commu.layout(prefix.numpy(), canvas.ids)).expand(DRAWS, -1, -1) if network.config.layout else None
    guess = network(q_sample(x0, t_B, schedule, noise, noised), schedule.time(t_B), None, layout_BLC=layout)
    probability_LV = network.logits(guess[:, len(prefix) :]).softmax(-1).mean(0)
    ratio = probability_LV.gather(-1, ids[0, len(prefix) :, None]).squeeze(-1) / probability_LV.amax(-1)
    return ((ratio < MOST * sensitivity**2) & torch.from_numpy(canvas.fixed == FREE)).numpy()
