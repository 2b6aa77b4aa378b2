"""The one intermediate form: Clip = what a piece shares + one or more tracks of notes; Meta = what is asked for.

Units: onsets and durations in ticks of 480 per quarter, pitch 0-127 (60 = middle C), velocity 1-127,
tempo in quarters per minute, chords one id (see ``chords``) per half beat of 240 ticks.
``None`` in any field means "any": not said, free to choose.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import NamedTuple

from musediff.chords import ANY_CHORD
from musediff.errors import BadRequest

TICKS_PER_QUARTER = 480
TICKS_PER_CHORD = 240

TIME_SIGNATURES = ("4/4", "3/4", "6/8", "12/8")
BAR_TICKS = {"4/4": 1920, "3/4": 1440, "6/8": 1440, "12/8": 2880}
RHYTHMS = ("standard", "triplet")
TRIPLET_SHARE = 0.2
ROLES = ("main_melody", "sub_melody", "accompaniment", "bass", "pad", "riff")
GENRES = ("newage", "cinematic", "pop", "classical", "orchestral", "rock", "ambient")
MAX_BARS = 64
MIN_BPM, MAX_BPM = 20, 300

# Name -> first and last mean pitch (MIDI number), ComMU's seven ranges.
PITCH_RANGES = {
    "very_low": (0, 35), "low": (36, 47), "mid_low": (48, 59), "mid": (60, 71),
    "mid_high": (72, 83), "high": (84, 95), "very_high": (96, 127),
}  # fmt: skip

# 34 key names of ComMU: 17 spellings, major and minor. KEY_INDEX: 0-11 major from C, 12-23 minor from C.
_TONICS = ("c", "c#", "db", "d", "d#", "eb", "e", "f", "f#", "gb", "g", "g#", "ab", "a", "a#", "bb", "b")
_TONIC_PITCH_CLASS = (0, 1, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 8, 9, 10, 10, 11)
KEYS = tuple(t + "major" for t in _TONICS) + tuple(t + "minor" for t in _TONICS)
KEY_INDEX = {
    **{t + "major": pc for t, pc in zip(_TONICS, _TONIC_PITCH_CLASS, strict=True)},
    **{t + "minor": pc + 12 for t, pc in zip(_TONICS, _TONIC_PITCH_CLASS, strict=True)},
}
# Customary spelling of each of the 24 keys.
KEY_NAMES = (
    "cmajor", "dbmajor", "dmajor", "ebmajor", "emajor", "fmajor", "f#major", "gmajor", "abmajor", "amajor", "bbmajor", "bmajor",
    "cminor", "c#minor", "dminor", "ebminor", "eminor", "fminor", "f#minor", "gminor", "g#minor", "aminor", "bbminor", "bminor",
)  # fmt: skip

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # semitones above the tonic: major, natural minor

# The 62 instruments of ComMU in its nine groups, each with the General MIDI program (0-based) that plays it.
INSTRUMENT_GROUPS: tuple[dict[str, int], ...] = (
    {"acoustic_piano": 0, "electric_piano": 4, "harpsichord": 6, "keyboard": 5, "organ": 19},
    {"accordion": 21, "synth_lead": 81},
    {"bell": 14, "celesta": 8, "glockenspiel": 9, "marimba": 12, "synth_bell": 98, "vibraphone": 11, "xylophone": 13, "orgel": 10},
    {
        "acoustic_bass": 32, "acoustic_guitar": 25, "banjo": 105, "electric_bass": 33, "electric_guitar_clean": 27,
        "electric_guitar_distortion": 30, "harp": 46, "mandolin": 106, "nylon_guitar": 24, "oud": 104, "sitar": 104,
        "synth_bass": 38, "synth_bass_808": 39, "synth_bass_wobble": 39, "ukulele": 24, "zither": 107, "yanggeum": 15,
    },
    {
        "fiddle": 110, "pad_synth": 88, "string_cello": 42, "string_double_bass": 43, "string_ensemble": 48,
        "string_viola": 41, "string_violin": 40, "synth_pad": 89,
    },
    {
        "bassoon": 70, "brass_ensemble": 61, "clarinet": 71, "flute": 73, "horn": 60, "oboe": 68, "recorder": 74,
        "trombone": 57, "trumpet": 56, "tuba": 58, "synth_brass": 62, "sax": 65, "bamboo_flute": 77,
    },
    {"drums_full": 0, "drums_tops": 0, "percussion": 0, "timpani": 47},
    {"choir": 52, "synth_pluck": 84, "synth_voice": 54, "whistle": 78},
    {"vocal": 53},
)  # fmt: skip
INSTRUMENT_PROGRAM = {name: program for group in INSTRUMENT_GROUPS for name, program in group.items()}
INSTRUMENTS = tuple(INSTRUMENT_PROGRAM)
DRUM_INSTRUMENTS = frozenset({"drums_full", "drums_tops", "percussion"})  # played on MIDI channel 10


class Note(NamedTuple):
    """One note, relative to the start of its clip. Sorts by onset, then pitch."""

    onset_ticks: int
    pitch: int
    duration_ticks: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Track:
    """Notes of one part with what is known about it. Velocity limits are inclusive."""

    notes: tuple[Note, ...]
    role: str | None = None
    instrument: str | None = None
    pitch_range: str | None = None
    min_velocity: int | None = None
    max_velocity: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of ``num_measures`` whole bars in one metre. ``chords``: one id per half beat, or None if unknown."""

    num_measures: int
    tracks: tuple[Track, ...]
    time_signature: str = "4/4"
    bpm: int = 100
    key: str | None = None
    genre: str | None = None
    rhythm: str | None = None
    chords: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        assert self.time_signature in BAR_TICKS, self.time_signature
        if self.chords is not None:
            assert len(self.chords) == self.num_measures * self.chords_per_bar, len(self.chords)

    @property
    def bar_ticks(self) -> int:
        return BAR_TICKS[self.time_signature]

    @property
    def chords_per_bar(self) -> int:
        return self.bar_ticks // TICKS_PER_CHORD

    @property
    def end_ticks(self) -> int:
        return self.num_measures * self.bar_ticks

    @property
    def seconds(self) -> float:
        """Length of the whole bars."""
        return self.end_ticks / TICKS_PER_QUARTER * 60 / self.bpm

    def chord_at(self, ticks: int) -> int:
        """Chord id sounding at a tick; ``ANY_CHORD`` where none is known."""
        return ANY_CHORD if self.chords is None else self.chords[ticks // TICKS_PER_CHORD]

    def meta(self, track: int = 0) -> "Meta":
        """The 12 metadata of one of the tracks, as far as they are known."""
        part = self.tracks[track]
        return Meta(
            bpm=self.bpm, audio_key=self.key, time_signature=self.time_signature, pitch_range=part.pitch_range,
            num_measures=self.num_measures, inst=part.instrument, genre=self.genre, min_velocity=part.min_velocity,
            max_velocity=part.max_velocity, track_role=part.role, rhythm=self.rhythm, chord_progression=self.chords,
        )  # fmt: skip


def mean_pitch_range(mean_pitch: float) -> str:
    """Name of the ComMU range that a mean pitch falls into."""
    return next(name for name, (first, _) in reversed(PITCH_RANGES.items()) if mean_pitch >= first)


def scale_of(key: str) -> tuple[int, ...]:
    """Pitch classes of one of the ``KEYS``, tonic first; a minor key has its natural seventh."""
    index = KEY_INDEX[key]
    return tuple((index + step) % 12 for step in SCALES[index // 12])


def triplet_share(onsets_ticks: Iterable[int]) -> float:
    """Share of onsets nearer to a third of a quarter than to any 32nd; those on the beat are none. 0 without onsets."""
    away = lambda ticks, step: min(ticks % step, -ticks % step)  # noqa: E731
    hits = [away(t, TICKS_PER_QUARTER // 3) < away(t, TICKS_PER_QUARTER // 8) for t in onsets_ticks]
    return sum(hits) / len(hits) if hits else 0.0


def rhythm_of(onsets_ticks: Iterable[int], time_signature: str) -> str:
    """The rhythm label: "triplet" from more than a fifth of triplet onsets on; compound metres are always "standard"."""
    return "triplet" if time_signature in ("4/4", "3/4") and triplet_share(onsets_ticks) > TRIPLET_SHARE else "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The 12 metadata of the original, each of them ``None`` for "any". Checked when made.

    Raises:
        BadRequest: a value is unknown or out of range, or minimum and maximum contradict each other.
    """

    bpm: int | None = None
    audio_key: str | None = None
    time_signature: str | None = None
    pitch_range: str | None = None
    num_measures: int | None = None
    inst: str | None = None
    genre: str | None = None
    min_velocity: int | None = None
    max_velocity: int | None = None
    track_role: str | None = None
    rhythm: str | None = None
    chord_progression: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise BadRequest(f"{name}: {value!r} is not known. Choose any or one of {', '.join(allowed)}.")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and low <= value <= high):
                raise BadRequest(f"{name}: {value!r} is not a whole number from {low} to {high}.")
        chords = self.chord_progression
        if chords is not None and not (chords and all(isinstance(chord, Integral) and 0 <= chord <= ANY_CHORD for chord in chords)):
            ids = f"one chord id from 0 to {ANY_CHORD} per half beat is needed, and at least one"
            raise BadRequest(f"chord_progression: {ids}; musediff.progression.parse makes them of names.")
        if self.min_velocity is not None and self.max_velocity is not None and self.min_velocity > self.max_velocity:
            raise BadRequest(f"min_velocity {self.min_velocity} is above max_velocity {self.max_velocity}: swap them.")

    def but(self, other: "Meta") -> "Meta":
        """This, with every field that ``other`` says replaced by it. A velocity limit of this that contradicts one that
        ``other`` says is forgotten."""
        said = {f.name: getattr(other, f.name) for f in fields(Meta) if getattr(other, f.name) is not None}
        low, high = said.get("min_velocity", self.min_velocity), said.get("max_velocity", self.max_velocity)
        if low is not None and high is not None and low > high:
            said |= {name: None for name in ("min_velocity", "max_velocity") if name not in said}
        return replace(self, **said)


CHOICES: dict[str, tuple[str, ...]] = {
    "audio_key": KEYS,
    "time_signature": TIME_SIGNATURES,
    "pitch_range": tuple(PITCH_RANGES),
    "inst": INSTRUMENTS,
    "genre": GENRES,
    "track_role": ROLES,
    "rhythm": RHYTHMS,
}
RANGES: dict[str, tuple[int, int]] = {
    "bpm": (MIN_BPM, MAX_BPM),
    "num_measures": (1, MAX_BARS),
    "min_velocity": (1, 127),
    "max_velocity": (1, 127),
}
META_FIELDS = tuple(f.name for f in fields(Meta))
