"""The muse engine: Gaussian diffusion over token embeddings (DiffuSeq, Gong et al. 2023), behind the interface of ``engines.base``.

One clock: the strength decides at which step the reverse chain starts, the sampler visits steps from there down to 0, and
the result is the last x0. Given tokens are never noised. In the last quarter of the visits, and at the end, every guess
is rounded to the likeliest legal sequence of exactly the asked bars.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musediff import checkpoint
from musediff.clip import Clip
from musediff.engines.base import Request
from musediff.engines.calibration import UNCHANGED, Calibration, own_strength, read
from musediff.engines.finishing import into_range, playable
from musediff.engines.muse import canvas as canvases
from musediff.engines.muse import density
from musediff.engines.muse.canvas import Canvas
from musediff.engines.muse.chain import Chain, Sampler, draw_noise
from musediff.engines.muse.denoiser import CLAMPED, Reading, WindowDenoiser, padded
from musediff.engines.muse.density import notes_per_bar
from musediff.engines.muse.network import MuseConfig, MuseNetwork
from musediff.engines.muse.process import nearest, q_sample
from musediff.engines.muse.repair import find_wrong
from musediff.engines.muse.samplers import DEFAULT_STEPS, SAMPLERS
from musediff.engines.muse.schedule import Schedule, ScheduleConfig
from musediff.engines.muse.strength import survival, time_for_strength
from musediff.errors import BadCheckpoint, BadRequest
from musediff.tokens import vocab
from musediff.tokens.grammar import FREE, NOTE_TOKENS
from musediff.tokens.vocab import Kind

NOTE_KINDS = (Kind.BAR, *vocab.NOTE)
DEFAULT_SAMPLER = "ddim"
BLEND = 0.95  # of the probabilities read, at temperature 1


@dataclass(slots=True)
class Window:
    """Bars that are worked on at once, for all variants. Rows are padded to one length."""

    place: tuple[int, int, int]  # first bar, first that may change, behind the last
    clips: list[Clip]
    index: list[np.ndarray]  # notes of the working clip that are inside
    canvases: list[Canvas]
    denoiser: WindowDenoiser


@dataclass(slots=True)
class MuseState:
    """A job under way. ``clips`` are those of the variants with all finished windows in place."""

    request: Request
    generator: torch.Generator
    clips: list[Clip]
    plan: list[tuple[int, int, int]]
    redrawn: list[np.ndarray | None]  # per variant (R,) new numbers of notes
    total: int
    step: int = 0
    window: Window | None = None
    legal: list[bool] = field(default_factory=list)  # of every window and variant: was the sequence legal without help?


class MuseEngine:
    """Generates, modifies, infills and repairs one track at a time."""

    name = "muse"
    usual_steps = DEFAULT_STEPS
    stepped = None

    def __init__(self, network: MuseNetwork, schedule: Schedule, readable: bool, calibration: Calibration = UNCHANGED) -> None:
        """``readable``: the network was trained to be read, see ``denoiser.Reading``."""
        self.calibration = calibration
        self.network, self.schedule, self.readable = network.eval().requires_grad_(False), schedule, readable
        self.size, self.counts = network.config.vocab_size, density.load()
        of_notes = torch.from_numpy(np.isin(vocab.KIND[: self.size], NOTE_KINDS))
        self.survival_T = survival(network.table_VD, schedule, torch.Generator().manual_seed(0), of_notes)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.bfloat16) -> "MuseEngine":
        """Weights from a checkpoint folder.

        Raises:
            BadCheckpoint: see ``checkpoint``; or the network's settings are not ours.
        """
        config = checkpoint.read_config_of(folder, cls.name)
        try:
            schedule = ScheduleConfig(**config["about"]["schedule"]).build()
            readable = bool(config["about"]["readable"])
        except (TypeError, KeyError, BadRequest) as error:
            raise BadCheckpoint(f"{folder / 'config.json'}: unknown schedule setting ({error}).") from error
        network = checkpoint.load_network(folder, config, vocab.fingerprint(), lambda settings: MuseNetwork(MuseConfig(**settings)))
        return cls(network.to(dtype), schedule, readable, read(config, folder))

    @classmethod
    def tiny(cls) -> "MuseEngine":
        """Random weights, for tests: every clip is legal, none is music."""
        torch.manual_seed(0)
        return cls(MuseNetwork(replace(MuseConfig.tiny(layout=True), normalise=True)), ScheduleConfig(steps=200).build(), readable=True)

    def usual_drafts(self, sampler: str | None) -> int:
        return 1

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    def check(self, request: Request) -> None:
        """Refuse what this engine cannot do.

        Raises:
            BadRequest: more than one track is to change, a bar has too many notes, or there is no such sampler.
        """
        if request.sampler not in (None, *SAMPLERS):
            raise BadRequest(f"sampler {request.sampler!r} is not known. Choose from {', '.join(SAMPLERS)}.")
        if len(request.tracks) != 1:
            raise BadRequest(
                f"The muse engine changes one track at a time, {len(request.tracks)} are chosen. Choose one, or the slots engine."
            )
        counts = self._source_counts(request)
        if self._composes(request):  # what is composed anew is made to fit
            counts = np.where(self._inside(request), 0, counts)
        self._plan(request, counts)

    def prepare(self, request: Request, generator: torch.Generator) -> MuseState:
        """Decide which bars get a new number of notes, and in which windows the clip is worked on."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        redrawn = [self._new_counts(request, rng) if self._composes(request) else None for _ in range(request.variants)]
        counts = self._source_counts(request)
        if self._composes(request):
            most = np.max([new for new in redrawn if new is not None], 0)
            counts = np.where(self._inside(request), most, counts)
        plan = self._plan(request, counts)
        nothing = request.mode == "modify" and request.strength <= 0
        clips = [request.clip] * request.variants
        visits = len(self._times(request))
        return MuseState(request, generator, clips, [] if nothing else plan, redrawn, 0 if nothing else len(plan) * visits)

    def _composes(self, request: Request) -> bool:
        """Whether nothing of the region is kept."""
        anew = request.mode == "modify" and request.strength >= 1 and len(request.fields) == len(canvases.KINDS_OF)
        return request.mode == "generate" or anew

    def _first_step(self, request: Request) -> int:
        last = self.schedule.steps - 1
        strength = own_strength(self.calibration, request.strength)
        return last if request.mode != "modify" else max(0, time_for_strength(strength, self.survival_T))

    def _sampler(self, request: Request) -> Sampler:
        return SAMPLERS[request.sampler or DEFAULT_SAMPLER]

    def _times(self, request: Request) -> list[int]:
        """Steps to visit."""
        return self._sampler(request).times(self.schedule, self._first_step(request), request.steps)

    def _new_counts(self, request: Request, rng: np.random.Generator) -> np.ndarray:
        """(R,) notes of each bar. One bar always fits the network."""
        clip = request.clip
        role, quarters = clip.tracks[request.tracks[0]].role, clip.bar_ticks / 480
        counts = notes_per_bar(self.counts, role, request.density, clip.num_measures, quarters, rng)
        prefix = vocab.META_TOKENS + 2 * clip.chords_per_bar + 1
        return np.minimum(counts, (self.network.config.seq_len - prefix - 2) // NOTE_TOKENS)

    def _source_counts(self, request: Request) -> np.ndarray:
        """(R,) notes of each bar of the track that changes."""
        clip = request.clip
        bar = [min(note.onset_ticks // clip.bar_ticks, clip.num_measures - 1) for note in clip.tracks[request.tracks[0]].notes]
        return np.bincount(np.array(bar, np.int64), minlength=clip.num_measures)

    def _plan(self, request: Request, counts_R: np.ndarray) -> list[tuple[int, int, int]]:
        inside, room = self._inside(request), self.network.config.seq_len
        return canvases.windows(request.clip, request.tracks[0], inside, counts_R, self.size, room)

    def _inside(self, request: Request) -> np.ndarray:
        inside = np.zeros(request.clip.num_measures, bool)
        inside[list(range(len(inside)) if request.bars is None else sorted(request.bars))] = True
        return inside

    def steps(self, state: MuseState) -> Iterator[MuseState]:
        """One visit of the reverse chain a turn, window by window."""
        for place in state.plan:
            window = state.window = self._open(state, place)
            if state.request.mode == "repair":
                self._find(state.request, window)
            if any((canvas.fixed == FREE).any() for canvas in window.canvases):
                for _ in self._denoise(state, window):
                    state.step += 1
                    yield state
                state.legal += window.denoiser.legal_without_help()
                state.clips = self._placed(state, window)
            state.window = None
        if state.step < state.total:  # windows without anything to do
            state.step = state.total
            yield state

    def _open(self, state: MuseState, place: tuple[int, int, int]) -> Window:
        """Cut a window out of every variant and lay out its tokens. Notes before it may have come out denser than
        planned: then it sees fewer bars of them."""
        first, begin, last = place
        window = self._lay_out(state, place)
        longest = len(window.denoiser.prefixes[0]) + max(canvas.length for canvas in window.canvases)
        return self._open(state, (first + 1, begin, last)) if longest > self.network.config.seq_len and first < begin else window

    def _lay_out(self, state: MuseState, place: tuple[int, int, int]) -> Window:
        first, begin, last = place
        request = state.request
        inside = self._inside(request)[first:last] & (np.arange(first, last) >= begin)
        pieces = [canvases.cut(clip, request.tracks[0], first, last) for clip in state.clips]
        kinds = canvases.open_kinds(request)
        laid = [
            canvases.build(piece, inside, kinds, None if redrawn is None else redrawn[first:last], self.network.config.layout)
            for (piece, _), redrawn in zip(pieces, state.redrawn, strict=True)
        ]
        denoiser = WindowDenoiser(self.network, self.schedule, pieces[0][0], laid, self._reading(request), len(self._times(request)))
        return Window(place, [piece for piece, _ in pieces], [index for _, index in pieces], laid, denoiser)

    def _reading(self, request: Request) -> Reading:
        nearest = self._sampler(request).leaves_x
        return Reading(
            guidance=1.0 if request.mode == "repair" else request.guidance,
            blend=BLEND * request.temperature if self.readable and not nearest else None,
            clamped=CLAMPED if request.strict and not nearest else 0.0,
            nearest=nearest,
        )

    def _find(self, request: Request, window: Window) -> None:
        """Close all tokens but those that are said to be wrong, or else those that the network thinks wrong."""
        for canvas, index in zip(window.canvases, window.index, strict=True):
            if request.wrong is None:
                found = find_wrong(self.network, self.schedule, window.denoiser.prefixes[0], canvas, self.survival_T, request.strength)
            else:
                found = canvases.told_wrong(canvas, {i: request.wrong.get(note, frozenset()) for i, note in enumerate(index.tolist())})
            canvas.fixed = np.where(found, canvas.fixed, canvas.ids)

    def _denoise(self, state: MuseState, window: Window) -> Iterator[Tensor]:
        """The guess (B, L, D) after every visit."""
        request = state.request
        ids_BL = padded(window.canvases, "ids", vocab.PAD)
        noised_BL = padded(window.canvases, "fixed", vocab.PAD) == FREE
        anchor_BLD = self.network.embed(ids_BL)
        times, sampler = self._times(request), self._sampler(request)
        noise_BLD = draw_noise(anchor_BLD, state.generator)
        x_BLD = q_sample(anchor_BLD, torch.full((len(ids_BL),), times[0]), self.schedule, noise_BLD, noised_BL)
        # The last step leaves a little signal, a respaced schedule more; there is none in what is new or wrong.
        new_BL = noised_BL & ((padded(window.canvases, "source", canvases.NEW) == canvases.NEW) | (request.mode == "repair"))
        x_BLD = torch.where(new_BL[..., None], noise_BLD, x_BLD)
        if request.mode == "modify" and request.strength < 1 and not sampler.leaves_x:
            kept_BL = noised_BL & ~new_BL & (nearest(x_BLD, self.network.table_VD) == ids_BL)
            x_BLD, noised_BL = torch.where(kept_BL[..., None], anchor_BLD, x_BLD), noised_BL & ~kept_BL
            self._keep(window, kept_BL.numpy())
        for left_BLD in sampler.walk(Chain(window.denoiser, self.schedule, times, anchor_BLD, noised_BL, state.generator), x_BLD):
            if sampler.leaves_x:
                window.denoiser.read(left_BLD)
            yield left_BLD

    @staticmethod
    def _keep(window: Window, kept_BL: np.ndarray) -> None:
        """Close tokens that the noise leaves legible: a network that is sure of others would change these too (at a strength of .05 a bass
        with a velocity of 36 throughout came back with 79)."""
        for canvas, kept_L in zip(window.canvases, kept_BL, strict=True):
            canvas.fixed = np.where(kept_L[: canvas.length], canvas.ids, canvas.fixed)

    def _placed(self, state: MuseState, window: Window) -> list[Clip]:
        """The clips with the window as its last guess has it."""
        tokens_BL = window.denoiser.tokens().numpy()
        found = []
        for clip, piece, index, canvas, tokens in zip(state.clips, window.clips, window.index, window.canvases, tokens_BL, strict=True):
            first = window.place[0]
            kept, changed = canvases.to_notes(canvas, tokens[: canvas.length], piece, clip.end_ticks - first * clip.bar_ticks)
            found.append(canvases.splice(clip, state.request.tracks[0], first, index, kept, changed))
        return found

    def raw_legal(self, state: MuseState) -> float | None:
        """Of the windows that are done. A strict job has had help on the way, in its last visits."""
        return float(np.mean(state.legal)) if state.legal else None

    def finish(self, state: MuseState) -> list[Clip]:
        """Clips as they stand: the window under way as its last guess has it, later ones as they were."""
        window, request = state.window, state.request
        clips = state.clips if window is None or window.denoiser.score_BLV is None else self._placed(state, window)
        if not (self._composes(request) and self._inside(request).all()):
            return clips
        k = request.tracks[0]  # wholly new: notes of one window may sound into the next
        return [canvases.with_notes(clip, k, playable((), into_range(clip.tracks[k].notes, clip.tracks[k]))) for clip in clips]
