"""What the page remembers of one visitor. Frozen: an event replaces it as a whole, so two events never tear it."""

from dataclasses import dataclass, field

from musediff.clip import Clip, Meta
from musediff.pipeline import Job, Result


@dataclass(frozen=True, slots=True)
class Sound:
    """A rendered WAV file in the page's cache and the synth that played it."""

    path: str
    synth: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The result on the roll; ``track`` is the one that was made, ``sounds`` fills as variants are heard."""

    result: Result
    asked: Meta
    token: str
    name: str
    index: int = 0
    track: int = 0
    before: Clip | None = None
    before_sound: Sound | None = None
    sounds: dict[int, Sound] = field(default_factory=dict)

    @property
    def clip(self) -> Clip:
        return self.result.clips[self.index]


@dataclass(frozen=True, slots=True)
class Source:
    """The clip that Modify and Repair work on. ``data``: the uploaded file, to read other tracks of it."""

    clip: Clip
    name: str
    notes: tuple[str, ...] = ()
    sound: Sound | None = None
    data: bytes | None = None


@dataclass(slots=True)
class Running:
    """Handle on the job of this visitor, for Stop."""

    job: Job | None = None
