"""What every converter makes of one file, and what ``build`` packs: a song on the training grid with its clips.

Ticks are 480 per quarter and count from the first bar of the song. Notes, chords and keys stay in the song's own key.
"""

from collections import Counter
from dataclasses import dataclass, field

from musediff.clip import BAR_TICKS, TICKS_PER_CHORD, Note


@dataclass(slots=True)
class Bar:
    """One whole bar. Bars with the same ``segment`` follow each other without a gap, in one metre and key."""

    start_ticks: int
    meter: str  # one of TIME_SIGNATURES
    key: int | None  # 0-11 major from C, 12-23 minor from C
    bpm: int
    segment: int

    @property
    def end_ticks(self) -> int:
        return self.start_ticks + BAR_TICKS[self.meter]

    @property
    def chords(self) -> int:
        """How many entries of ``Song.chords`` belong to this bar."""
        return BAR_TICKS[self.meter] // TICKS_PER_CHORD


@dataclass(slots=True)
class SongTrack:
    """Notes on the training grid, sorted by onset then pitch. Tracks with the same ``group`` share notes."""

    notes: list[Note]
    instrument: str | None
    group: int
    name: str = ""


@dataclass(slots=True)
class ClipRow:
    """A training example: ``bars`` bars of one track from bar ``bar`` of the song."""

    track: int
    bar: int
    bars: int
    role: str
    rhythm: str


@dataclass(slots=True)
class Song:
    """One piece. ``dropped`` counts what was left out, by reason, for the report of the build."""

    name: str  # unique over all corpora: "pop909/001"
    corpus: str
    split: int  # store.TRAIN or store.VALID
    genre: str | None
    bars: list[Bar]
    chords: list[int]  # one id per 240 ticks over all bars one after the other, ANY_CHORD where unknown
    tracks: list[SongTrack]
    clips: list[ClipRow]
    dropped: Counter[str] = field(default_factory=Counter)
