"""What a user can mend. Everything else is our own mistake and fails an ``assert``.

A message says what was wrong, where it was, and what to do about it; it is shown as it is.
"""


class MuseError(Exception):
    """Base of every error that is meant for the user's eyes."""


class BadMidi(MuseError):
    """The MIDI file cannot be used."""


class BadRequest(MuseError):
    """A value that was asked for is out of range, unknown, or contradicts another one."""


class BadCheckpoint(MuseError):
    """The weights are missing, damaged, or were made for another vocabulary or network."""


class BadData(MuseError):
    """A training corpus or a packed data file cannot be read."""


class BadSoundfont(MuseError):
    """A soundfont or synthesizer that was asked for by name cannot be used."""
