"""What every engine takes and gives. The pipeline, the page and the trainer know engines only through this."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from musediff.clip import Clip
from musediff.engines.calibration import Calibration

Mode = Literal["generate", "modify", "repair"]
FIELDS = ("rhythm", "pitch", "dynamics")
VALUES = ("onset", "pitch", "duration", "velocity")  # of one note


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One job, checked and complete: bars, metre, tempo and key of ``clip`` are decided.

    ``clip`` is the frame and the material. In ``generate`` its tracks carry labels and no notes; a track that is
    not in ``tracks`` is context and comes back untouched. ``bars`` is the region in time (None = all bars).
    """

    mode: Mode
    clip: Clip
    tracks: tuple[int, ...] = (0,)  # which tracks of the clip may change
    bars: frozenset[int] | None = None  # which bars may change, counted from 0
    fields: frozenset[str] = frozenset(FIELDS)  # what of a note may change
    wrong: Mapping[int, frozenset[str]] | None = None  # in repair: which VALUES of which notes of the track; None: to be found
    strength: float = 1.0  # share of the notes that change, 0-1; in repair how readily a note is taken for wrong
    steps: int = 16
    guidance: float = 1.0  # 1 = none; classifier-free guidance weight at the end of the ramp
    temperature: float = 1.0  # 1 = what is usual with the engine
    density: float = 0.0  # -1 .. 1, fewer or more notes
    variants: int = 1
    drafts: int | None = None  # written of each new variant, of which one is taken; None: one
    seed: int = 0
    sampler: str | None = None  # None: the engine's usual one
    strict: bool = True  # the grammar, where an engine has one, guides the steps; else it only mends the end


class State(Protocol):
    """An engine's own picture of a job under way."""

    step: int
    total: int


class Engine(Protocol):
    """A way to make clips. ``steps`` is a generator: its caller shows progress and may stop at any time.

    A state goes back only to the engine that made it, so its type is the engine's own business.
    """

    calibration: Calibration  # of the strength

    @property
    def usual_steps(self) -> int:
        """Steps that are enough: more cost time and hardly change the clips. 1: the engine goes its own way, whatever the steps."""
        ...

    @property
    def stepped(self) -> str | None:
        """The sampler that makes new clips in as many steps as are asked for; None: the usual one does."""
        ...

    def usual_drafts(self, sampler: str | None) -> int:
        """Drafts of a new track that are worth their time with this sampler; 1: the engine cannot choose between them."""
        ...

    @property
    def parameters(self) -> int:
        """Number of weights."""
        ...

    def check(self, request: Request) -> None:
        """Refuse what this engine cannot do, before any work.

        Raises:
            BadRequest: saying what to ask for instead.
        """
        ...

    def prepare(self, request: Request, generator: torch.Generator) -> State:
        """Decide what is given and what is noise."""
        ...

    def steps(self, state: Any) -> Iterator[State]:
        """Do the work, one step a turn."""
        ...

    def raw_legal(self, state: Any) -> float | None:
        """Share of the sequences drawn so far that were legal before the grammar mended them, 0-1; None: no other can be drawn."""
        ...

    def finish(self, state: Any) -> list[Clip]:
        """The clips as far as they are: one per variant, legal at every step."""
        ...
