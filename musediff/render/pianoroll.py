"""Clip -> a picture of its notes: a matplotlib figure, a PNG file, or a small dict that the page draws.

A second clip ``before`` shows what was changed: notes kept, added and removed. Bars are counted from 0 in arguments, from 1
in the picture. Opacity is velocity. Tracks differ by colour and by hatching, so that no colour has to be seen.
"""

from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from musediff.chord_symbols import spelled
from musediff.chords import ANY_CHORD
from musediff.clip import TICKS_PER_CHORD, TICKS_PER_QUARTER, Clip, Note, Track, scale_of
from musediff.render.events import is_drums

if TYPE_CHECKING:  # importing matplotlib takes half a second and 40 MB: only who wants a figure pays
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
BEAT_TICKS = {"4/4": 480, "3/4": 480, "6/8": 720, "12/8": 720}
MARGIN, MIN_ROWS = 2, 14  # pitches above and below what is played; at least so many rows
EMPTY_RANGE = (60, 72)

KEPT, ADDED, REMOVED = "kept", "added", "removed"
# Okabe and Ito's colours, told apart with every kind of colour vision, and a pattern each.
STYLES = (
    ("#0072b2", ""), ("#d55e00", "////"), ("#009e73", "...."), ("#cc79a7", "\\\\\\\\"), ("#e69f00", "xxxx"),
    ("#56b4e9", "----"), ("#7f6f4f", "||||"), ("#5f5f9f", "++++"),
)  # fmt: skip
REMOVED_COLOUR, REGION_COLOUR = "#b00020", "#fff2b3"
# General MIDI drum keys that carry most beats.
DRUM_NAMES = {
    35: "kick", 36: "kick", 37: "rim", 38: "snare", 39: "clap", 40: "snare", 41: "tom", 42: "hat", 43: "tom", 44: "pedal hat",
    45: "tom", 46: "open hat", 47: "tom", 48: "tom", 49: "crash", 50: "tom", 51: "ride", 53: "ride", 57: "crash",
}  # fmt: skip


class NotesDiff(NamedTuple):
    """Notes alike in onset, pitch, duration and velocity are kept; each of the three in order."""

    kept: tuple[Note, ...]
    added: tuple[Note, ...]
    removed: tuple[Note, ...]


def notes_diff(before: Track | None, after: Track | None) -> NotesDiff:
    """What became of the notes of a track. None is a track that is not there."""
    old, new = (Counter(track.notes if track else ()) for track in (before, after))
    return NotesDiff(*(tuple(sorted(part.elements())) for part in (old & new, new - old, old - new)))


def track_changes(clip: Clip, before: Clip | None) -> list[tuple[Track, list[tuple[Note, str]]]]:
    """Each track, also those that only ``before`` has, with its notes and what became of each; "kept" without ``before``."""
    if before is None:
        return [(track, [(note, KEPT) for note in track.notes]) for track in clip.tracks]
    out = []
    for new, old in zip_longest(clip.tracks, before.tracks):
        diff = notes_diff(old, new)
        marked = [(note, status) for notes, status in zip(diff, (KEPT, ADDED, REMOVED), strict=True) for note in notes]
        out.append((new or old, sorted((note, status) for note, status in marked if note.onset_ticks < clip.end_ticks)))
    return out


def chord_changes(clip: Clip) -> list[tuple[int, str]]:
    """(tick, name) wherever the chord changes; "" where none is known."""
    chords = clip.chords or ()
    return [
        (i * TICKS_PER_CHORD, "" if chord == ANY_CHORD else spelled(chord, clip.key))
        for i, chord in enumerate(chords)
        if i == 0 or chord != chords[i - 1]
    ]


def pitch_bounds(pitches: list[int]) -> tuple[int, int]:
    """Lowest and highest row to show."""
    low, high = (min(pitches), max(pitches)) if pitches else EMPTY_RANGE
    more = max(0, MIN_ROWS - (high - low + 1 + 2 * MARGIN))
    return max(0, low - MARGIN - more // 2), min(127, high + MARGIN + (more + 1) // 2)


def roll_json(
    clip: Clip, before: Clip | None = None, audio_seconds: float | None = None, bars: frozenset[int] | None = None
) -> dict[str, Any]:
    """What the page draws, in plain numbers, strings and lists.

    bars, bar_ticks, beat_ticks, seconds_per_tick; seconds: of the sound, or of the bars; time_signature, bpm;
    key: {name, tonic, scale: pitch classes} or null; chords: [{tick, name}] at changes; low, high: pitches to show;
    region: changed bars, from 0; tracks: [{name, instrument, role, drums, notes: [[onset, pitch, duration, velocity, status]]}]
    with status "kept", "added" or "removed", left out without ``before``.
    """
    tracks = track_changes(clip, before)
    low, high = pitch_bounds([note.pitch for track, notes in tracks if not is_drums(track) for note, _ in notes])
    scale = list(scale_of(clip.key)) if clip.key else []
    return {
        "bars": clip.num_measures, "bar_ticks": clip.bar_ticks, "beat_ticks": BEAT_TICKS[clip.time_signature],
        "seconds_per_tick": 60 / clip.bpm / TICKS_PER_QUARTER, "seconds": clip.seconds if audio_seconds is None else audio_seconds,
        "time_signature": clip.time_signature, "bpm": clip.bpm,
        "key": {"name": clip.key, "tonic": scale[0], "scale": scale} if clip.key else None,
        "chords": [{"tick": tick, "name": name} for tick, name in chord_changes(clip)],
        "low": low, "high": high, "region": sorted(bars or ()),
        "tracks": [
            {
                "name": label(track, i), "instrument": track.instrument, "role": track.role, "drums": is_drums(track),
                "notes": [[*note] if before is None else [*note, status] for note, status in notes],
            }
            for i, (track, notes) in enumerate(tracks)
        ],
    }  # fmt: skip


def label(track: Track, index: int) -> str:
    """A name for people: the track's own, else what it is, else its number."""
    known = [text.replace("_", " ") for text in (track.role, track.instrument) if text]
    return track.name or ", ".join(known) or f"track {index + 1}"


def figure(clip: Clip, *, before: Clip | None = None, bars: frozenset[int] | None = None) -> "Figure":
    """Chord lane, piano-roll and, where there are drums, a drum lane. ``bars``: shaded as the changed region.

    The figure stands alone (no pyplot), so any thread may make one.
    """
    from matplotlib.figure import Figure

    tracks = track_changes(clip, before)
    pitches = [note.pitch for track, notes in tracks if not is_drums(track) for note, _ in notes]
    drums = sorted({note.pitch for track, notes in tracks if is_drums(track) for note, _ in notes})
    low, high = pitch_bounds(pitches)
    heights = [0.3, (high - low + 1) * 0.11] + ([max(2, len(drums)) * 0.17] if drums else [])
    fig = Figure(figsize=(min(26, 3 + 1.5 * clip.num_measures), 1.5 + sum(heights)), dpi=110, layout="constrained")
    axes = fig.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    draw_chords(axes[0], clip, fig.get_figwidth())
    draw_keyboard(axes[1], clip, low, high)
    if drums:
        axes[2].set_yticks(range(len(drums)), [DRUM_NAMES.get(p, str(p)) for p in drums], fontsize=7)
        axes[2].set_ylim(-0.6, len(drums) - 0.4)
    for ax in axes:
        draw_grid(ax, clip, bars or frozenset())
    for i, (track, notes) in enumerate(tracks):
        rows = {pitch: row for row, pitch in enumerate(drums)} if is_drums(track) else {p: p for p in range(128)}
        draw_notes(axes[2 if is_drums(track) else 1], i, notes, rows)
    draw_labels(fig, axes[-1], clip, [label(track, i) for i, (track, _) in enumerate(tracks)], before is not None)
    return fig


def save_png(clip: Clip, path: Path, *, before: Clip | None = None, bars: frozenset[int] | None = None) -> None:
    """Write the figure as a PNG file."""
    figure(clip, before=before, bars=bars).savefig(path, format="png")


def draw_grid(ax: "Axes", clip: Clip, region: frozenset[int]) -> None:
    """Lines of beats and bars; the bars of the region shaded."""
    for tick in range(0, clip.end_ticks + 1, BEAT_TICKS[clip.time_signature]):
        bar_line = tick % clip.bar_ticks == 0
        ax.axvline(tick, color="#444444" if bar_line else "#bbbbbb", linewidth=1.1 if bar_line else 0.5, zorder=1)
    for bar in sorted(region):
        ax.axvspan(bar * clip.bar_ticks, (bar + 1) * clip.bar_ticks, color=REGION_COLOUR, linewidth=0, zorder=0.5)
    ax.set_xlim(0, clip.end_ticks)
    ax.tick_params(length=0)


def draw_chords(ax: "Axes", clip: Clip, width: float) -> None:
    """The name of each chord where it begins, smaller where the next one follows soon. ``width``: inches of the figure."""
    starts = chord_changes(clip)
    inches_per_tick = 0.93 * width / clip.end_ticks
    ends = [tick for tick, _ in starts[1:]] + [clip.end_ticks]
    for (tick, name), after in zip(starts, ends, strict=False):
        fits = 9 * (after - tick) * inches_per_tick / (0.1 * len(name) + 0.1)
        size = max(4, min(9, fits))
        ax.annotate(name, (tick, 0.5), xytext=(3, 0), textcoords="offset points", va="center", fontsize=size, annotation_clip=True)
    ax.set_ylim(0, 1)
    ax.set_yticks([0.5], ["chords"], fontsize=8)
    ax.tick_params(labelbottom=False)


def draw_keyboard(ax: "Axes", clip: Clip, low: int, high: int) -> None:
    """Rows outside the key (or the black keys, where no key is known) tinted, each C named."""
    inside = set(scale_of(clip.key)) if clip.key else set(range(12)) - BLACK_KEYS
    for pitch in range(low, high + 1):
        if pitch % 12 not in inside:
            ax.axhspan(pitch - 0.5, pitch + 0.5, color="#f0f0f3", linewidth=0, zorder=0)
        if pitch % 12 == 0:
            ax.axhline(pitch - 0.5, color="#888888", linewidth=0.6, zorder=1)
    named = [pitch for pitch in range(low, high + 1) if pitch % 12 == 0]
    ax.set_yticks(named, [f"C{pitch // 12 - 1}" for pitch in named], fontsize=8)
    ax.set_ylim(low - 0.5, high + 0.5)


def draw_notes(ax: "Axes", index: int, notes: list[tuple[Note, str]], rows: dict[int, int]) -> None:
    """One box a note: filled if kept, with a heavy edge and a mark if added, a hatched outline if removed."""
    from matplotlib.patches import Rectangle

    for note, status in notes:
        box = Rectangle((note.onset_ticks, rows[note.pitch] - 0.42), note.duration_ticks, 0.84, **note_style(index, status, note.velocity))
        box.set_gid(status)
        ax.add_patch(box)
    added = [(note.onset_ticks, rows[note.pitch]) for note, status in notes if status == ADDED]
    if added:
        ax.plot(*zip(*added, strict=True), linestyle="", marker="P", markersize=4, color="black", zorder=4)


def note_style(index: int, status: str, velocity: int) -> dict[str, Any]:
    """How a box of a track looks, in matplotlib's words."""
    if status == REMOVED:
        return {"fill": False, "edgecolor": REMOVED_COLOUR, "linestyle": "--", "linewidth": 0.9, "hatch": "//////", "zorder": 2}
    colour, hatch = STYLES[index % len(STYLES)]
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    face = (red, green, blue, 0.3 + 0.7 * velocity / 127)
    edge = {"edgecolor": "black", "linewidth": 1.4} if status == ADDED else {"edgecolor": (0, 0, 0, 0.45), "linewidth": 0.4}
    return {"facecolor": face, "hatch": hatch, "zorder": 3, **edge}


def draw_labels(fig: "Figure", lowest: "Axes", clip: Clip, names: list[str], changes: bool) -> None:
    """Title, bar numbers and legend."""
    from matplotlib.patches import Patch

    key = f", {clip.key[:-5].capitalize()} {clip.key[-5:]}" if clip.key else ""
    fig.suptitle(f"{clip.num_measures} bars of {clip.time_signature}, {clip.bpm} bpm{key}", fontsize=10)
    step = next(s for s in (1, 2, 4, 8) if clip.num_measures <= 16 * s)
    shown = range(0, clip.num_measures, step)
    lowest.set_xticks([bar * clip.bar_ticks for bar in shown], [str(bar + 1) for bar in shown], fontsize=8)
    lowest.set_xlabel("bar", fontsize=8)
    handles = [Patch(label=name, **note_style(i, KEPT, 100)) for i, name in enumerate(names)]
    if changes:
        handles += [Patch(label=status, **note_style(0, status, 100)) for status in (ADDED, REMOVED)]
    fig.legend(handles=handles, loc="outside lower center", ncols=min(6, max(1, len(handles))), fontsize=8, frameon=False)
