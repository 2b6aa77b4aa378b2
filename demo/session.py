"""What the page remembers of one visitor.

Frozen where it can be: an event replaces it as a whole, so two events never tear it. What comes late, a sound or the end of
a run, is filled into an object that belongs to it, so that it cannot overwrite anything newer.
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from musediff.clip import Clip, Meta
from musediff.pipeline import Job, Result, Upload

HISTORY = 20  # scenes that a visitor can go back to


@dataclass(frozen=True, slots=True)
class Sound:
    """A rendered WAV file in the page's cache and the synth that played it."""

    path: str
    synth: str

    @property
    def there(self) -> bool:
        """False when the cache has been swept since."""
        return Path(self.path).exists()


@dataclass(slots=True)
class Heard:
    """The sound of a source: None until it is rendered, which may take seconds."""

    sound: Sound | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An uploaded file and what of it was taken."""

    data: bytes
    upload: Upload
    tracks: tuple[int, ...] = ()
    first_bar: str = "1"


@dataclass(frozen=True, slots=True)
class Source:
    """The clip that Modify and Repair work on; ``opened`` if it came from a file. No two have the same token."""

    clip: Clip
    name: str
    opened: Opened | None = None
    heard: Heard = field(default_factory=Heard)
    token: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def sound(self) -> Sound | None:
        return self.heard.sound if self.heard.sound and self.heard.sound.there else None


@dataclass(frozen=True, slots=True)
class Shown:
    """The result on the roll, and the source that it was made of by ``operation``.

    ``track`` is the one that was made, ``sounds`` fills as variants are heard.
    """

    result: Result
    asked: Meta
    token: str
    name: str
    index: int = 0
    track: int = 0
    operation: str = "generate"
    source: Source | None = None
    sounds: dict[int, Sound] = field(default_factory=dict)

    @property
    def clip(self) -> Clip:
        return self.result.clips[self.index]

    @property
    def before(self) -> Clip | None:
        return self.source and self.source.clip

    @property
    def sound(self) -> Sound | None:
        found = self.sounds.get(self.index)
        return found if found and found.there else None


@dataclass(frozen=True, slots=True)
class Scene:
    """What was worked on, and the result that was on the roll."""

    source: Source | None = None
    shown: Shown | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """The clip that is worked on and those before it; after going back, also those that came after it."""

    source: Source | None = None
    past: tuple[Scene, ...] = ()
    future: tuple[Scene, ...] = ()

    def put(self, source: Source, shown: Shown | None) -> "Desk":
        """Another clip to work on; ``shown`` is what was on the roll until now. A clip that lies there already stays."""
        if self.source is not None and self.source.token == source.token:
            return self
        empty = self.source is None and shown is None
        past = self.past if empty else (*self.past, Scene(self.source, shown))
        return Desk(source, past[-HISTORY:])

    def back(self, shown: Shown | None) -> tuple["Desk", Scene]:
        """The clip before this one, and the scene of then. Only if there is a past."""
        *past, scene = self.past
        return Desk(scene.source, tuple(past), (Scene(self.source, shown), *self.future)), scene

    def forth(self, shown: Shown | None) -> tuple["Desk", Scene]:
        """Undo :meth:`back`. Only if there is a future."""
        scene, *future = self.future
        return Desk(scene.source, (*self.past, Scene(self.source, shown)), tuple(future)), scene


@dataclass(slots=True)
class Running:
    """The run of this visitor, if there is one: for Stop, and for events that would draw over it."""

    job: Job | None = None
