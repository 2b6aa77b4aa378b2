"""What a job takes and gives: settings of the sampling, progress, result."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from musediff.clip import Clip
from musediff.engines.base import Engine, Request, State
from musediff.errors import BadRequest
from musediff.midi.score import Score
from musediff.midi.write import write

MAX_VARIANTS, MAX_STEPS, MAX_GUIDANCE, MAX_TEMPERATURE, MAX_DRAFTS = 8, 500, 5.0, 2.0, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the engine works. ``seed`` None: a new one, told in the result. ``steps``, ``sampler``, ``drafts`` None: as the engine usually
    does.

    ``sampler``: see ``SAMPLERS`` in ``engines.slots.engine`` and ``engines.muse.samplers``. ``strict`` False: the muse engine's grammar
    stays out of the steps and only mends the end, so that ``Result.raw_legal`` shows what the network does alone.

    Raises:
        BadRequest: a value is out of range.
    """

    variants: int = 1
    seed: int | None = None
    steps: int | None = None
    guidance: float = 1.0
    temperature: float = 1.0
    density: float = 0.0
    sampler: str | None = None
    strict: bool = True
    drafts: int | None = None

    def __post_init__(self) -> None:
        limits = (
            ("variants", 1, MAX_VARIANTS), ("steps", 1, MAX_STEPS), ("guidance", 1.0, MAX_GUIDANCE),
            ("temperature", 0.05, MAX_TEMPERATURE), ("density", -1.0, 1.0), ("seed", 0, 2**53), ("drafts", 1, MAX_DRAFTS),
        )  # fmt: skip
        for name, low, high in limits:
            value = getattr(self, name)
            if name in ("seed", "steps", "drafts") and value is None:
                continue
            whole = name in ("variants", "steps", "seed", "drafts")
            if not isinstance(value, int if whole else int | float) or not low <= value <= high:
                raise BadRequest(f"{name}: {value!r} is not a {'whole ' if whole else ''}number between {low} and {high}.")


@dataclass(frozen=True, slots=True)
class Progress:
    """After a step: how far."""

    step: int
    steps: int
    look: Callable[[], Sequence[Clip]]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """As they are at the moment, always legal. Making them takes a while, so ask only to show them."""
        return tuple(self.look())


@dataclass(frozen=True, slots=True)
class Result:
    """What a job made. ``settings`` is the JSON that travels inside the MIDI files; ``complete`` is False after a stop."""

    clips: tuple[Clip, ...]
    source: Clip | None
    seed: int
    engine: str
    notes: tuple[str, ...]
    settings: str
    seconds: float
    complete: bool
    raw_legal: float | None = None  # share of the sequences that were legal before the grammar, where an engine has one

    def midi(self, index: int = 0) -> bytes:
        """One clip as a MIDI file."""
        return write(self.clips[index], self.settings)

    def save(self, folder: Path | str, force: bool = False) -> list[Path]:
        """Write every clip as musediff-SEED-NUMBER.mid.

        Raises:
            BadRequest: a file is already there and ``force`` is not set.
        """
        folder = Path(folder)
        paths = [folder / f"musediff-{self.seed}-{i + 1}.mid" for i in range(len(self.clips))]
        there = [path for path in paths if path.exists()]
        if there and not force:
            raise BadRequest(f"{there[0]} is already there. Choose another folder or seed, or allow overwriting.")
        folder.mkdir(parents=True, exist_ok=True)
        for i, path in enumerate(paths):
            path.write_bytes(self.midi(i))
        return paths


@dataclass(frozen=True, slots=True)
class Upload:
    """An analysed MIDI file. ``settings``: JSON of the job that made it, if it was one of ours."""

    score: Score
    clip: Clip
    notes: tuple[str, ...]
    settings: str | None


class Job:
    """One request on its way. Iterating runs it; leaving the loop early keeps what there is.

    Raises:
        BadRequest: the engine cannot do this (when made, before any work).
    """

    def __init__(self, engine: Engine, name: str, request: Request, notes: tuple[str, ...], settings: str, source: Clip | None) -> None:
        engine.check(request)
        self._engine, self._name, self._request = engine, name, request
        self._notes, self._settings, self._source = notes, settings, source
        self._state: State | None = None
        self._stopped, self._seconds = False, 0.0

    def __iter__(self) -> Iterator[Progress]:
        for state in self._states():
            yield Progress(state.step, state.total, partial(self._engine.finish, state))

    def _states(self) -> Iterator[State]:
        start = time.perf_counter()
        self._state = self._engine.prepare(self._request, torch.Generator().manual_seed(self._request.seed))
        for state in self._engine.steps(self._state):
            self._seconds = time.perf_counter() - start
            yield state
            if self._stopped:
                return

    @property
    def settings(self) -> str:
        """The JSON that will travel inside the MIDI files."""
        return self._settings

    def stop(self) -> None:
        """End the iteration after the step under way; safe from another thread."""
        self._stopped = True

    def run(self) -> Result:
        """Run to the end without looking."""
        for _ in self._states():
            pass
        return self.result()

    def result(self) -> Result:
        """The clips as far as they are; those of the source if nothing has happened yet."""
        state = self._state
        clips = (self._request.clip,) * self._request.variants if state is None else tuple(self._engine.finish(state))
        complete = state is not None and state.step == state.total
        edited = state is not None and self._request.mode != "generate"
        notes = (*self._notes, self._changes(clips)) if edited else self._notes
        raw_legal = None if state is None else self._engine.raw_legal(state)
        if raw_legal is not None and not self._request.strict:
            notes = (*notes, f"{raw_legal:.0%} of the sequences were legal before the grammar mended them.")
        return Result(clips, self._source, self._request.seed, self._name, notes, self._settings, self._seconds, complete, raw_legal)

    def _changes(self, clips: Sequence[Clip]) -> str:
        """How many notes of the source did not come back, in a sentence."""
        assert self._source is not None
        old = [set(track.notes) for track in self._source.tracks]
        gone = [sum(len(before - set(part.notes)) for before, part in zip(old, clip.tracks, strict=False)) for clip in clips]
        if any(gone):
            return f"{', '.join(map(str, gone))} of {sum(map(len, old))} notes changed."
        if self._request.mode == "repair":
            return "No wrong notes were found; a higher sensitivity finds more."
        return "No note changed: a higher strength or more bars change more."
