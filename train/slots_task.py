"""Training the slots engine: hidden and wrong fields of notes, numbers of notes per bar, and what follows in line, as often as is asked."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from musediff.data.store import Store
from musediff.engines.slots import vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.line import in_line
from musediff.engines.slots.losses import JUDGE_WEIGHT, HiddenCounts, count_loss, hide_counts, nats, note_losses, note_tokens, note_weights
from musediff.engines.slots.network import SlotsNetwork
from musediff.engines.slots.process import Noised, drop_conditions, noise
from train import line
from train.compiled import padded
from train.log import Window, collect
from train.recipes import SlotsRecipe
from train.slot_clips import SlotClips, with_more
from train.tasks import Drawn, Found, Objective

QUARTILES = 4
LINE = "line_"  # before the names of losses in line


class SlotsTask(SlotClips):
    """See ``tasks.Task``."""

    engine = "slots"
    partial = True

    def __init__(self, recipe: SlotsRecipe, store: Store, device: str) -> None:
        super().__init__(recipe, store, device)
        self.recipe = recipe

    def network(self) -> SlotsNetwork:
        return SlotsNetwork(self.recipe.network)

    def batch(self, rng: np.random.Generator) -> Slots:
        return self._fitted(self.drawn(rng))

    def objectives(self, step: int) -> Sequence[Objective]:
        notes = Objective(lambda slots, _, generator: _hide(_forget(slots, generator), generator), _notes)
        counts = Objective(lambda slots, _, generator: self._counts_of(_forget(slots, generator), generator), _counts)
        lines = Objective(self._lines_of, _lines)
        recipe, reads_lines = self.recipe, self.recipe.network.distances > 0
        due = (reads_lines, not reads_lines or step % recipe.notes_every == 0, step % recipe.count_every == 0)
        return [objective for objective, now in zip((lines, notes, counts), due, strict=True) if now]

    def _lines_of(self, slots: Slots, rng: np.random.Generator, generator: torch.Generator) -> Drawn:
        return line.lines_of(line.lengthened(slots) if self.padded else slots, rng, generator)

    def _counts_of(self, slots: Slots, generator: torch.Generator) -> Drawn:
        drawn = _hide_counts(slots, generator)
        drawn.batch.slots = self._fitted(drawn.batch.slots)  # notes were cut off
        return drawn

    def _fitted(self, slots: Slots) -> Slots:
        return lengthened(slots) if self.padded else slots

    @torch.no_grad()
    def evaluate(self, network: SlotsNetwork) -> dict[str, float]:
        """Besides the losses "nats", a bound of the negative log-likelihood in nats per note, counts included, see ``losses.nats``;
        "line_…" those of what follows in line, the likelihood itself."""
        generator = torch.Generator(self.device).manual_seed(0)
        window: Window = {}
        for slots in self.held_out_batches():
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                notes = _notes(network, _hide(slots, generator).batch, generator)
                parts = notes.named | _counts(network, _hide_counts(slots, generator).batch, generator).named
                parts |= {"nats": float(nats(network, slots, generator).sum() / (~slots.pad_BN).sum())}
                if network.config.distances:
                    parts |= _lines(network, in_line(slots), generator).named
            collect(window, parts)
        means = {name: sum(values) / len(values) for name, values in window.items()}
        weights = dict.fromkeys((*vocab.FIELDS, "count"), 1) | {"judge": JUDGE_WEIGHT}
        weights |= {name: 1 for name in means if name.startswith(LINE)}
        return means | {"loss": sum(weight * means[name] for name, weight in weights.items())}


def lengths(slots: Slots) -> Tensor:
    """(B,) tokens that the network sees, without padding."""
    notes_B, bars_B, tracks_B = ((~pad).sum(1) for pad in (slots.pad_BN, slots.pad_BR, slots.pad_BK))
    return slots.shared_BF.shape[1] + tracks_B + bars_B + bars_B * tracks_B + notes_B


def lengthened(slots: Slots) -> Slots:
    """The same with more padded notes, so that its tokens are as many as those of others."""
    _, bars, tracks = slots.counts_BRK.shape
    notes = slots.pad_BN.shape[1]
    length = slots.shared_BF.shape[1] + tracks + bars + bars * tracks + notes
    return with_more(slots, padded(length) - length)


def _forget(slots: Slots, generator: torch.Generator) -> Slots:
    drop_conditions(slots, generator)
    return slots


def _hide(slots: Slots, generator: torch.Generator) -> Drawn:
    noised = noise(slots, generator)
    weight_BNF = note_weights(noised, generator)
    return Drawn((noised, weight_BNF), note_tokens(noised, weight_BNF), lengths(noised.slots))


def _notes(network: SlotsNetwork, batch: tuple[Noised, Tensor], generator: torch.Generator) -> Found:
    """For the log also the loss of a hidden field by the share of its clip's fields that are hidden, in quarters."""
    found = note_losses(network, *batch)
    noised, _ = batch
    there_B, hidden_B = 4 * (~noised.slots.pad_BN).sum(1), noised.hidden_BNF.sum((1, 2))
    quarter_B = (QUARTILES * hidden_B // there_B.clamp(min=1)).clamp(max=QUARTILES - 1)
    sums, numbers = (torch.zeros(QUARTILES, device=x.device).index_add_(0, quarter_B, x.float()) for x in (found.hidden_B, hidden_B))
    told = torch.cat((torch.stack((*found.hidden, found.judge)), sums / numbers)).tolist()  # a GPU is waited for once
    names = (*vocab.FIELDS, "judge", *(f"hidden_q{quarter}" for quarter in range(QUARTILES)))
    return Found(found.parts, {name: value for name, value in zip(names, told, strict=True) if not math.isnan(value)})


def _lines(network: SlotsNetwork, batch: Slots, generator: torch.Generator) -> Found:
    found = line.losses(network, batch, generator)
    return found._replace(named={LINE + name: value for name, value in found.named.items()})


def _hide_counts(slots: Slots, generator: torch.Generator) -> Drawn:
    hidden = hide_counts(slots, generator)
    return Drawn(hidden, hidden.hidden_BRK.sum()[None], lengths(hidden.slots))


def _counts(network: SlotsNetwork, hidden: HiddenCounts, generator: torch.Generator) -> Found:
    loss = count_loss(network, hidden)
    return Found(loss[None], {"count": float(loss.detach() / hidden.hidden_BRK.sum().clamp(min=1))})
