"""The slots engine: masked discrete diffusion over note slots, behind the interface of ``engines.base``."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from musediff import checkpoint
from musediff.clip import Clip
from musediff.engines.base import Request
from musediff.engines.calibration import UNCHANGED, Calibration, own_strength, read
from musediff.engines.slots import composing, layout, vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.codec import Encoded
from musediff.engines.slots.composing import Composing, drawing_on
from musediff.engines.slots.constraints import allowed
from musediff.engines.slots.network import NetworkConfig, SlotsNetwork
from musediff.engines.slots.repair import find_wrong
from musediff.engines.slots.sampler import DENSITY_LOGIT, FieldSampler, Noise, denoise, sample_counts
from musediff.errors import BadRequest

IN_ORDER, ANY_ORDER = SAMPLERS = ("in-order", "any-order")  # how notes of new tracks are revealed
DRAFTS = 8  # of each new clip
REPAIR_TEMPERATURE = 0.63  # engines.md 7: refilling found mistakes; closer to the likeliest note than composing


@dataclass(slots=True)
class SlotsState:
    """A job under way. ``rows`` are fixed once the counts are drawn; ``slots`` and ``noise`` move on with each step."""

    request: Request
    generator: torch.Generator
    tracks: list[Encoded]
    rows: list[layout.Row]
    redrawn: list[np.ndarray]  # per variant (R, K): bars whose number of notes is drawn anew
    total: int
    step: int = 0
    slots: Slots | None = None
    noise: Noise | None = None


class SlotsEngine:
    """Generates, modifies, infills and repairs clips of up to ``vocab.MAX_TRACKS`` tracks."""

    name = "slots"
    usual_steps = 16

    def __init__(self, network: SlotsNetwork, calibration: Calibration = UNCHANGED) -> None:
        self.network = network.eval().requires_grad_(False)
        self.calibration = calibration

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.bfloat16) -> "SlotsEngine":
        """Weights from a checkpoint folder.

        Raises:
            BadCheckpoint: see ``checkpoint``; or the network's settings are not ours.
        """
        config = checkpoint.read_config_of(folder, cls.name)
        network = checkpoint.load_network(folder, config, vocab.fingerprint(), lambda settings: SlotsNetwork(NetworkConfig(**settings)))
        return cls(network.to(dtype), read(config, folder))

    @classmethod
    def tiny(cls) -> "SlotsEngine":
        """Random weights, for tests: every clip is legal, none is music."""
        torch.manual_seed(0)
        return cls(SlotsNetwork(NetworkConfig.tiny()))

    @property
    def stepped(self) -> str | None:
        return ANY_ORDER if self.network.config.distances else None

    def usual_drafts(self, sampler: str | None) -> int:
        return DRAFTS if self.network.critic and self.network.config.distances and sampler != ANY_ORDER else 1

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    def check(self, request: Request) -> None:
        """Every request of at most ``vocab.MAX_TRACKS`` tracks can be done.

        Raises:
            BadRequest: there is no such sampler, or it cannot do this.
        """
        if request.sampler not in (None, *SAMPLERS):
            raise BadRequest(f"sampler {request.sampler!r} is not known to the slots engine. Choose from {', '.join(SAMPLERS)}.")
        if request.sampler == IN_ORDER and not self._composes(request):
            why = "these weights do not read in order" if self._new_tracks(request) else "it writes whole new tracks and changes none"
            raise BadRequest(f"sampler {IN_ORDER!r}: {why}. Leave it out or choose {ANY_ORDER!r}.")
        assert len(request.clip.tracks) <= vocab.MAX_TRACKS

    def _composes(self, request: Request) -> bool:
        """Whether notes are written in order, each from all before it: what is only new needs no eye for what comes after."""
        return request.sampler != ANY_ORDER and self.network.config.distances > 0 and self._new_tracks(request)

    @staticmethod
    def _new_tracks(request: Request) -> bool:
        return request.mode == "generate" and request.bars is None

    def prepare(self, request: Request, generator: torch.Generator) -> SlotsState | Composing:
        """Hide what the mode and the strength ask for. Which bars get a new number of notes is decided here, the number in ``steps``."""
        if self._composes(request):
            return composing.begin(request, generator, request.drafts or 1, self.network.device)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        tracks = layout.encode_clip(request.clip)
        inside, fields = layout.region(request), layout.open_fields(request)
        rows, redrawn = [], []
        for _ in range(request.variants):
            row = layout.start_row(tracks, inside, fields)
            again = np.zeros_like(inside)
            if request.mode != "repair":
                share = self._share(request)
                row.hidden = row.open & (rng.random(len(row.bar)) < share)[:, None]
                if share > 0 and row.open.any() and not row.hidden.any():  # few notes and a low strength: one changes at least
                    one = rng.choice(np.flatnonzero(row.open.any(1)))
                    row.hidden[one] = row.open[one]
                if share == 1:  # nothing of the source is to be left: what is wholly hidden is a new note
                    row.source = np.where(row.hidden.all(1), layout.NEW, row.source)
                if fields.all():
                    again = inside & (rng.random(inside.shape) < share**2)
            rows.append(row)
            redrawn.append(again)
        return SlotsState(request, generator, tracks, rows, redrawn, request.steps)

    def _share(self, request: Request) -> float:
        """Share of notes to hide."""
        return own_strength(self.calibration, request.strength) if request.mode == "modify" else 1.0

    def steps(self, state: SlotsState | Composing) -> Iterator[SlotsState | Composing]:
        """Bar by bar in order; or else counts, then one denoising step a turn."""
        yield from composing.write(self.network, state, self.network.critic) if isinstance(state, Composing) else self._denoised(state)

    def _denoised(self, state: SlotsState) -> Iterator[SlotsState]:
        request = state.request
        temperature, guidance = request.temperature, request.guidance
        if request.mode == "repair":
            temperature = min(temperature, REPAIR_TEMPERATURE)
            guidance = 1.0
            self._find(state)
        elif any(again.any() for again in state.redrawn):
            self._redraw(state)
        state.slots, state.noise = self._laid_out(state.rows, request.clip)
        device = self.network.device
        draw = FieldSampler(self.network, allowed(request.clip.tracks, request.clip.bar_ticks, device), temperature)
        for slots in denoise(state.slots, state.noise, draw, request.steps, guidance, drawing_on(device, state.generator)):
            state.slots = slots
            state.step += 1
            yield state

    def _laid_out(self, rows: list[layout.Row], clip: Clip) -> tuple[Slots, Noise]:
        slots, noise = layout.batch(rows, clip)
        device = self.network.device
        return slots.to(device), Noise(noise.hidden_BNF.to(device), noise.open_BNF.to(device))

    def _redraw(self, state: SlotsState) -> None:
        """Draw new counts for the bars marked for it, and lay out the slots anew."""
        clip = state.request.clip
        visible = [
            layout.Row(*(getattr(row, name)[~(row.hidden.any(1) | again[row.bar, row.track])] for name in layout.Row.__dataclass_fields__))
            for row, again in zip(state.rows, state.redrawn, strict=True)
        ]
        slots, _ = layout.batch(visible, clip)
        counts = torch.from_numpy(layout.counts_of(state.tracks, clip.num_measures)).expand(len(visible), -1, -1)
        slots = replace(slots, counts_BRK=counts, given_BN=~slots.pad_BN).to(self.network.device)
        hidden, bias = torch.from_numpy(np.stack(state.redrawn)).to(self.network.device), DENSITY_LOGIT * state.request.density
        drawn = sample_counts(self.network, slots, hidden, bias, drawing_on(self.network.device, state.generator)).cpu().numpy()
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=state.generator)))
        state.rows = [layout.refill(row, c, again, rng) for row, c, again in zip(state.rows, drawn, state.redrawn, strict=True)]

    def _find(self, state: SlotsState) -> None:
        """Hide what is said to be wrong of the notes that may change, or else what the judge thinks wrong."""
        if state.request.wrong is not None:
            for row in state.rows:
                row.hidden = row.open & layout.told_wrong(row, state.request.tracks[0], state.request.wrong)
            return
        slots, noise = self._laid_out(state.rows[:1], state.request.clip)  # all variants are of the same clip
        wrong_BNF = find_wrong(self.network, slots, noise.open_BNF, state.request.strength).cpu()
        for row in state.rows:
            row.hidden = row.open & wrong_BNF[0, : len(row.bar)].numpy()

    def raw_legal(self, state: SlotsState | Composing) -> None:
        """Notes are slots, not a sequence: nothing illegal can be drawn."""

    def finish(self, state: SlotsState | Composing) -> list[Clip]:
        """Clips as they stand: notes still hidden are left out."""
        if isinstance(state, Composing):
            return composing.clips(state)
        if state.slots is None or state.noise is None:
            return [state.request.clip for _ in state.rows]
        values, hidden = state.slots.values_BNF.cpu().numpy(), state.noise.hidden_BNF.cpu().numpy()
        sizes = [len(row.bar) for row in state.rows]
        return [
            layout.to_clip(row, values[i, :n], hidden[i, :n], state.request.clip, state.tracks)
            for i, (row, n) in enumerate(zip(state.rows, sizes, strict=True))
        ]
