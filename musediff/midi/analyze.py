"""``Score`` -> ``Clip``: up to 64 bars of the chosen tracks with all twelve metadata inferred, and sentences on what was assumed.

The clip begins at the first bar in which a chosen track plays. Notes are not quantised. A file that ``write`` made comes back as it
was: bars counted from its beginning to its end mark, chords from its markers, key from its signature. The genre stays unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from musediff.clip import KEY_NAMES, MAX_BARS, Clip, Note, Track, mean_pitch_range, rhythm_of
from musediff.errors import BadMidi, BadRequest
from musediff.midi.grid import Grid, bar_grid
from musediff.midi.instruments import instrument_of, is_exact
from musediff.midi.labels import chords_of, key_of
from musediff.midi.perform import count
from musediff.midi.roles import roles
from musediff.midi.score import Score, is_own
from musediff.midi.timing import off_grid_share, typical_bpm

EARLY_TICKS = 30  # a note this much before a bar line is meant for the bar
HANGING_SHARE = 8  # a last note may hang over the bar line by an eighth of a bar without adding a bar
OFF_GRID_WORTH_SAYING = 0.05
_CHOICE = ("main_melody", "sub_melody", "riff", "accompaniment", "pad", "bass")  # which role is offered first
_FEW = 0.1  # with fewer notes than this share of the busiest track a track is an effect, not a part


@dataclass(frozen=True, slots=True)
class Analysis:
    """``notes``: plain sentences on what was chosen, trimmed, averaged or assumed."""

    clip: Clip
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrackInfo:
    """One line of a track picker. ``index`` is what ``analyze`` takes."""

    index: int
    name: str
    instrument: str
    role: str | None
    num_notes: int
    is_drum: bool


@dataclass(frozen=True, slots=True)
class _Window:
    """Bars that become the clip, in ticks of the file."""

    start_ticks: int
    end_ticks: int
    num_measures: int

    def cut(self, notes: Sequence[Note]) -> tuple[Note, ...]:
        """Notes that begin inside, from the window's start, ended at its end; one that comes too early for the first bar begins it."""
        inside = [n for n in notes if self.start_ticks - EARLY_TICKS <= n.onset_ticks < self.end_ticks]
        moved = []
        for note in inside:
            onset = max(note.onset_ticks, self.start_ticks)
            end = min(note.onset_ticks + note.duration_ticks, self.end_ticks)
            moved.append(Note(onset - self.start_ticks, note.pitch, max(1, end - onset), note.velocity))
        return tuple(sorted(moved))


def track_infos(score: Score) -> tuple[TrackInfo, ...]:
    """What can be chosen from, in the order of the file."""
    found = roles(score.tracks, bar_grid(score).bar_ticks)
    return tuple(
        TrackInfo(i, _name(score, i), instrument_of(track), role, len(track.notes), track.is_drum)
        for i, (track, role) in enumerate(zip(score.tracks, found, strict=True))
    )


def analyze(
    score: Score, tracks: Sequence[int] | None = None, first_bar: int = 0, max_bars: int = MAX_BARS, companions: int = 0
) -> Analysis:
    """A clip of the chosen tracks. ``first_bar`` counts from the first bar in which they play.

    ``companions``: how many further pitched tracks go along behind the chosen ones, the busiest first.

    Raises:
        BadMidi: no track is chosen and the file has only drums.
        BadRequest: a chosen track or the first bar does not exist.
    """
    grid = bar_grid(score)
    found = roles(score.tracks, grid.bar_ticks)
    chosen, notes = _choose(score, found, tracks)
    window, said_window = _window(score, chosen, grid, first_bar, min(max_bars, MAX_BARS))
    chosen, notes = _accompanied(score, found, chosen, notes, companions)
    bpm, said_bpm = typical_bpm(score.tempos, window.start_ticks, window.end_ticks)
    sounding = [n for track in score.tracks if not track.is_drum for n in window.cut(track.notes)]
    key, said_key = key_of(score, sounding, window.start_ticks)
    parts = tuple(_part(score, i, found[i], window) for i in chosen)
    onsets = [n.onset_ticks for part in parts for n in part.notes]
    clip = Clip(
        num_measures=window.num_measures, tracks=parts, time_signature=grid.time_signature, bpm=bpm,
        key=None if key is None else KEY_NAMES[key], rhythm=rhythm_of(onsets, grid.time_signature),
        chords=chords_of(score, sounding, grid, window.start_ticks, window.num_measures, key),
    )  # fmt: skip
    notes = [*notes, *grid.notes, *said_window, *said_bpm, *said_key, *_said_instruments(score, chosen)]
    if (off := off_grid_share(onsets)) > OFF_GRID_WORTH_SAYING:
        notes.append(f"{off:.0%} of the notes are off the grid of sixteenths and triplets; they are kept as played.")
    return Analysis(clip, tuple(notes))


def _name(score: Score, index: int) -> str:
    return score.tracks[index].name or f"track {index + 1}"


def _choose(score: Score, found: Sequence[str | None], tracks: Sequence[int] | None) -> tuple[list[int], list[str]]:
    """Tracks to take, and a sentence if the choice was ours: the melody if there is one, of equals the one with most notes."""
    if tracks is not None:
        unknown = [i + 1 for i in tracks if not 0 <= i < len(score.tracks)]
        if unknown or not tracks:
            raise BadRequest(f"track {unknown[0] if unknown else 'none'} cannot be chosen; the file has tracks 1 to {len(score.tracks)}.")
        return list(dict.fromkeys(tracks)), []
    pitched = [i for i, role in enumerate(found) if role is not None]
    if not pitched:
        raise BadMidi("The file has only drums (MIDI channel 10). Choose a file with at least one pitched instrument.")
    most = max(len(score.tracks[i].notes) for i in pitched)

    def rank(index: int) -> tuple[bool, int, int]:
        amount = len(score.tracks[index].notes)
        return amount < _FEW * most, _CHOICE.index(found[index] or _CHOICE[-1]), -amount

    best = min(pitched, key=rank)
    if len(pitched) == 1:
        drums = len(score.tracks) - 1
        return [best], [f"{count(drums, 'drum track is', 'drum tracks are')} left out."] if drums else []
    about = f"{instrument_of(score.tracks[best])}, {found[best]}"
    return [best], [f"Of {len(score.tracks)} tracks, “{_name(score, best)}” was chosen ({about})."]


def _accompanied(
    score: Score, found: Sequence[str | None], chosen: list[int], notes: list[str], companions: int
) -> tuple[list[int], list[str]]:
    """The chosen tracks and the busiest of the others, with a sentence on who goes along and who stays out."""
    others = sorted((i for i, role in enumerate(found) if role is not None and i not in chosen), key=lambda i: -len(score.tracks[i].notes))
    along, out = others[: max(0, companions)], len(score.tracks) - len(chosen) - min(max(0, companions), len(others))
    if along:
        notes = [*notes, f"{', '.join(f'“{_name(score, i)}”' for i in along)} {'goes' if len(along) == 1 else 'go'} along unchanged."]
    if companions and out and (along or not notes):
        notes = [*notes, f"{count(out, 'track is', 'tracks are')} left out."]
    return [*chosen, *along], notes


def _window(score: Score, chosen: Sequence[int], grid: Grid, first_bar: int, max_bars: int) -> tuple[_Window, list[str]]:
    """Whole bars from the first with a note of the chosen tracks to the last, at most ``max_bars``."""
    bar, origin = grid.bar_ticks, grid.origin_ticks
    played = [n for i in chosen for n in score.tracks[i].notes]
    if is_own(score):
        begin, stop = origin, score.end_ticks
    else:
        begin = (min(n.onset_ticks for n in played) + EARLY_TICKS - origin) // bar * bar + origin
        last = max(n.onset_ticks for n in played)
        stop = max(last + 1, max(n.onset_ticks + n.duration_ticks for n in played) - bar // HANGING_SHARE)
    there = max(1, -((begin - stop) // bar))
    if not 0 <= first_bar < there:
        raise BadRequest(f"The clip cannot begin with bar {first_bar + 1}: the chosen tracks have bars 1 to {there}.")
    bars = min(there - first_bar, max_bars)
    start = begin + first_bar * bar
    window = _Window(start, start + bars * bar, bars)
    notes = []
    if begin - origin >= bar:
        notes.append(f"{count((begin - origin) // bar, 'bar', 'bars')} of silence before the first note left out.")
    if bars < there:
        notes.append(f"Bars {first_bar + 1} to {first_bar + bars} of {there} are kept.")
    cut = sum(n.onset_ticks < window.end_ticks < n.onset_ticks + n.duration_ticks for n in played)
    if cut:
        notes.append(f"{count(cut, 'note was', 'notes were')} cut at the end of the last bar.")
    return window, notes


def _part(score: Score, index: int, role: str | None, window: _Window) -> Track:
    track = score.tracks[index]
    notes = window.cut(track.notes)
    velocities = [n.velocity for n in notes]
    return Track(
        notes=notes, role=role, instrument=instrument_of(track), name=track.name,
        pitch_range=mean_pitch_range(sum(n.pitch for n in notes) / len(notes)) if notes else None,
        min_velocity=min(velocities, default=None), max_velocity=max(velocities, default=None),
    )  # fmt: skip


def _said_instruments(score: Score, chosen: Sequence[int]) -> list[str]:
    return [
        f"“{_name(score, i)}” plays General MIDI program {score.tracks[i].program + 1}; "
        f"the nearest instrument is {instrument_of(score.tracks[i])}."
        for i in chosen
        if not is_exact(score.tracks[i])
    ]
