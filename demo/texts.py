"""Every word of the page, in English: what a visitor reads, in one place."""

import html

from musediff.clip import INSTRUMENT_GROUPS, KEYS

TITLE = "MuseDiff"
TAGLINE = "Compose and repair MIDI clips with diffusion"
ANY = "any"

# Label and explanation of each field of Meta, in the order of the form.
FIELDS: dict[str, tuple[str, str]] = {
    "audio_key": ("Key", "Major or minor key of the clip"),
    "bpm": ("Tempo (BPM)", "Quarter notes per minute, 20 to 300"),
    "time_signature": ("Time signature", "Metre"),
    "num_measures": ("Bars", "Length, 1 to 64"),
    "inst": ("Instrument", "What plays it"),
    "track_role": ("Role", "What the track does in a piece"),
    "genre": ("Genre", "Style of the training music"),
    "rhythm": ("Rhythm", "Straight or in triplets"),
    "pitch_range": ("Pitch range", "Where the mean pitch lies"),
    "min_velocity": ("Softest", "Lowest velocity, 1 to 127"),
    "max_velocity": ("Loudest", "Highest velocity, 1 to 127"),
    "chord_progression": ("Chords", "One group per bar"),
}
ROLES = {
    "main_melody": "Main melody", "sub_melody": "Second melody", "accompaniment": "Accompaniment",
    "bass": "Bass", "pad": "Pad", "riff": "Riff",
}  # fmt: skip
RANGES = {
    "very_low": "Very low, to B1", "low": "Low, C2-B2", "mid_low": "Mid low, C3-B3", "mid": "Middle, C4-B4",
    "mid_high": "Mid high, C5-B5", "high": "High, C6-B6", "very_high": "Very high, C7 up",
}  # fmt: skip
GENRES = {"newage": "New age", "cinematic": "Cinematic", "pop": "Pop", "classical": "Classical",
          "orchestral": "Orchestral", "rock": "Rock", "ambient": "Ambient"}  # fmt: skip
RHYTHMS = {"standard": "Straight", "triplet": "Triplets"}
GROUPS = ("Keys", "Reed and lead", "Bells and mallets", "Plucked", "Strings and pads", "Winds and brass", "Drums", "Voices", "Vocal")
INSTRUMENTS = {
    name: f"{group}: {name.replace('_', ' ')}"
    for group, members in zip(GROUPS, INSTRUMENT_GROUPS, strict=True) for name in members
}  # fmt: skip

TAB_GENERATE = "Generate"
TAB_MODIFY = "Repair / Modify"
PRESET = "Chord preset"
PRESET_NONE = "own chords"
CHORDS_HINT = "Am | F C | G7/B | N.C.   or   I-V-vi-IV   (empty: any)"
CHORDS_ANY = "Chords: any. Leave it so, choose a preset, or type your own."
VARIANTS = "Variants"
CONTEXT = "Add as a new track to the clip on the roll"
ADVANCED = "Advanced"
ENGINE = "Engine"
ENGINES = {"slots": "slots (usual)", "muse": "muse (original method)", "ar": "ar (note by note, only composes)"}
STEPS = (
    "Steps",
    "More steps, more care, more time; slots writes new tracks note by note instead: the first of eight drafts is shown, a good one kept",
)
GUIDANCE = ("Guidance", "How strictly the metadata is followed; 1 = off")
TEMPERATURE = ("Temperature", "Lower is plainer, higher is bolder")
DENSITY = ("Density", "Fewer or more notes")
SEED = ("Seed", "The same seed and settings give the same clip; empty draws a new one")
RANDOM = "random"
SEED_RANDOM = "New seed"
GENERATE = "Generate"
STOP = "Stop and keep"

UPLOAD = "MIDI file (.mid, at most 512 KB)"
TRACKS = "Tracks to take"
FIRST_BAR = "From bar"
RETAKE = "Read again"
TRACKS_INFO = "Empty: the most suitable one"
UNNAMED = "unnamed"
CHANGED_ON_THE_WAY = "Changed on the way in"
TRACK = "Track to change"
DETECTED = "Detected metadata (edit to steer)"
SOURCE_NONE = "Upload a MIDI file, or generate a clip and press “Use this result as the source” under the roll."
OPERATION = "What to do"
OPERATIONS = {"modify": "Modify", "repair": "Repair"}
STRENGTH = "Strength"
STRENGTH_WORDS = (
    (0.0, "nothing changes"), (0.15, "fix a few wrong notes"), (0.3, "small changes"), (0.55, "vary"),
    (0.75, "new phrases, same outline"), (0.99, "new idea"), (1.0, "all notes new"),
)  # fmt: skip
SENSITIVITY = "How readily a note is suspected"
SENSITIVITY_WORDS = (
    (0.2, "only notes that are almost surely wrong"), (0.4, "only notes that are very likely wrong"),
    (0.6, "notes that are likely wrong"), (0.8, "also notes that are unusual here"), (1.0, "also notes that are a little unusual"),
)  # fmt: skip
REPAIR_WORDS = "Repair replaces only these."
BARS = ("Bars, such as 3-4", "all, or drag on the roll")
MAY_CHANGE = "What may change"
MAY = {"rhythm": "Rhythm", "pitch": "Pitch", "dynamics": "Velocity"}
GO = {"modify": "Modify", "repair": "Repair"}

SEND = "Use this result as the source"
BACK = "Back to the previous clip"
FORTH = "Forward again"
REPAIRED = "Repair suspected and changed {n} of {total} notes: {where}."
REPAIRED_SHORT = "{n} changed"
MODIFIED = "{n} of {total} notes changed, in {where}."
NOT_REPAIRED = "Repair found no wrong notes. Move “How readily a note is suspected” up to find more."
ONLY_NEW = "No note changed; {n} new in {where}."
BAR_WITH_COUNT = "bar {bar} ({n})"
BARS_WORD = ("bar", "bars")
REPORT_TITLE = "You asked, you got"
ASKED = "asked:"
MET, MISSED, LABEL = "yes", "no", "label"
FILES = {"midi": "MIDI", "wav": "WAV", "png": "Picture (PNG)", "zip": "All variants (ZIP)"}
READY = "Ready. Press Generate, or upload a clip under Repair / Modify."
WAITING = "Starting…"
STOPPED = "stopped early"
NO_SOUND = "no sound"
PLAYED_BY = "played by"
NOTHING_TO_STOP = "Nothing is running."
NOTHING_TO_SEND = "There is no clip yet. Generate one first."
NO_SOURCE = "There is no clip to change yet. Upload a MIDI file first, or send a generated clip here."
NO_CONTEXT = "There is no clip on the roll to add a track to. Generate or upload one first, or untick the box."

# Words that the roll's JavaScript uses; {names} are filled in there.
ROLL = {
    "label": "Piano roll. Space plays, left and right arrows move by bars, with Shift they select bars, Escape clears the selection.",
    "empty": "Your clip will appear here.",
    "play": "Play", "pause": "Pause", "loop": "Loop", "speed": "Speed", "clear": "Clear selection",
    "show": "Show", "before": "Before", "after": "After", "changes": "Changes",
    "working": "Working, {step} of {steps}", "preparing": "Making the sound…", "selected": "Bars {bars} selected",
    "kept": "kept", "added": "new", "removed": "removed", "outside": "outside the key", "variant": "Variant {n}",
    "notes": "{n} notes", "seek": "Position",
}  # fmt: skip


def instrument(name: str | None) -> str:
    """ "acoustic_piano" -> "acoustic piano"."""
    return (name or "unknown instrument").replace("_", " ")


def key(name: str | None) -> str:
    """ "c#minor" -> "C# minor"."""
    if name is None:
        return ANY
    return f"{name[0].upper()}{name[1:-5]} {name[-5:]}"


def value(field: str, text: str) -> str:
    """What a report says of a field, with names as people write them."""
    if field == "audio_key":
        return " ".join(key(word) if word in KEYS else word for word in text.replace("of the notes ", "").split())
    if field == "inst":
        return instrument(text)
    return {"pitch_range": RANGES, "genre": GENRES, "rhythm": RHYTHMS, "track_role": ROLES}.get(field, {}).get(text, text)


def strength_words(strength: float) -> str:
    """What a strength means for the ear."""
    return next(words for limit, words in STRENGTH_WORDS if strength <= limit)


def sensitivity_words(sensitivity: float) -> str:
    """Which notes Repair takes for wrong."""
    return next(words for limit, words in SENSITIVITY_WORDS if sensitivity <= limit)


def escape(words: str) -> str:
    """Any text, safe inside HTML."""
    return html.escape(words)
