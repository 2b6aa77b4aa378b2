"""Packed songs -> batches of token clips: cut, transposed, relabelled, some tokens given, some of the others damaged.

What is given and what is open is drawn as sampling will meet it: all notes, those of a region, some of the notes or tokens,
one or two kinds of tokens. Bars are always given, as is where each token stands. Given tokens are shown clean; damage falls
on open ones only, and the aim is always the clean clip. Suffixes: N notes, L tokens of a clip, B clips of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from musediff.chords import ANY_CHORD
from musediff.clip import BAR_TICKS, GENRES, INSTRUMENTS, KEY_NAMES, RHYTHMS, ROLES, TIME_SIGNATURES, Clip, Track, mean_pitch_range
from musediff.data.store import UNKNOWN, Store
from musediff.engines.clip_rows import ClipRows, frame_at, transposed
from musediff.engines.muse.canvas import KINDS_OF
from musediff.engines.muse.losses import Batch
from musediff.errors import BadData
from musediff.tokens import commu, damage, vocab
from musediff.tokens.commu import Encoded
from musediff.tokens.vocab import Kind

Rng = np.random.Generator

# What is open, and how often: the first is what generating and modifying a whole clip shows.
PATTERNS = {"notes": 0.6, "region": 0.2, "some": 0.08, "kinds": 0.12}
_PATTERNS = tuple(PATTERNS)
_UP_TO = np.cumsum(tuple(PATTERNS.values()))
# Kinds that may change together, as requests ask for it: all but none of the fields and all of them.
_KINDS = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
_IN_PLACE = ("mt", "mn", "rn")  # damage that leaves everything where it is
_FIELDS = tuple(np.array(kinds) for kinds in KINDS_OF.values())

# The token of "not said" for each of the metadata; the metre is always said. That of the bars is what all numbers but 4, 8 and
# 16 have, so it has to be learned.
_UNSAID = np.array(
    [
        vocab.BPM, vocab.KEY, vocab.TIME_SIGNATURE, vocab.PITCH_RANGE, vocab.OWN_MEASURES, vocab.INSTRUMENT, vocab.GENRE,
        vocab.LIMIT, vocab.LIMIT, vocab.ROLE, vocab.RHYTHM,
    ]
)  # fmt: skip
_BPM, _METRE, _BARS = 0, 2, 4
FORGET_EACH, FORGET_ALL, FORGET_CHORDS = 0.15, 0.1, 0.1
assert len(_UNSAID) == vocab.META_TOKENS


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip of one track before its tokens. ``clip`` has the labels that do not follow from notes, and no notes."""

    clip: Clip
    notes: np.ndarray  # (N, 4) onset, pitch, duration (ticks), velocity
    drums: bool


@dataclass(frozen=True, slots=True)
class TokenClip:
    """Tokens (L,): what is shown, what is right, and which of them are noised. ``layout``: (L, 7) where they stand."""

    shown: np.ndarray
    clean: np.ndarray
    noised: np.ndarray
    layout: np.ndarray
    damaged: bool

    @property
    def length(self) -> int:
        """Tokens of the clip in the network."""
        return len(self.shown)


@dataclass(frozen=True, slots=True)
class Spoiling:
    """How clips are damaged: the arguments of ``damage.damage``. What ``settings`` names holds as it is, the rest is drawn by clip."""

    available: str = ",".join(damage.CORRUPTIONS)
    most: int = 4
    p: float = 0.5
    settings: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.available.split(",") if name.strip())


USUAL = Spoiling()


class TokenSource:
    """Cuts token clips out of a store. Clips of more than ``seq_len`` tokens are left out.

    Args:
        damaged: share of the clips that are damaged, and ``spoiling`` how.

    Raises:
        BadData: there is no clip of this split and length.
    """

    def __init__(
        self,
        store: Store,
        split: int,
        seq_len: int,
        corpus_weight: Mapping[str, float] | None = None,
        damaged: float = 0.5,
        spoiling: Spoiling = USUAL,
    ) -> None:
        self.store, self.damaged, self.spoiling = store, damaged, spoiling
        self.clips = ClipRows(store, split, corpus_weight or {})
        fits = token_lengths(store, self.clips.rows) <= seq_len
        self.left_out = int((~fits).sum())
        if not fits.any():
            raise BadData(f"No clip has at most {seq_len} tokens. Raise --seq-len.")
        self.left_out_share = self.clips.keep(fits)  # of what would have been drawn

    def draw(self, rng: Rng, size: int) -> list[TokenClip]:
        """``size`` clips drawn by weight, moved in pitch, loudness and tempo, some of their labels forgotten."""
        found = []
        for pick in self.clips.pick(rng, size):
            prefix, part = tokens(augment(self._piece(pick), rng))
            found.append(self._shown(forget(prefix, rng), part, rng))
        return found

    def draw_plain(self, rng: Rng, size: int) -> list[TokenClip]:
        """As ``draw``, but the clips as they are and all labels said."""
        return [self._shown(*tokens(self._piece(pick)), rng) for pick in self.clips.pick(rng, size)]

    def _piece(self, pick: int) -> Piece:
        return piece_at(self.store, int(self.clips.rows[pick]))

    def _shown(self, prefix: np.ndarray, part: Encoded, rng: Rng) -> TokenClip:
        noised = open_tokens(part, rng)
        damaged = bool(rng.random() < self.damaged)
        shown = spoil(part.ids, noised, rng, self.spoiling) if damaged else part.ids
        ids = (np.concatenate((prefix, of_notes)) for of_notes in (shown, part.ids))
        return TokenClip(*ids, np.concatenate((np.zeros(len(prefix), bool), noised)), commu.layout(prefix, part.ids), damaged)


def token_lengths(store: Store, rows: np.ndarray) -> np.ndarray:
    """Tokens of rows of the clip table with all that is known said, without making them."""
    first = store.bar_offset[store.clip_song[rows]] + store.clip_bar[rows]
    last = first + store.clip_bars[rows]
    bar_ticks = np.array([BAR_TICKS[name] for name in TIME_SIGNATURES])[store.bar_meter[first]]
    # Tracks lie one behind the other, notes of a track by onset: with the track in front of the onset all are sorted.
    wide = 1 << 32
    track = np.repeat(np.arange(len(store.note_offset) - 1), np.diff(store.note_offset))
    place = track * wide + store.note_onset_ticks
    start = store.clip_track[rows].astype(np.int64) * wide + store.bar_start_ticks[first]
    notes = np.searchsorted(place, start + store.clip_bars[rows].astype(np.int64) * bar_ticks) - np.searchsorted(place, start)
    changes = np.diff(store.chord.astype(np.int64), prepend=-1) != 0
    changes[store.chord_offset[:-1][np.diff(store.chord_offset) > 0]] = True
    said, unknown = (np.concatenate(([0], np.cumsum(x))) for x in (changes, store.chord == ANY_CHORD))
    begin, end = store.chord_offset[first], store.chord_offset[last]
    pairs = np.where(unknown[end] > unknown[begin], 0, said[end] - said[begin])
    return vocab.META_TOKENS + 2 * pairs + 1 + store.clip_bars[rows] + 4 * notes + 1


def piece_at(store: Store, row: int) -> Piece:
    """A row of the clip table. Its chords are unknown if one of them is, as for every other reader of the store."""
    frame = frame_at(store, row)
    metre, track = TIME_SIGNATURES[frame.meter], int(store.clip_track[row])
    begin, end = int(store.note_offset[track]), int(store.note_offset[track + 1])
    start, ticks = int(store.bar_start_ticks[frame.row]), frame.bars * BAR_TICKS[metre]
    span = slice(*(begin + np.searchsorted(store.note_onset_ticks[begin:end], (start, start + ticks))))
    onset = store.note_onset_ticks[span].astype(np.int64) - start
    duration = np.minimum(store.note_duration_ticks[span], ticks - onset)
    chords = store.chord[store.chord_offset[frame.row] : store.chord_offset[frame.row + frame.bars]]
    code = int(store.track_instrument[track])
    instrument = None if code == UNKNOWN else INSTRUMENTS[code]
    clip = Clip(
        frame.bars,
        (Track((), ROLES[store.clip_role[row]], instrument),),
        metre,
        frame.bpm,
        None if frame.key == UNKNOWN else KEY_NAMES[frame.key],
        None if frame.genre == UNKNOWN else GENRES[frame.genre],
        RHYTHMS[frame.rhythm],
        None if (chords == ANY_CHORD).any() else tuple(chords.tolist()),
    )
    notes = np.stack((onset, store.note_pitch[span], duration, store.note_velocity[span]), 1).astype(np.int64)
    return Piece(clip, notes, instrument == "drums_full")


def augment(piece: Piece, rng: Rng) -> Piece:
    """Transposed by -6..+5 semitones inside the MIDI range (drums are not), velocities shifted by up to 10, tempo by up to 8 %."""
    clip, notes = piece.clip, piece.notes.copy()
    low, high = int(notes[:, 1].min(initial=127)), int(notes[:, 1].max(initial=0))
    shift = 0 if piece.drums else max(-low, min(int(rng.integers(-6, 6)), 127 - high))
    notes[:, 1] += shift
    notes[:, 3] = (notes[:, 3] + rng.integers(-10, 11)).clip(1, 127)
    key = None if clip.key is None else KEY_NAMES.index(clip.key)
    moved = replace(
        clip,
        bpm=max(1, round(clip.bpm * rng.uniform(0.92, 1.08))),
        key=None if key is None else KEY_NAMES[key // 12 * 12 + (key + shift) % 12],
        chords=None if clip.chords is None else tuple(transposed(np.array(clip.chords), shift).tolist()),
    )
    return Piece(moved, notes, piece.drums)


def tokens(piece: Piece) -> tuple[np.ndarray, Encoded]:
    """Prefix, with the labels that follow from the notes, and note part."""
    clip, notes = piece.clip, piece.notes
    if len(notes):
        heard = replace(
            clip.tracks[0],
            pitch_range=mean_pitch_range(float(notes[:, 1].mean())),
            min_velocity=int(notes[:, 3].min()),
            max_velocity=int(notes[:, 3].max()),
        )
        clip = replace(clip, tracks=(heard,))
    return commu.prefix(clip), commu.note_part(notes, clip.num_measures, clip.bar_ticks)


def forget(prefix: np.ndarray, rng: Rng) -> np.ndarray:
    """A prefix with each label unsaid with a probability; or all that ``canvas.forget`` forgets, which guidance needs; or the chords."""
    everything = rng.random() < FORGET_ALL
    unsaid = rng.random(vocab.META_TOKENS) < FORGET_EACH
    if everything:
        unsaid[:] = True
        unsaid[[_BPM, _BARS]] = False
    unsaid[_METRE] = False
    chords = prefix[vocab.META_TOKENS : -1]
    if rng.random() < FORGET_CHORDS or everything:
        chords = chords[:0]
    return np.concatenate((np.where(unsaid, _UNSAID, prefix[: vocab.META_TOKENS]), chords, prefix[-1:]))


def open_tokens(part: Encoded, rng: Rng) -> np.ndarray:
    """(L,) tokens of a note part that are noised, by one of ``PATTERNS``; those of all notes if none would be.

    notes: all. region: a run of bars. some: single notes or tokens, as repair leaves them open. kinds: rhythm, pitch or
    dynamics, or two of them, half of the time in a run of bars.
    """
    pattern = _PATTERNS[min(int(np.searchsorted(_UP_TO, rng.random() * _UP_TO[-1], "right")), len(_PATTERNS) - 1)]
    of_notes = part.source >= 0
    found = of_notes.copy()
    if pattern == "region":
        found &= _region(part, rng)
    elif pattern == "some":
        each = rng.random((int(part.source.max(initial=-1)) + 1, 1 if rng.random() < 0.5 else 4)) < rng.random()
        found[of_notes] = np.broadcast_to(each, (len(each), 4))[part.source[of_notes][::4]].ravel()
    elif pattern == "kinds":
        found &= np.isin(vocab.KIND[part.ids], np.concatenate([_FIELDS[field] for field in _KINDS[rng.integers(len(_KINDS))]]))
        if rng.random() < 0.5:
            found &= _region(part, rng)
    return found if found.any() else of_notes


def _region(part: Encoded, rng: Rng) -> np.ndarray:
    """(L,) tokens of a random run of bars."""
    bars = int(part.bar[-1]) + 1
    length = int(rng.integers(1, bars + 1))
    start = int(rng.integers(bars - length + 1))
    return (part.bar >= start) & (part.bar < start + length)


def spoil(ids: np.ndarray, noised: np.ndarray, rng: Rng, how: Spoiling = USUAL) -> np.ndarray:
    """Tokens damaged among the noised ones: on average as much as the original does, from hardly at all to nearly everything."""
    if not noised.any():
        return ids
    first, last = np.flatnonzero(noised)[[0, -1]]
    span = slice(first, last + 1)
    much = 2 * rng.random()
    drawn = {name: {"p": much * damage.CORRUPTIONS[name].defaults["p"]} for name in _IN_PLACE}
    result = ids.copy()
    # A damage may hit given tokens, which then are put back; bars change places only where all of their notes are open.
    whole = noised[span] | (ids[span] == vocab.BAR)
    available = tuple(name for name in how.names if name in _IN_PLACE or whole.all())
    result[span] = damage.damage(ids[span], ids[span] != vocab.BAR, rng, available, how.most, how.p, drawn | how.settings)
    return np.where(noised, result, ids)


def collate(clips: list[TokenClip], device: str = "cpu") -> Batch:
    """One padded batch."""
    shape = (len(clips), max(clip.length for clip in clips))
    shown, clean = (np.full(shape, vocab.PAD) for _ in range(2))
    noised, pad = np.zeros(shape, bool), np.ones(shape, bool)
    layout = np.zeros((*shape, len(commu.LAYOUT_SIZES)), np.int64)
    for b, clip in enumerate(clips):
        here = slice(clip.length)
        shown[b, here], clean[b, here], noised[b, here], pad[b, here] = clip.shown, clip.clean, clip.noised, False
        layout[b, here] = clip.layout
    return Batch(*(torch.from_numpy(array).to(device, non_blocking=True) for array in (shown, clean, noised, pad, layout)))


assert Kind.BAR not in {kind for kinds in KINDS_OF.values() for kind in kinds}
