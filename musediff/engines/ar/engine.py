"""The ar engine: notes one after another, each from those before it. The autoregressive baseline, behind the interface of ``engines.base``.

It has the notes, the conditions and the size of the slots engine, and the attention of the Music Transformer (Huang et al. 2018). It
composes whole tracks, beside given ones if there are any; what lies behind a note cannot be taken into account, so it changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from musediff import checkpoint
from musediff.clip import Clip, Track
from musediff.engines.ar.config import ArConfig
from musediff.engines.ar.line import in_line
from musediff.engines.ar.network import ArNetwork
from musediff.engines.ar.sampler import Composer, Limits, Taste
from musediff.engines.base import Request, refuse_samplers
from musediff.engines.calibration import UNCHANGED, Calibration, read
from musediff.engines.finishing import into_range, playable, velocity_limits
from musediff.engines.slots import layout, vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.codec import decode_note
from musediff.engines.slots.constraints import allowed
from musediff.errors import BadRequest


@dataclass(slots=True)
class ArState:
    """A job under way. ``order``: tracks of the clip as the network reads them, given ones first. ``total``: bars of all new tracks."""

    request: Request
    generator: torch.Generator
    order: tuple[int, ...]
    line: Slots
    total: int
    step: int = 0
    composer: Composer | None = None


class ArEngine:
    """Composes tracks, beside given ones if there are any."""

    name = "ar"
    usual_steps = 1  # the network is asked once for each note, whatever the steps

    def __init__(self, network: ArNetwork, calibration: Calibration = UNCHANGED) -> None:
        self.network = network.eval().requires_grad_(False)
        self.calibration = calibration

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.bfloat16) -> "ArEngine":
        """Weights from a checkpoint folder.

        Raises:
            BadCheckpoint: see ``checkpoint``; or the network's settings are not ours.
        """
        config = checkpoint.read_config_of(folder, cls.name)
        network = checkpoint.load_network(folder, config, vocab.fingerprint(), lambda settings: ArNetwork(ArConfig(**settings)))
        return cls(network.to(dtype), read(config, folder))

    @classmethod
    def tiny(cls) -> "ArEngine":
        """Random weights, for tests: every clip is legal, none is music."""
        torch.manual_seed(0)
        return cls(ArNetwork(ArConfig.tiny()))

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    def check(self, request: Request) -> None:
        """Refuse what this engine cannot do.

        Raises:
            BadRequest: a clip is to be changed, or a sampler is asked for.
        """
        if request.mode != "generate" or request.bars is not None:
            raise BadRequest(
                "The ar engine composes whole tracks, note by note: it cannot change or repair a clip or fill some of its bars. "
                "Choose the slots or the muse engine for that."
            )
        refuse_samplers(request, self.name)
        assert len(request.clip.tracks) <= vocab.MAX_TRACKS

    def prepare(self, request: Request, generator: torch.Generator) -> ArState:
        """Lay out the given tracks, and the start of the first one to compose behind them."""
        clip = request.clip
        given = tuple(k for k in range(len(clip.tracks)) if k not in request.tracks)
        order = (*given, *request.tracks)
        read_as = replace(clip, tracks=tuple(clip.tracks[k] for k in given) + tuple(_empty(clip.tracks[k]) for k in request.tracks))
        closed = np.zeros((clip.num_measures, len(order)), bool)
        row = layout.start_row(layout.encode_clip(read_as), closed, np.zeros(len(vocab.FIELDS), bool))
        slots, _ = layout.batch([row] * request.variants, read_as)
        line, tokens = in_line(slots), len(row.bar) + len(given) + 1
        names = ("values_BNF", "bar_BN", "track_BN", "index_BN", "ordinal_BN", "given_BN", "pad_BN")
        line = replace(line, **{name: getattr(line, name)[:, :tokens] for name in names})
        return ArState(request, generator, order, line, clip.num_measures * len(request.tracks))

    def steps(self, state: ArState) -> Iterator[ArState]:
        """Note by note in all variants at once; a turn for every bar that is done in all of them."""
        request = state.request
        tracks = tuple(request.clip.tracks[k] for k in state.order)
        positions = request.clip.bar_ticks // vocab.POSITION_TICKS
        limits = Limits(allowed(tracks, request.clip.bar_ticks), positions, request.clip.num_measures, len(tracks))
        taste = Taste(request.temperature, request.guidance, request.density, state.generator)
        state.composer = Composer(self.network, state.line, len(tracks) - len(request.tracks), limits, taste)
        while not state.composer.finished:
            state.composer.write()
            while state.step < state.composer.progress:
                state.step += 1
                yield state

    def raw_legal(self, state: ArState) -> None:
        """What is illegal cannot be drawn."""

    def finish(self, state: ArState) -> list[Clip]:
        """Clips as far as they are written."""
        return [self._clip(state, variant) for variant in range(state.request.variants)]

    def _clip(self, state: ArState, variant: int) -> Clip:
        clip = state.request.clip
        tracks = [_empty(track) if k in state.request.tracks else track for k, track in enumerate(clip.tracks)]
        written = [] if state.composer is None else [row for row in state.composer.written if row.new_B[variant]]
        for place, k in enumerate(state.order):
            mine = [(int(row.bar_B[variant]), row.values_BF[variant].numpy()) for row in written if int(row.track_B[variant]) == place]
            limits = velocity_limits(tracks[k])
            notes = [decode_note(bar, values, clip.bar_ticks, clip.end_ticks, limits) for bar, values in mine]
            if notes:
                tracks[k] = replace(tracks[k], notes=playable((), into_range(notes, tracks[k])))
        return replace(clip, tracks=tuple(tracks))


def _empty(track: Track) -> Track:
    return replace(track, notes=())
