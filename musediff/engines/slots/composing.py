"""A request for new tracks -> lines to write -> clips, for the engines whose networks read in line."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from musediff.clip import Clip, Track
from musediff.engines.base import Request
from musediff.engines.finishing import into_range, playable, velocity_limits
from musediff.engines.slots import layout, vocab
from musediff.engines.slots.batch import Slots
from musediff.engines.slots.codec import decode_notes, played
from musediff.engines.slots.composer import Composer, Limits, Taste
from musediff.engines.slots.constraints import allowed
from musediff.engines.slots.critic import Critic, drawn
from musediff.engines.slots.line import in_line, notes_of
from musediff.engines.slots.reading import InLine


@dataclass(slots=True)
class Composing:
    """A job under way. ``order``: tracks of the clip as the network reads them, given ones first. ``total``: bars of all new tracks.

    ``line`` has a row for each draft, those of a variant one after another; ``chosen``: the row of each variant, the first draft until
    they can be compared.
    """

    request: Request
    generator: torch.Generator
    order: tuple[int, ...]
    line: Slots
    chosen: list[int]
    total: int
    step: int = 0
    composer: Composer | None = None


def begin(request: Request, generator: torch.Generator, drafts: int, device: torch.device) -> Composing:
    """Lay out the given tracks, and the start of the first one to compose behind them, on the ``device`` of the network."""
    clip = request.clip
    given = tuple(k for k in range(len(clip.tracks)) if k not in request.tracks)
    order = (*given, *request.tracks)
    read_as = replace(clip, tracks=tuple(clip.tracks[k] for k in given) + tuple(_empty(clip.tracks[k]) for k in request.tracks))
    closed = np.zeros((clip.num_measures, len(order)), bool)
    row = layout.start_row(layout.encode_clip(read_as), closed, np.zeros(len(vocab.FIELDS), bool))
    slots, _ = layout.batch([row] * (request.variants * drafts), read_as)
    line, tokens = in_line(slots), len(row.bar) + len(given) + 1
    line = line.of_notes(lambda x_BM: x_BM[:, :tokens]).to(device)
    chosen = list(range(0, request.variants * drafts, drafts))
    return Composing(request, drawing_on(device, generator), order, line, chosen, clip.num_measures * len(request.tracks))


def write(network: InLine, state: Composing, critic: Critic | None = None) -> Iterator[Composing]:
    """Note by note in all drafts at once; a turn for every bar that is done in all of them. The ``critic`` chooses, behind the last."""
    request = state.request
    tracks = tuple(request.clip.tracks[k] for k in state.order)
    positions = request.clip.bar_ticks // vocab.POSITION_TICKS
    limits = Limits(allowed(tracks, request.clip.bar_ticks, state.line.bar_BN.device), positions, request.clip.num_measures, len(tracks))
    taste = Taste(request.temperature, request.guidance, request.density, state.generator)
    first, rows = len(tracks) - len(request.tracks), len(state.line.bar_BN)
    composer = state.composer = Composer(network, state.line, first, limits, taste)
    while not composer.finished:
        composer.write()
        if composer.finished and rows > request.variants:
            assert critic is not None
            state.chosen = drawn(network, critic, composer.all_lines, first, rows // request.variants, state.generator)
        while state.step < composer.progress:
            state.step += 1
            yield state


def clips(state: Composing) -> list[Clip]:
    """As far as they are written."""
    if state.composer is None:
        return [_without_new(state.request)] * len(state.chosen)
    line = state.composer.all_lines.rows(torch.tensor(state.chosen)).to("cpu")
    track_BM = torch.where(notes_of(line), line.track_BN, -1)
    return [_clip(state, *row) for row in zip(track_BM.numpy(), line.bar_BN.numpy(), line.values_BNF.numpy(), strict=True)]


def _clip(state: Composing, track_M: np.ndarray, bar_M: np.ndarray, values_MF: np.ndarray) -> Clip:
    """Of one line; ``track_M`` -1: no note."""
    clip = _without_new(state.request)
    tracks = list(clip.tracks)
    for k in state.request.tracks:
        mine = track_M == state.order.index(k)
        values_XF, bar_X, limits = values_MF[mine], bar_M[mine], velocity_limits(tracks[k])
        as_played = played(values_XF[:, vocab.VELOCITY])
        notes = decode_notes(bar_X, values_XF, clip.bar_ticks, clip.end_ticks, limits, as_played)
        if notes:
            tracks[k] = replace(tracks[k], notes=playable((), into_range(notes, tracks[k])))
    return replace(clip, tracks=tuple(tracks))


def _without_new(request: Request) -> Clip:
    """Its clip before any note of the new tracks is written."""
    tracks = (_empty(track) if k in request.tracks else track for k, track in enumerate(request.clip.tracks))
    return replace(request.clip, tracks=tuple(tracks))


def drawing_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """The generator itself on the CPU; for another device one of that device, seeded by it."""
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=generator)))


def _empty(track: Track) -> Track:
    return replace(track, notes=())
