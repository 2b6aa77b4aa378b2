"""Training the muse engine: clean embeddings out of noised ones, at steps drawn where the loss is large."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from musediff.data.store import TRAIN, VALID, Store
from musediff.engines.clip_rows import Batches, cut
from musediff.engines.muse.dataset import TokenSource, collate
from musediff.engines.muse.losses import Batch, Losses, losses
from musediff.engines.muse.network import MuseNetwork
from musediff.engines.muse.timesteps import make_sampler
from musediff.tokens import vocab
from train.compiled import compiling, padded
from train.recipes import MuseRecipe
from train.tasks import Drawn, Found, Objective

HELD_OUT_CLIPS = 384
QUARTILES = 4
POOL = 768


@dataclass(frozen=True, slots=True)
class Noising:
    """A batch, the steps (B,) that it is noised to, and what each clip counts for having been drawn so often."""

    batch: Batch
    t_B: np.ndarray
    weight_B: np.ndarray


class MuseTask:
    """See ``tasks.Task``."""

    engine = "muse"
    partial = False

    def __init__(self, recipe: MuseRecipe, store: Store, device: str) -> None:
        self.recipe, self.device = recipe, device
        self.source, self.held_out = (
            TokenSource(store, split, recipe.network.seq_len, recipe.corpus_weight, recipe.damaged, recipe.spoiling)
            for split in (TRAIN, VALID)
        )
        self.batches = Batches(self.source.draw, recipe.tokens, pool=max(POOL, recipe.tokens // 10))  # twenty batches and more
        self.schedule = recipe.schedule.build()
        self.padded = compiling(recipe.compile, device)
        self.steps = make_sampler(recipe.schedule_sampler, self.schedule.steps)
        self.fingerprint = vocab.fingerprint()
        self.about: Mapping[str, Any] = {"schedule": asdict(recipe.schedule), "readable": recipe.weights.anchor > 0}

    def describe(self) -> str:
        left, share = self.source.left_out, self.source.left_out_share
        kept = f"{len(self.source.clips.rows)} clips, {len(self.held_out.clips.rows)} held out"
        return f"{kept}; {left} of more than {self.recipe.network.seq_len} tokens left out ({share:.1%} of what would be drawn)"

    def network(self) -> MuseNetwork:
        return MuseNetwork(self.recipe.network)

    def batch(self, rng: np.random.Generator) -> Batch:
        batch = collate(self.batches.next(rng), self.device)
        return lengthened(batch, padded(batch.ids_BL.shape[1], self.recipe.network.seq_len)) if self.padded else batch

    def objectives(self, step: int) -> Sequence[Objective]:
        return (Objective(self._noise, self._denoise),)

    def _noise(self, batch: Batch, rng: np.random.Generator, generator: torch.Generator) -> Drawn:
        noising = Noising(batch, *self.steps.sample(len(batch.ids_BL), rng))
        real_BL = ~noising.batch.pad_BL
        return Drawn(noising, (noising.batch.noised_BL & real_BL).sum()[None], real_BL.sum(1))

    def _denoise(self, network: MuseNetwork, noising: Noising, generator: torch.Generator) -> Found:
        t_B = torch.from_numpy(noising.t_B)
        found = losses(network, self.schedule, noising.batch, t_B, generator, self.recipe.weights)
        parts = _parts(found)
        means = {name: float(values_B.mean()) for name, values_B in parts.items()}
        named = means | self._by_quartile("loss", noising.t_B, parts["loss"])
        total = found.mean(torch.from_numpy(noising.weight_B)) * found.tokens_B.sum()
        return Found(total[None], named, np.stack((noising.t_B, parts["loss"]), 1))

    def learn(self, told: np.ndarray) -> None:
        self.steps.update(told[:, 0].astype(np.int64), told[:, 1])

    def _by_quartile(self, name: str, t_B: np.ndarray, values_B: np.ndarray) -> dict[str, float]:
        """Means over the quarters of the steps, of those quarters that have any."""
        quarter_B = t_B * QUARTILES // self.schedule.steps
        return {f"{name}_q{q}": float(values_B[quarter_B == q].mean()) for q in range(QUARTILES) if (quarter_B == q).any()}

    @torch.no_grad()
    def evaluate(self, network: MuseNetwork) -> dict[str, float]:
        """Steps lie evenly. Their quarters are told of clips without damage; the damaged ones have a number of their own."""
        rng, generator = np.random.default_rng(0), torch.Generator(self.device).manual_seed(0)
        clips = sorted(self.held_out.draw_plain(rng, HELD_OUT_CLIPS), key=lambda clip: clip.length)
        t_C = (2 * rng.permutation(len(clips)) + 1) * self.schedule.steps // (2 * len(clips))
        parts, start = [], 0
        for batch in cut(clips, self.recipe.tokens):
            t_B = torch.from_numpy(t_C[start : start + len(batch)])
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                parts.append(_parts(losses(network, self.schedule, collate(batch, self.device), t_B, generator, self.recipe.weights)))
            start += len(batch)
        of_clips = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        damaged_C = np.array([clip.damaged for clip in clips])
        found = {name: float(values_C.mean()) for name, values_C in of_clips.items()}
        for name in ("loss", "nll"):
            found |= self._by_quartile(name, t_C[~damaged_C], of_clips[name][~damaged_C])
        return found | ({"nll_damaged": float(of_clips["nll"][damaged_C].mean())} if damaged_C.any() else {})

    def state(self) -> dict[str, Any]:
        return {"steps": {name: torch.from_numpy(values) for name, values in self.steps.state().items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps.restore({name: values.cpu().numpy() for name, values in state["steps"].items()})

    def place(self) -> dict[str, Any]:
        return {"batches": self.batches.state()}

    def go_to(self, place: Mapping[str, Any]) -> None:
        self.batches.restore(place["batches"])


def lengthened(batch: Batch, length: int) -> Batch:
    """The same with more padding."""
    more = length - batch.ids_BL.shape[1]
    ids_BL, clean_BL = (F.pad(tokens_BL, (0, more), value=vocab.PAD) for tokens_BL in (batch.ids_BL, batch.clean_BL))
    noised_BL, pad_BL = F.pad(batch.noised_BL, (0, more)), F.pad(batch.pad_BL, (0, more), value=True)
    return Batch(ids_BL, clean_BL, noised_BL, pad_BL, None if batch.layout_BLC is None else F.pad(batch.layout_BLC, (0, 0, 0, more)))


def _parts(found: Losses) -> dict[str, np.ndarray]:
    """(B,) of each part for the log."""
    parts = {"loss": found.loss_B, "mse": found.mse_B, "nll": found.nll_B, "rounding": found.rounding_B}
    values = torch.stack([values_B.detach().float() for values_B in parts.values()]).cpu().numpy()  # a GPU is waited for once
    return dict(zip(parts, values, strict=True))
