"""One chord symbol (``F#m7``, ``B♭add9``, ``G7/B``, ``♭VII``, ``N.C.``) -> one chord id, with what has to be said about it.

Accidentals arrive here as ``#`` and ``b``, minor dashes as ``m``: `progression` does that for a whole text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from musediff.chords import ANY_CHORD, CHORD_NAMES, EXACT, FOLDED, NO_CHORD, QUALITIES, ROOT_PITCH_CLASS, chord_name, split_root
from musediff.clip import KEY_INDEX, KEY_NAMES, SCALES

_NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
_NUMERAL = re.compile(r"([#b]?)(VII|VI|IV|V|III|II|I|vii|vi|iv|v|iii|ii|i)([^/]*)(?:/([^/]+))?")
_OWN_THIRD = re.compile(r"m(?!aj|M)|dim|o|°|ø|hdim|sus|\+|aug")  # a lower-case numeral followed by this says its third itself
_NO_CHORD = re.compile(r"n\.?c\.?|nn", re.IGNORECASE)
_SLASH_BASS = re.compile(r"(.+)/([A-Ga-g][#b]?)")
_FLAT_KEYS = frozenset({"fmajor", "dminor", "gminor", "cminor", "fminor"})  # beside those with a flat in their name
_FLAT_ROOTS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MAX_SHOWN = 6


@dataclass(slots=True)
class SymbolReader:
    """Reads symbol after symbol in one key (0-11 major from C, 12-23 minor from C) and remembers what it changed."""

    key: int
    numerals: bool = False
    folded: dict[str, str] = field(default_factory=dict)
    bass: dict[str, str] = field(default_factory=dict)
    lower: dict[str, str] = field(default_factory=dict)

    def read(self, symbol: str) -> int | None:
        """Chord id; None if that is no chord."""
        if _NO_CHORD.fullmatch(symbol):
            return NO_CHORD
        if symbol == "?":
            return ANY_CHORD
        numeral = _resolve_numeral(symbol, self.key)
        if numeral is not None:
            self.numerals = True
            chord, was_folded = numeral
            if was_folded:
                self.folded[symbol] = chord_name(chord)
            return chord
        return self._read_letter(symbol)

    def _read_letter(self, symbol: str) -> int | None:
        slash = _SLASH_BASS.fullmatch(symbol)
        body = slash[1] if slash else symbol
        upper = body[:1].upper() + body[1:]
        root = split_root(upper)
        quality = _quality(root[1]) if root else None
        if root is None or quality is None:
            return None
        name = upper[: len(upper) - len(root[1])] + quality[0]
        if slash:
            self.bass[symbol] = name
        elif upper != body:
            self.lower[symbol] = name
        if quality[1]:
            self.folded[body] = name
        return root[0] * len(QUALITIES) + QUALITIES.index(quality[0])

    def notes(self, *, key_was_given: bool) -> list[str]:
        """What a reader of the chords should know, in sentences."""
        notes = []
        if self.numerals:
            name = KEY_NAMES[self.key]
            key = f"{name[0].upper()}{name[1:-5]} {name[-5:]}"
            notes.append(f"Numerals were read in {key}." if key_was_given else f"No key was given: numerals were read in {key}.")
        for said, what in (
            (self.lower, "Lower-case names were read as capitals"),
            (self.folded, "Played as the nearest of the nine chord qualities"),
            (self.bass, "The bass after a slash is dropped"),
        ):
            if said:
                shown = [f"{symbol} as {name}" for symbol, name in list(said.items())[:MAX_SHOWN]]
                notes.append(f"{what}: {', '.join(shown)}{', …' if len(said) > MAX_SHOWN else ''}.")
        return notes


def implied_key(symbols: Iterable[str]) -> int:
    """Key index to read numerals in when none is given: C, minor if the tonic appears only as ``i``."""
    tonics = {match[2] for symbol in symbols if (match := _NUMERAL.fullmatch(symbol)) and not match[1]} & {"I", "i"}
    return KEY_INDEX["cminor" if tonics == {"i"} else "cmajor"]


def spelled(chord: int, key: str | None) -> str:
    """Name of a chord id as the key spells it ("A#" is "Bb" in F major); sharps without a key, "?" for ``ANY_CHORD``."""
    if chord == ANY_CHORD:
        return "?"
    if chord == NO_CHORD or key is None or not (key[1] == "b" or key in _FLAT_KEYS):
        return chord_name(chord)
    return _FLAT_ROOTS[chord // len(QUALITIES)] + QUALITIES[chord % len(QUALITIES)]


def suggestion(symbol: str, before: str) -> str:
    """The end of the sentence "'H7' is not a chord". ``before``: the symbol to the left of it, or ""."""

    def known(text: str) -> bool:
        return SymbolReader(0).read(text) is not None

    candidates = ["B" + symbol[1:]] if symbol[0] in "Hh" else []  # German: H is B
    candidates += [before + symbol, symbol.rstrip(".,-")]
    root = split_root(symbol[0].upper() + symbol[1:])
    if root:
        spelling = symbol[: len(symbol) - len(root[1])].capitalize()
        near = get_close_matches(root[1], QUALITIES, 1, 0.5) or get_close_matches(root[1], [*EXACT, *FOLDED], 1, 0.5)
        candidates.append(spelling + (near[0] if near else ""))
    else:
        candidates += get_close_matches(symbol, [*CHORD_NAMES, *_NUMERALS, *map(str.lower, _NUMERALS), *ROOT_PITCH_CLASS], 1, 0.5)
    good = next((text for text in candidates if known(text)), None)
    return f"; did you mean {good}?" if good else "; write chords like Am, F#m7, Bb, G/B or N.C., or numerals like vi."


def _quality(text: str) -> tuple[str, bool] | None:
    """("add9") -> ("", True): the quality and whether it had to be folded; None if it is unknown."""
    forms = [text, re.sub(r"\(([^()]*)\)", r"\1", text)]
    if re.match(r"maj|min|dim|sus|aug|add|dom", text, re.IGNORECASE):
        forms += [form.lower() for form in forms]
    for form in forms:
        if form in EXACT:
            return EXACT[form], False
        if form in FOLDED:
            return FOLDED[form], True
    bare = re.sub(r"\([^()]*\)", "", text)  # "7(b9,13)": what is in brackets is colour
    quality = EXACT.get(bare, FOLDED.get(bare)) if bare != text else None
    return None if quality is None else (quality, True)


def _resolve_numeral(symbol: str, key: int) -> tuple[int, bool] | None:
    """("V7", key index) -> (chord id, whether folded); None if it is no numeral. ``V/V`` is the V of the V."""
    match = _NUMERAL.fullmatch(symbol)
    if match is None:
        return None
    accidental, numeral, rest, target = match.groups()
    if target is not None:
        inner = _resolve_numeral(target, key)
        tonic = _NUMERAL.fullmatch(target)
        if inner is None or tonic is None:
            return None
        key = inner[0] // len(QUALITIES) + (12 if tonic[2].islower() else 0)
    small = numeral.islower()
    quality = _quality("m" + rest if small and not _OWN_THIRD.match(rest) else rest)
    if quality is None:
        return None
    degree, minor = _NUMERALS.index(numeral.upper()), key >= 12
    step = SCALES[minor][degree]
    if minor and small and degree == 6 and not accidental and quality[0] in ("dim", "m7b5"):
        step = 11  # vii° of a minor key stands on the leading tone
    already_flat = minor and degree in (2, 5, 6)
    step += {"": 0, "#": 1, "b": 0 if already_flat else -1}[accidental]
    return (key + step) % 12 * len(QUALITIES) + QUALITIES.index(quality[0]), quality[1]
