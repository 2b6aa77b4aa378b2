"""Numbers about a window of a track, and the role they speak for: what corpora without role labels are sorted by."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from musediff.chords import NUM_CHORDS, pitch_classes
from musediff.clip import TICKS_PER_CHORD, Note
from musediff.data.song import Bar, Song
from musediff.data.windows import add_clips, windows
from musediff.midi.harmony import key_correlations, key_scale

MELODIES = frozenset({"main_melody", "sub_melody"})
MIN_KEY_CORRELATION, MIN_IN_KEY = 0.7, 0.88
MIN_CHORD_TONES, MIN_CHORD_TONES_MELODY = 0.75, 0.5
SLOWEST_BPM, FASTEST_BPM = 35, 200
HIGHEST_BASS_MEAN, SURE_BASS_MEAN = 58, 50  # the lowest part below A#3 is the bass, and every part below D3 plays along with it
PAD_NOTE_TICKS, PAD_CHORD_TONES = 720, 0.8
RIFF_REPETITION, RIFF_PITCHES = 0.8, 5
SUB_CHORD_TONES, SUB_PITCHES = 0.85, 5
MIN_NOTES_PER_BAR = 1.0  # a part with fewer rests, as far as roles go


@dataclass(frozen=True, slots=True)
class Numbers:
    """A window of one track. Shares are of its notes, 0 to 1."""

    notes: int
    mean_pitch: float
    mean_ticks: float
    chord_tones: float
    in_key: float
    pitches: int
    weights: np.ndarray  # (12,) ticks by pitch class
    bar_onsets: tuple[frozenset[tuple[int, int]], ...]  # per bar: onset in the bar, pitch

    @property
    def repetition(self) -> float:
        """Mean share of onsets and pitches that a bar has in common with the one before."""
        pairs = list(zip(self.bar_onsets, self.bar_onsets[1:], strict=False))
        return sum(len(a & b) / max(1, len(a | b)) for a, b in pairs) / max(1, len(pairs))


class Measured:
    """The tracks of a song whose bars follow each other without gaps, ready to be measured window by window."""

    def __init__(self, song: Song) -> None:
        self.bars = song.bars
        chord_tone = np.array([[pitch in pitch_classes(chord) for pitch in range(12)] for chord in range(NUM_CHORDS)])
        in_key = np.array([[pitch in key_scale(key) for pitch in range(12)] for key in range(24)])
        starts = np.array([bar.start_ticks for bar in song.bars])
        keys = np.array([0 if bar.key is None else bar.key for bar in song.bars])
        chords = np.array(song.chords)
        self.tables = []
        for track in song.tracks:
            table = np.array(track.notes, dtype=np.int64).reshape(-1, 4)
            bar = np.searchsorted(starts, table[:, 0], side="right") - 1
            pitch_class = table[:, 1] % 12
            fits = chord_tone[chords[table[:, 0] // TICKS_PER_CHORD], pitch_class]
            self.tables.append((table, table[:, 0] - starts[bar], bar, fits, in_key[keys[bar], pitch_class]))

    def notes(self, track: int, bars: np.ndarray) -> list[Note]:
        """Notes of a track that begin in the bars marked true."""
        table, _, bar, _, _ = self.tables[track]
        return [Note(*row) for row in table[bars[bar]].tolist()]

    def window(self, track: int, place: tuple[int, int]) -> Numbers | None:
        """Numbers of a track in a window (first bar, bars), None if it is silent there."""
        table, in_bar, bar, fits, in_key = self.tables[track]
        first, last = np.searchsorted(bar, (place[0], place[0] + place[1]))
        if first == last:
            return None
        part = table[first:last]
        onsets: list[set[tuple[int, int]]] = [set() for _ in range(place[1])]
        for b, onset, pitch in zip(bar[first:last].tolist(), in_bar[first:last].tolist(), part[:, 1].tolist(), strict=True):
            onsets[b - place[0]].add((onset, pitch))
        return Numbers(
            notes=len(part), mean_pitch=float(part[:, 1].mean()), mean_ticks=float(part[:, 2].mean()),
            chord_tones=float(fits[first:last].mean()), in_key=float(in_key[first:last].mean()),
            pitches=len(np.unique(part[:, 1])), weights=np.bincount(part[:, 1] % 12, part[:, 2], minlength=12),
            bar_onsets=tuple(map(frozenset, onsets)),
        )  # fmt: skip

    def window_of_all(self, place: tuple[int, int], tracks: Iterable[int]) -> dict[int, Numbers]:
        """Numbers of the tracks that play in a window."""
        measured = ((track, self.window(track, place)) for track in tracks)
        return {track: numbers for track, numbers in measured if numbers is not None}


def unfit(window: dict[int, Numbers], bar: Bar) -> str | None:
    """Why a window as a whole teaches nothing: its key is not to be heard, or its tempo is out of the ordinary."""
    if not SLOWEST_BPM <= bar.bpm <= FASTEST_BPM:
        return "tempo"
    if not window:
        return "silence"
    assert bar.key is not None
    weights = np.sum([numbers.weights for numbers in window.values()], axis=0)
    return "key not clear" if key_correlations(weights)[bar.key] < MIN_KEY_CORRELATION else None


def fits_role(numbers: Numbers, role: str) -> str | None:
    """Why a track of a window should not teach a role, or None: notes outside the key or the chords."""
    if numbers.in_key < MIN_IN_KEY:
        return "out of key"
    least = MIN_CHORD_TONES_MELODY if role in MELODIES else MIN_CHORD_TONES
    return "against the chords" if numbers.chord_tones < least else None


def roles(window: dict[int, Numbers], bars: int) -> dict[int, str]:
    """A role for every part of an ensemble that plays in a window.

    The highest part leads, the lowest is the bass if it is low, with all that double it; of the others long chord tones are
    a pad, a repeating pattern of few pitches a riff, a line of many pitches beside the chords a second melody, the rest accompanies.
    """
    playing = {track: numbers for track, numbers in window.items() if numbers.notes >= MIN_NOTES_PER_BAR * bars}
    if not playing:
        return {}
    by_pitch = sorted(playing, key=lambda track: playing[track].mean_pitch)
    lead, lowest = by_pitch[-1], by_pitch[0]
    found = {track: accompanying_role(numbers) for track, numbers in playing.items()}
    found |= {track: "bass" for track, numbers in playing.items() if numbers.mean_pitch < SURE_BASS_MEAN}
    if playing[lowest].mean_pitch < HIGHEST_BASS_MEAN:
        found[lowest] = "bass"
    if lead != lowest or playing[lead].mean_pitch >= HIGHEST_BASS_MEAN:
        found[lead] = "main_melody"
    return found


def accompanying_role(numbers: Numbers) -> str:
    """Role of a part that neither leads nor is the bass."""
    if numbers.mean_ticks >= PAD_NOTE_TICKS and numbers.chord_tones >= PAD_CHORD_TONES:
        return "pad"
    if numbers.repetition >= RIFF_REPETITION and numbers.pitches <= RIFF_PITCHES:
        return "riff"
    if numbers.chord_tones < SUB_CHORD_TONES and numbers.pitches >= SUB_PITCHES:
        return "sub_melody"
    return "accompaniment"


Assign = Callable[[dict[int, Numbers], int], dict[int, str]]  # numbers by track, and bars of a window -> roles by track


def add_clips_by_role(song: Song, assign: Assign, copies: frozenset[int] = frozenset()) -> None:
    """Sort the windows of every track by role and keep those that are good examples of theirs.

    ``copies``: tracks whose notes are in another one too.
    """
    measured = Measured(song)
    wanted: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for place in windows(song.bars):
        window = measured.window_of_all(place, range(len(song.tracks)))
        reason = unfit({track: numbers for track, numbers in window.items() if track not in copies}, song.bars[place[0]])
        if reason is not None:
            song.dropped[f"window: {reason}"] += 1
            continue
        for track, role in assign(window, place[1]).items():
            reason = fits_role(window[track], role)
            if reason is None:
                wanted[track, role].append(place)
            else:
                song.dropped[f"{role}: {reason}"] += 1
    for (track, role), places in wanted.items():
        add_clips(song, track, role, places)
