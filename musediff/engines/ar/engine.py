"""The ar engine: notes one after another, each from those before it. The autoregressive baseline, behind the interface of ``engines.base``.

It has the notes, the conditions and the size of the slots engine, and the attention of the Music Transformer (Huang et al. 2018). It
composes whole tracks, beside given ones if there are any; what lies behind a note cannot be taken into account, so it changes nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from musediff import checkpoint
from musediff.clip import Clip
from musediff.engines.ar.config import ArConfig
from musediff.engines.ar.network import ArNetwork
from musediff.engines.base import Request
from musediff.engines.calibration import UNCHANGED, Calibration, read
from musediff.engines.slots import composing, vocab
from musediff.engines.slots.composing import Composing
from musediff.errors import BadRequest


class ArEngine:
    """Composes tracks, beside given ones if there are any."""

    name = "ar"
    usual_steps = 1  # the network is asked once for each note, whatever the steps
    stepped = None

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

    def usual_drafts(self, sampler: str | None) -> int:
        return 1

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
        if request.sampler is not None:
            raise BadRequest(f"sampler {request.sampler!r}: the ar engine has one way to sample. Leave it out or choose muse.")
        assert len(request.clip.tracks) <= vocab.MAX_TRACKS

    def prepare(self, request: Request, generator: torch.Generator) -> Composing:
        """See ``composing.begin``."""
        return composing.begin(request, generator, 1, self.network.device)

    def steps(self, state: Composing) -> Iterator[Composing]:
        """See ``composing.write``."""
        yield from composing.write(self.network, state)

    def raw_legal(self, state: Composing) -> None:
        """What is illegal cannot be drawn."""

    def finish(self, state: Composing) -> list[Clip]:
        """Clips as far as they are written."""
        return composing.clips(state)
