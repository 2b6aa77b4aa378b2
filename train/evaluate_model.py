"""Weights and held-out songs -> how good the clips are that they make and repair.

Every generated clip takes the metadata and chords of a held-out clip. Beside each figure stands the same figure of real
clips: other songs (of the training side) in the same mix of corpora. All seeds are fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from musediff.clip import ROLES, Clip
from musediff.data import store as packed
from musediff.data.choose import choose
from musediff.data.clips import clip_at
from musediff.metrics.control import bars_exact, chord_tone_ratio, pitch_control, velocity_control
from musediff.metrics.repair import damage, detection_f1
from musediff.metrics.similarity import COMPONENTS, ByComponent, Vectors, msim, one_nn_accuracy, stack, vectors
from musediff.pipeline import MusePipeline, Sampling

BARS = 8
DAMAGE = 0.4


@dataclass(frozen=True, slots=True)
class Settings:
    """What to measure. ``repairs`` clips per role are damaged and repaired."""

    clips: int = 200
    repairs: int = 60
    sampling: Sampling = field(default_factory=Sampling)
    corpora: tuple[str, ...] = ()
    roles: tuple[str, ...] = ROLES[:5]


def pick(store: packed.Store, split: int, role: str, corpora: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Rows of 8-bar clips of a role, without drums unless they are asked for."""
    return choose(store, split, rng, ROLES.index(role), BARS, corpora, () if corpora else ("groove",))


def songs_of(store: packed.Store, rows: np.ndarray) -> int:
    return len(np.unique(store.clip_song[rows]))


def same_mix(store: packed.Store, like: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """As many rows (one per song) as ``like`` has, from the same corpora."""
    corpus = lambda r: store.song_corpus[store.clip_song[r]]  # noqa: E731
    chosen = [
        rows[: songs_of(store, rows)][corpus(rows[: songs_of(store, rows)]) == name][: int((corpus(like) == name).sum())]
        for name in np.unique(corpus(like))
    ]
    return np.concatenate(chosen)


def stacked(clips: Sequence[Clip]) -> Vectors:
    return stack([vectors(clip.tracks[0].notes, clip) for clip in clips])


def generate(pipeline: MusePipeline, clips: Sequence[Clip], sampling: Sampling, role: str) -> list[Clip]:
    """One clip per held-out clip, with its metadata and chords."""
    jobs = tqdm(list(enumerate(clips)), desc=f"{role}: generate", leave=False)
    return [pipeline.generate(clip.meta(), replace(sampling, seed=i)).clips[0] for i, clip in jobs]


def describe(clips: Sequence[Clip], asked: Sequence[Clip]) -> dict[str, float]:
    """Control figures of clips against the metadata of ``asked``."""
    with_notes = [(c, a.meta()) for c, a in zip(clips, asked, strict=True) if c.tracks[0].notes]
    chorded = [c for c, _ in with_notes if c.chords]
    return {
        "valid": float(np.mean([bool(c.tracks[0].notes) and legal(c) for c in clips])),
        "bars_exact": float(np.mean([bars_exact(c, a.num_measures) for c, a in zip(clips, asked, strict=True)])),
        "velocity_inside": float(
            np.mean([velocity_control(c.tracks[0].notes, m.min_velocity, m.max_velocity) == 1 for c, m in with_notes])
        ),
        "pitch_inside": float(np.mean([pitch_control(c.tracks[0].notes, m.pitch_range) for c, m in with_notes if m.pitch_range])),
        "chord_tones": float(np.nanmean([chord_tone_ratio(c.tracks[0].notes, c) for c in chorded])),
        "notes": float(np.mean([len(c.tracks[0].notes) for c in clips])),
    }


def legal(clip: Clip) -> bool:
    """Every note lies inside the clip and the MIDI ranges."""
    return all(
        n.onset_ticks >= 0
        and n.onset_ticks + n.duration_ticks <= clip.end_ticks
        and n.duration_ticks > 0
        and 0 <= n.pitch <= 127
        and 1 <= n.velocity <= 127
        for n in clip.tracks[0].notes
    )


def repair(pipeline: MusePipeline, clips: Sequence[Clip], role: str) -> dict[str, float]:
    """Damage 40 % of the notes (pitch, duration, velocity), repair without telling the share; and repair the clean clip."""
    rows = []
    for i, clip in enumerate(tqdm(clips, desc=f"{role}: repair", leave=False)):
        track = clip.tracks[0]
        notes, bad = damage(track.notes, np.random.default_rng(i), DAMAGE, clip.bar_ticks)
        broken = replace(clip, tracks=(replace(track, notes=notes),))
        mended = pipeline.repair(broken, sampling=Sampling(seed=i)).clips[0]
        left = set(mended.tracks[0].notes)
        found = {k for k, note in enumerate(notes) if note not in left}
        again = set(pipeline.repair(clip, sampling=Sampling(seed=i)).clips[0].tracks[0].notes)
        touched = np.mean([note not in again for note in track.notes])
        whole = vectors(track.notes, clip)
        similarity = [msim(whole, vectors(n, clip)).product for n in (notes, mended.tracks[0].notes)]
        rows.append((*detection_f1(found, bad), *similarity, touched))
    names = ("precision", "recall", "f1", "msim_damaged", "msim_repaired", "clean_changed")
    return dict(zip(names, np.mean(rows, 0).round(4).tolist(), strict=True))


def evaluate_role(pipeline: MusePipeline, store: packed.Store, role: str, settings: Settings) -> dict[str, object]:
    """All figures of one role."""
    rng = np.random.default_rng(7)
    held_out = pick(store, packed.VALID, role, settings.corpora, rng)[: settings.clips]
    songs = min(songs_of(store, held_out), len(held_out))
    others = same_mix(store, held_out[:songs], pick(store, packed.TRAIN, role, settings.corpora, rng))
    real = [clip_at(store, [int(r)]) for r in held_out]
    made = generate(pipeline, real, settings.sampling, role)
    other = [clip_at(store, [int(r)]) for r in others]
    asked, new, elsewhere = stacked(real[:songs]), stacked(made[:songs]), stacked(other)
    # A clip made from the chords of a real one is its neighbour in harmony, which flatters: so also against other songs.
    pairs = {"generated": (asked, new), "unpaired": (elsewhere, new), "real": (asked, elsewhere)}
    nearest = {name: _components(one_nn_accuracy(a, b)) for name, (a, b) in pairs.items()}
    report: dict[str, object] = {
        "clips": len(made), "songs": songs, "generated": describe(made, real), "real": describe(real, real),
        "1nnc_generated": nearest["generated"], "1nnc_unpaired": nearest["unpaired"], "1nnc_real": nearest["real"],
    }  # fmt: skip
    if settings.repairs:
        report["repair"] = repair(pipeline, real[: settings.repairs], role)
    return report


def _components(value: ByComponent) -> dict[str, float]:
    return {name: round(float(getattr(value, name)), 3) for name in COMPONENTS}


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table, real clips in brackets."""
    rows = [
        ("clips generated, songs", lambda r: f"{r['clips']}, {r['songs']}"),
        *((label, lambda r, n=name: f"{r['generated'][n]:.1%} ({r['real'][n]:.1%})") for name, label in _SHARES.items()),
        ("chord tones", lambda r: f"{r['generated']['chord_tones']:.3f} ({r['real']['chord_tones']:.3f})"),
        ("notes per clip", lambda r: f"{r['generated']['notes']:.0f} ({r['real']['notes']:.0f})"),
        *((f"1NNC, {n}", lambda r, n=n: f"{r['1nnc_generated'][n]:.2f} ({r['1nnc_real'][n]:.2f})") for n in COMPONENTS),
        *((f"1NNC to other songs, {n}", lambda r, n=n: f"{r['1nnc_unpaired'][n]:.2f} ({r['1nnc_real'][n]:.2f})") for n in COMPONENTS),
        *((label, lambda r, n=name: f"{r['repair'][n]:.3f}" if "repair" in r else "") for name, label in _REPAIR.items()),
    ]  # fmt: skip
    lines = [["held-out songs", *report], ["---"] * (len(report) + 1), *([name, *map(show, report.values())] for name, show in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_SHARES = {
    "valid": "legal clips", "bars_exact": "bars exact", "velocity_inside": "all velocities inside", "pitch_inside": "mean pitch inside",
}  # fmt: skip
_REPAIR = {
    "f1": "wrong notes found, F1", "precision": "precision", "recall": "recall", "msim_damaged": "MSIM damaged",
    "msim_repaired": "MSIM repaired", "clean_changed": "clean clip: share touched",
}  # fmt: skip
