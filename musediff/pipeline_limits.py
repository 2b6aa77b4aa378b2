"""How much can be worked on at once, and which part of a clip."""

from musediff.clip import Clip
from musediff.errors import BadRequest

MAX_TRACKS = 4
MAX_SLOTS = 10_000  # notes and bars of all variants of one job: 1.1-1.6 s a step on two cores (8 accompaniments of 64 bars)
DRAFTED = 2_500  # the same of all drafts, where their number is left open: 8 of each of two variants of 8 bars, 2 of one of 64
NOTES_PER_BAR = 16  # expected at most of a track that is still empty


def check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise BadRequest(f"{name}: {value} is not between 0 and 1.")


def slots(clip: Clip) -> int:
    """Notes and bars, about."""
    empty = sum(not track.notes for track in clip.tracks)
    return sum(len(track.notes) for track in clip.tracks) + clip.num_measures * (NOTES_PER_BAR * empty + len(clip.tracks) + 1)


def check_work(clip: Clip, versions: int) -> None:
    """Attention grows with the square of the notes: what would take minutes a step is refused. ``versions``: variants, or drafts of all."""
    size = slots(clip)
    if versions * size > MAX_SLOTS:
        raise BadRequest(
            f"{versions} variant(s) or drafts of about {size} notes and bars are more than the {MAX_SLOTS} that can be worked on at once. "
            "Ask for fewer variants, drafts, bars or tracks."
        )


def check_drafts(asked: int | None, choice: int) -> None:
    """``choice``: how many the engine usually chooses from in such a job."""
    if asked not in (None, 1) and choice == 1:
        raise BadRequest(
            "drafts: there is nothing to choose from. Only whole new tracks have drafts, written in order by weights that "
            "can choose between them. Leave it out."
        )


def check_region(clip: Clip, tracks: tuple[int, ...], bars: frozenset[int] | None) -> None:
    if len(clip.tracks) > MAX_TRACKS:
        raise BadRequest(f"The clip has {len(clip.tracks)} tracks; at most {MAX_TRACKS} can be worked on at once.")
    if not tracks or not set(tracks) <= set(range(len(clip.tracks))):
        raise BadRequest(f"Tracks to change must be some of 1-{len(clip.tracks)}.")
    if bars is not None and (not bars or not bars <= set(range(clip.num_measures))):
        raise BadRequest(f"Bars to change must lie within 1-{clip.num_measures}.")
