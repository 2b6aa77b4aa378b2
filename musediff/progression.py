"""Chord text -> one chord id per half beat (240 ticks), and back.

``Am | F C | G7/B | N.C.``: bars between ``|`` or line ends, chords between spaces (or dashes, commas); an empty bar or ``%``
repeats the bar before, ``%`` beside chords holds the chord before, ``?`` leaves the chord open. ``I–V–vi–IV`` stands for
the degrees of the key. A text without ``|`` in which single chords are separated (``C-G-Am-F``) is one bar each, or one per
half beat (``Am-Am-Am-Am-Am-Am-Am-Am-G-…``) when only that makes the bars come out.

k chords in a bar last whole beats while there are enough (4/4: 3 chords = 2 + 1 + 1 beats), else half beats (5 = 2 + 2 + 2
+ 1 + 1); the first ones get what is left over. A beat of 6/8 and 12/8 is a dotted quarter.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from musediff.chord_symbols import SymbolReader, implied_key, spelled, suggestion
from musediff.chords import ANY_CHORD
from musediff.clip import BAR_TICKS, KEY_INDEX, MAX_BARS, TICKS_PER_CHORD
from musediff.errors import BadRequest

# (name, numerals). Minor ones carry their flats, so they sound the same whether the key is major or minor.
PRESETS: tuple[tuple[str, str], ...] = (
    ("Pop (I–V–vi–IV)", "I–V–vi–IV"),
    ("Pop, from vi (vi–IV–I–V)", "vi–IV–I–V"),
    ("Fifties (I–vi–IV–V)", "I–vi–IV–V"),
    ("Pachelbel's canon", "I–V–vi–iii–IV–I–IV–V"),
    ("Royal road (IV–V–iii–vi)", "IVmaj7–V7–iii7–vi"),
    ("Jazz ii–V–I", "ii7 | V7 | Imaj7 | %"),
    ("Jazz turnaround", "Imaj7 vi7 | ii7 V7"),
    ("Twelve-bar blues", "I7 | IV7 | I7 | % | IV7 | % | I7 | % | V7 | IV7 | I7 | V7"),
    ("Mixolydian rock (I–♭VII–IV–I)", "I–♭VII–IV–I"),
    ("Andalusian (minor)", "i–♭VII–♭VI–V"),
    ("Cinematic (minor)", "i–♭VI–♭III–♭VII"),
    ("Lament (minor)", "i–iv–♭VII–V"),
    ("Jazz ii–V–i (minor)", "iiø | V7 | i | %"),
    ("Falling fifths (minor)", "iv7 | ♭VII7 | ♭IIImaj7 | ♭VImaj7 | iiø | V7 | i | %"),
)

MAX_CHARACTERS = 10_000
_BEATS = {"4/4": 4, "3/4": 3, "6/8": 2, "12/8": 4}
_TRANSLATE = str.maketrans(
    {"♭": "b", "♯": "#", "º": "°", "△": "Δ", "Ø": "ø", "−": "-"} | dict.fromkeys("–—→;", ",") | dict.fromkeys("[]'\"", " ")
)
# A dash that belongs to its chord ("C-7", "Bm7-5") and does not separate two.
_DASH_FIVE = re.compile(r"(?<=7)-(?=5)")
_DASH_MINOR = re.compile(r"(?<=[A-Ga-g#bIViv])-(?=\d|maj|M7|[(/|]|\s|$)")
_COMMA = r",(?![^()]*\))"  # not the one inside sus4(b7,9)


@dataclass(frozen=True, slots=True)
class Progression:
    """``chords``: one id per half beat, ``num_measures`` whole bars. ``notes``: what was assumed or changed, in sentences."""

    chords: tuple[int, ...]
    num_measures: int
    notes: tuple[str, ...]


def parse(text: str, *, key: str | None, time_signature: str, num_measures: int | None) -> Progression:
    """Read a progression. A shorter one repeats until ``num_measures`` are full; with None it decides the bars itself.

    Numerals need a key (one of ``KEYS``); without one they are read in C, minor if the tonic is written ``i``. In a minor key
    degrees are those of natural minor: VI = ♭VI, and vii° (diminished) stands on the leading tone.

    Raises:
        BadRequest: a chord is unknown (the message names the bar and suggests one), or there are too many.
    """
    if time_signature not in BAR_TICKS:
        raise BadRequest(f"time_signature: {time_signature!r} is not known. Choose one of {', '.join(BAR_TICKS)}.")
    if key is not None and key not in KEY_INDEX:
        raise BadRequest(f"audio_key: {key!r} is not known. Write it like aminor or f#major.")
    if len(text) > MAX_CHARACTERS:
        raise BadRequest(f"The chord text has {len(text):,} characters; {MAX_CHARACTERS:,} is the most that is read.")
    slots = BAR_TICKS[time_signature] // TICKS_PER_CHORD
    notes: list[str] = []
    tokens = _split(_clean(text), slots, num_measures, notes)
    if not tokens:
        raise BadRequest("There are no chords in the text: write for example Am | F | C | G, or leave it empty for any.")
    limit = MAX_BARS if num_measures is None else num_measures
    if len(tokens) > limit:
        more = f", or ask for {len(tokens)} bars" if len(tokens) <= MAX_BARS else ""
        raise BadRequest(f"The chords fill {len(tokens)} bars, but there is room for {limit}: shorten them{more}.")
    reader = SymbolReader(KEY_INDEX[key] if key else implied_key(token for bar in tokens for token in bar))
    bars = _fill(tokens, reader, time_signature)
    notes += reader.notes(key_was_given=key is not None)
    if num_measures is not None and len(bars) < num_measures:
        cut = ", the last time not to its end" if num_measures % len(bars) else ""
        notes.append(f"The chords fill {_count(len(bars), 'bar')} and repeat until {num_measures} are full{cut}.")
        bars = [bars[i % len(bars)] for i in range(num_measures)]
    return Progression(tuple(chord for bar in bars for chord in bar), len(bars), tuple(notes))


def format(chords: Sequence[int], time_signature: str, key: str | None = None) -> str:
    """The shortest text that `parse` turns into these ids (``ANY_CHORD`` is ``?``), with flats where the key has them. Whole bars."""
    slots = BAR_TICKS[time_signature] // TICKS_PER_CHORD
    assert chords and len(chords) % slots == 0, len(chords)
    bars = [tuple(chords[i : i + slots]) for i in range(0, len(chords), slots)]
    texts = []
    for number, bar in enumerate(bars):
        again = number > 0 and bar == bars[number - 1] and len(set(bar)) > 1
        texts.append("%" if again else _bar_text(bar, time_signature, key))
    lone = len(texts) == 1 and " " in texts[0]  # without any | its chords would be one bar each
    return ("| " if lone else "") + " | ".join(texts)


def _bar_text(bar: tuple[int, ...], time_signature: str, key: str | None) -> str:
    for count in range(1, len(bar) + 1):
        starts, start = [], 0
        for share in _shares(count, time_signature):
            starts.append(bar[start])
            if len(set(bar[start : start + share])) > 1:
                break
            start += share
        else:
            return " ".join(spelled(chord, key) for chord in starts)
    raise AssertionError("one chord per half beat always fits")


def _shares(count: int, time_signature: str) -> list[int]:
    """Half beats of each of ``count`` chords in a bar."""
    slots = BAR_TICKS[time_signature] // TICKS_PER_CHORD
    parts = _BEATS[time_signature] if count <= _BEATS[time_signature] else slots
    share, left = divmod(parts, count)
    return [(share + (i < left)) * (slots // parts) for i in range(count)]


def _clean(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.translate(_TRANSLATE).splitlines())
    text = "\n".join(line for line in lines if line)
    if ":" in text:
        raise BadRequest("Repeat signs (:) are not read: write the bars out, or use % for the bar before.")
    if "|" not in text:
        text = text.strip(" \t\n,-")
    text = re.sub(r"\s+(?=\()|\s*(?=/\s*[A-G])|(?<=/)\s+(?=[A-G])", "", text)  # "G / B" and "C (add9)" are one chord
    text = _DASH_MINOR.sub("m", _DASH_FIVE.sub("b", text))
    return re.sub(r"\|{2,}", "|", text).replace("-", ",")


def _split(text: str, slots: int, num_measures: int | None, notes: list[str]) -> list[list[str]]:
    """The chords of each bar, still as text; an empty list is an empty bar."""
    if "|" in text:
        lines = [line.strip() for line in text.split("\n")]
        between = [bar for line in lines if line not in ("", "|") for bar in line.removeprefix("|").removesuffix("|").split("|")]
        return [[chord for chord in re.split(rf"\s+|{_COMMA}", bar) if chord] for bar in between]
    bars = [item.split() for item in re.split(rf"\n|{_COMMA}", text) if item.strip()]
    if len(bars) == 1:
        bars = [[chord] for chord in bars[0]]
    count = len(bars)
    if count < 2 or any(len(bar) > 1 for bar in bars):
        return bars
    if num_measures is None:
        # Eight chords in 4/4 may be one bar or eight: the form of one per half beat holds each chord for a while.
        per_half_beat = count % slots == 0 and any(a == b for a, b in pairwise(bars))
    else:
        per_half_beat = count > num_measures and count % slots == 0 and count // slots <= num_measures
    if not per_half_beat:
        notes.append(f"{count} chords, read as one bar each.")
        return bars
    notes.append(f"{count} chords, read as one per half beat: {_count(count // slots, 'bar')}.")
    return [[bar[0] for bar in bars[i : i + slots]] for i in range(0, count, slots)]


def _fill(bars: list[list[str]], reader: SymbolReader, time_signature: str) -> list[tuple[int, ...]]:
    slots = BAR_TICKS[time_signature] // TICKS_PER_CHORD
    filled: list[tuple[int, ...]] = []
    for number, tokens in enumerate(bars, start=1):
        if not filled and (not tokens or tokens[0] == "%"):
            raise BadRequest(f"bar {number}: nothing stands before it that could be repeated. Write a chord.")
        if tokens in ([], ["%"]):
            filled.append(filled[-1])
            continue
        if len(tokens) > slots:
            raise BadRequest(f"bar {number} has {len(tokens)} chords; {slots} fit into a bar of {time_signature} (one per half beat).")
        ids: list[int] = []
        for place, token in enumerate(tokens):
            before = ids[-1] if ids else filled[-1][-1] if filled else ANY_CHORD
            chord = before if token == "%" else reader.read(token)
            if chord is None:
                shown = token if len(token) <= 20 else token[:20] + "…"
                raise BadRequest(f"bar {number}: '{shown}' is not a chord{suggestion(token, tokens[place - 1] if place else '')}")
            ids.append(chord)
        shares = _shares(len(ids), time_signature)
        filled.append(tuple(chord for chord, share in zip(ids, shares, strict=True) for _ in range(share)))
    return filled


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
