"""The 12 metadata under the original's names, as JSON or as text from a form or a command line <-> ``Meta``.

"any", "unknown", "" and null mean "any". Numbers may be text or whole floats (``"8"``, ``8.0``), names may be written freely
(``A minor``, ``Main Melody``, ``acoustic_piano-1``), chords as text (see `progression`) or as a list of names.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from musediff.chords import ROOT_PITCH_CLASS
from musediff.clip import CHOICES, KEY_NAMES, KEYS, META_FIELDS, RANGES, Meta
from musediff.errors import BadRequest
from musediff.progression import format as format_chords
from musediff.progression import parse

ANY = "any"
_NOTHING = ("", ANY, "unknown", "none", "null")
_OTHER_NAMES = {"chords": "chord_progression", "key": "audio_key", "instrument": "inst", "role": "track_role", "bars": "num_measures"}
_KEY = re.compile(r"([a-g](?:#|b|sharp|flat)?)(major|maj|dur|minor|min|moll|m|)")


def parse_meta(values: Mapping[str, Any]) -> tuple[Meta, tuple[str, ...]]:
    """Metadata and what was assumed on the way, in sentences. Chords decide bars and metre (4/4) that are not given.

    Raises:
        BadRequest: a field or a value is unknown (near ones are suggested) or out of range.
    """
    given = {_field_name(name): value for name, value in values.items()}
    if len(given) < len(values):
        raise BadRequest(f"A field is given twice, under two names: {', '.join(map(str, values))}.")
    said = {name: value for name, value in given.items() if not _is_any(value)}
    chords = said.pop("chord_progression", None)
    read: dict[str, Any] = {}
    for name, value in said.items():
        read[name] = _whole_number(name, value) if name in RANGES else _key(value) if name == "audio_key" else _choice(name, value)
    meta = Meta(**read)
    if chords is None:
        return meta, ()
    progression = parse(
        _chord_text(chords), key=meta.audio_key, time_signature=meta.time_signature or "4/4", num_measures=meta.num_measures
    )
    notes = list(progression.notes)
    if meta.time_signature is None:
        notes.append("The chords were spread over bars of 4/4, as no time signature was given.")
    if meta.num_measures is None:
        notes.append(f"The chords set the length: {progression.num_measures} bar{'' if progression.num_measures == 1 else 's'}.")
    complete = replace(
        meta,
        time_signature=meta.time_signature or "4/4",
        num_measures=progression.num_measures,
        chord_progression=progression.chords,
    )
    return complete, tuple(notes)


def to_dict(meta: Meta) -> dict[str, int | str]:
    """All 12 fields under the original's names, "any" where nothing is said, chords as text. `parse_meta` reads it back."""
    values = {name: ANY if (value := getattr(meta, name)) is None else value for name in META_FIELDS}
    if meta.chord_progression is not None:
        values["chord_progression"] = format_chords(meta.chord_progression, meta.time_signature or "4/4", meta.audio_key)
    return values


def template() -> dict[str, int | str]:
    """An example of every field, to be edited."""
    return {
        "bpm": 70,
        "audio_key": "aminor",
        "time_signature": "4/4",
        "pitch_range": "mid_high",
        "num_measures": 8,
        "inst": "acoustic_piano",
        "genre": ANY,
        "min_velocity": 60,
        "max_velocity": 80,
        "track_role": "main_melody",
        "rhythm": "standard",
        "chord_progression": "Am | G | F | E",
    }


def _field_name(name: object) -> str:
    plain = str(name).strip().lower().replace("-", "_").replace(" ", "_")
    plain = _OTHER_NAMES.get(plain, plain)
    if plain not in META_FIELDS:
        raise BadRequest(f"{str(name)[:40]!r} is not a field{_did_you_mean(plain, META_FIELDS)} The fields are {', '.join(META_FIELDS)}.")
    return plain


def _is_any(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING) or value in ([], ())


def _whole_number(name: str, value: object) -> int:
    number = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    low, high = RANGES[name]
    if not (math.isfinite(number) and number == int(number)):
        raise BadRequest(f"{name}: {str(value)[:40]!r} is not a whole number from {low} to {high}.")
    return int(number)


def _key(value: object) -> str:
    text = str(value).strip().replace("♭", "b").replace("♯", "#")
    match = _KEY.fullmatch(re.sub(r"[\s_-]", "", text).lower())
    if match is None:
        raise BadRequest(f"audio_key: {text[:40]!r} is not a key{_did_you_mean(text.lower(), KEYS)} Write it like aminor, F# major or Bbm.")
    tonic = match[1].replace("sharp", "#").replace("flat", "b")
    mode = "minor" if match[2].startswith("m") and not match[2].startswith("maj") else "major"
    if tonic + mode in KEYS:
        return tonic + mode
    return KEY_NAMES[ROOT_PITCH_CLASS[tonic.capitalize()] + (12 if mode == "minor" else 0)]  # Cb, E#, Fb, B#


def _choice(name: str, value: object) -> str:
    text = str(value).strip().lower()
    plain = text.replace(" ", "") if name == "time_signature" else re.sub(r"[\s-]+", "_", re.sub(r"-\d+$", "", text))
    if plain not in CHOICES[name]:
        close = _did_you_mean(plain, CHOICES[name])
        every = f" Choose any or one of {', '.join(CHOICES[name])}." if len(CHOICES[name]) <= 10 or close == "." else ""
        raise BadRequest(f"{name}: {str(value)[:40]!r} is not known{close}{every}")
    return plain


def _did_you_mean(text: str, names: Sequence[str]) -> str:
    inside = [name for name in names if len(text) >= 3 and text in name]
    close = (inside or get_close_matches(text[:80], names, 3, 0.6))[:4]
    return f"; did you mean {' or '.join(close)}?" if close else "."


def _chord_text(value: object) -> str:
    """Text as it is; ["Am", "F"] and ComMU's [["Am", "F"]] as a list of chords."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        parts = [[part] if isinstance(part, str) else part for part in value]
        if all(isinstance(part, Sequence) and all(isinstance(name, str) for name in part) for part in parts):
            return ", ".join(name for part in parts for name in part)
    raise BadRequest('chord_progression: write it as text ("Am | F | C | G") or as a list of chord names.')
