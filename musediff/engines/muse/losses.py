"""What the muse network is trained on, in parts: tokens as shown and as they should be, steps -> losses per clip.

``mse``: the predicted embeddings against the right ones. ``rounding``: cross-entropy of the tokens read from slightly
noised embeddings, which keeps the table's rows apart. ``nll``: the same read from the prediction, the anchor of Difformer
(Gao et al. 2022). ``tT``: what is left of the embeddings at the last step. Suffixes as in ``process``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.process import anchored, q_sample
from musediff.engines.muse.schedule import Schedule

Draw = Callable[[Tensor], Tensor]  # standard normal numbers in the shape of another tensor
SELF_CONDITIONED = 0.5  # share of the batches that are told a guess, if the network takes one (Chen et al. 2022)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens (B, L): what is shown (perhaps damaged), what is right, which are noised, and which are padding. ``layout_BLC``:
    where each stands, for a network that is told."""

    ids_BL: Tensor
    clean_BL: Tensor
    noised_BL: Tensor
    pad_BL: Tensor
    layout_BLC: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each part counts. The anchor is off, as in the original."""

    mse: float = 1.0
    rounding: float = 1.0
    anchor: float = 0.0
    prior: float = 1.0


@dataclass(frozen=True, slots=True)
class Losses:
    """Per clip (B,): ``loss`` is what is trained; ``mse``, ``nll`` and ``tT`` are means over its noised tokens without padding,
    ``rounding`` over all its tokens without padding."""

    loss_B: Tensor
    mse_B: Tensor
    nll_B: Tensor
    tT_B: Tensor
    rounding_B: Tensor
    tokens_B: Tensor  # noised tokens without padding

    def mean(self, weight_B: Tensor) -> Tensor:
        """The loss to step on: each token of the batch counts alike, but for the importance of its clip."""
        weight_B = weight_B.to(self.loss_B.device)
        return (self.loss_B * weight_B * self.tokens_B).sum() / self.tokens_B.sum().clamp(min=1)


def mean_over(x_BL: Tensor, where_BL: Tensor) -> Tensor:
    """(B,) means of the places that are True; 0 where none is."""
    return torch.where(where_BL, x_BL, 0).sum(-1) / where_BL.sum(-1).clamp(min=1)


def cross_entropy(network: MuseNetwork, x_BLD: Tensor, ids_BL: Tensor) -> Tensor:
    """(B, L) of the tokens that the head reads from embeddings."""
    logits_XV = network.logits(x_BLD).float().flatten(0, 1)  # classes last: nearly twice as fast on a CPU
    return F.cross_entropy(logits_XV, ids_BL.flatten(), reduction="none").view(ids_BL.shape)


def losses(
    network: MuseNetwork,
    schedule: Schedule,
    batch: Batch,
    t_B: Tensor,
    generator: torch.Generator,
    weights: LossWeights = LossWeights(),
) -> Losses:
    """Losses of a batch noised to steps ``t_B``; padding neither counts nor is looked at.

    The generator lives on the device of the tokens. What is shown is what sampling will show: given tokens clean, the others
    noised once. The aim is the table's row. (The original adds the first step's noise to all three; nothing can predict it in
    the aim, so its ``mse`` never falls below 0.0146 with the sqrt schedule.)
    """

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, device=like.device)

    real_BL = ~batch.pad_BL
    aimed_BL = batch.noised_BL & real_BL
    shown_BLD, clean_BLD = network.embed(batch.ids_BL), network.embed(batch.clean_BL)
    x_BLD = q_sample(shown_BLD, t_B, schedule, draw(shown_BLD), aimed_BL)
    time_B = schedule.time(t_B).to(x_BLD.device)
    x0_BLD = network(x_BLD, time_B, batch.pad_BL, first_guess(network, x_BLD, time_B, batch, generator), batch.layout_BLC)
    mse_B = mean_over((clean_BLD - x0_BLD).square().mean(-1), aimed_BL)
    with torch.set_grad_enabled(torch.is_grad_enabled() and weights.anchor > 0):
        nll_B = mean_over(cross_entropy(network, x0_BLD, batch.clean_BL), aimed_BL)
    soft_BLD = q_spread(shown_BLD, schedule, draw(shown_BLD))
    rounding_B = mean_over(cross_entropy(network, soft_BLD, batch.ids_BL), real_BL)
    tT_B = mean_over(float(schedule.alpha_bar_T[-1]) * shown_BLD.square().mean(-1), aimed_BL)
    loss_B = weights.mse * mse_B + weights.rounding * rounding_B + weights.anchor * nll_B + weights.prior * tT_B
    return Losses(loss_B, mse_B, nll_B.detach(), tT_B, rounding_B, aimed_BL.sum(-1))


def first_guess(network: MuseNetwork, x_BLD: Tensor, time_B: Tensor, batch: Batch, generator: torch.Generator) -> Tensor | None:
    """For half of the batches, what the network says without a guess."""
    if not network.config.self_conditioning:
        return None
    if float(torch.rand((), generator=generator, device=generator.device)) >= SELF_CONDITIONED:
        return None
    with torch.no_grad():
        return network(x_BLD, time_B, batch.pad_BL, None, batch.layout_BLC)


def q_spread(x_BLD: Tensor, schedule: Schedule, noise_BLD: Tensor) -> Tensor:
    """Embeddings with the noise of the first step added, unscaled: the sample of q(x0 | tokens) (Li et al. 2022, section 4.2)."""
    return x_BLD + float((1 - schedule.alpha_bar_T[0]).sqrt()) * noise_BLD


@dataclass(frozen=True, slots=True)
class OriginalLosses:
    """Per clip (B,). ``nll`` is logged by the original, not trained."""

    loss_B: Tensor
    mse_B: Tensor
    nll_B: Tensor


def original_losses(
    network: MuseNetwork, schedule: Schedule, ids_BL: Tensor, clean_BL: Tensor, noised_BL: Tensor, t_B: Tensor, draw: Draw
) -> OriginalLosses:
    """The original's objective: conditions and padding count like notes, nothing is masked in attention.

    Where nothing is damaged (``clean_BL is ids_BL``), one noise serves both the input and the aim.
    """
    shown_BLD, clean_BLD = network.embed(ids_BL), network.embed(clean_BL)
    soft_BLD = q_spread(shown_BLD, schedule, draw(shown_BLD))
    aim_BLD = soft_BLD if clean_BL is ids_BL else q_spread(clean_BLD, schedule, draw(clean_BLD))
    x_BLD = anchored(q_sample(soft_BLD, t_B, schedule, draw(soft_BLD)), soft_BLD, noised_BL)
    x0_BLD = network(x_BLD, schedule.time(t_B).to(x_BLD.device), None)
    exact_B = (t_B == 0).to(x_BLD.device)
    aim_BLD = torch.where(exact_B[:, None, None], clean_BLD, aim_BLD)
    mse_B = (aim_BLD - x0_BLD).square().mean((1, 2))
    rest_B = float(schedule.alpha_bar_T[-1]) * soft_BLD.square().mean((1, 2))
    loss_B = mse_B + cross_entropy(network, soft_BLD, ids_BL).mean(-1) + rest_B
    return OriginalLosses(loss_B, mse_B, mean_over(cross_entropy(network, x0_BLD, clean_BL), noised_BL))
