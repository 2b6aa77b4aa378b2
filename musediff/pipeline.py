"""One door to everything: MIDI bytes or metadata in, clips and MIDI bytes out.

Making a ``Job`` checks everything; iterating it gives progress; its result may be asked for at any time.
"""

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from musediff import checkpoint, priors
from musediff.clip import BAR_TICKS, TICKS_PER_CHORD, Clip, Meta, Track
from musediff.engines.base import FIELDS, VALUES, Engine, Mode, Request
from musediff.engines.registry import DEFAULT_ENGINE, ENGINES, WEIGHTS, Loadable, bundled
from musediff.errors import BadCheckpoint, BadRequest
from musediff.job import Job, Result, Sampling, Upload
from musediff.meta_json import to_dict
from musediff.midi.analyze import analyze
from musediff.midi.read import read
from musediff.pipeline_limits import DRAFTED, MAX_TRACKS, check_drafts, check_region, check_share, check_work, slots

SETTINGS_PREFIX = "musediff "
PRIORS = WEIGHTS.parent / "priors.json"
ALL_FIELDS = frozenset(FIELDS)


class MusePipeline:
    """Holds an engine with its weights. Jobs share nothing else, so one pipeline serves many users."""

    def __init__(self, engine: Engine, name: str, known: priors.Priors, weights: str = "") -> None:
        """``weights`` tells them from others in the settings that files carry."""
        self.engine, self.engine_name, self.known, self.weights = engine, name, known, weights

    @classmethod
    def load(cls, weights: Path | str | None = None, engine: str | None = None) -> "MusePipeline":
        """Weights of a folder, or those that are bundled. ``engine`` None: the one that the weights are for.

        Raises:
            BadCheckpoint: missing, damaged or made for another version or engine.
            BadRequest: no such engine.
        """
        name = engine or (DEFAULT_ENGINE if weights is None else str(checkpoint.read_config(Path(weights))["engine"]))
        kind = _engine(name)
        if weights is None and name not in bundled():
            raise BadCheckpoint(f"No weights of the engine {name} are in {WEIGHTS}. Give a folder with some, or fetch the project again.")
        folder = WEIGHTS / name if weights is None else Path(weights)
        known = (folder / "config.json").read_bytes() + PRIORS.read_bytes()  # the weights' names are hashes
        return cls(kind.load(folder), name, priors.load(PRIORS), _fingerprint(known))

    @classmethod
    def bundled(cls) -> "dict[str, MusePipeline]":
        """One for each engine whose weights are shipped, the default one first.

        Raises:
            BadCheckpoint: damaged weights.
        """
        return {name: cls.load(engine=name) for name in bundled()}

    @classmethod
    def tiny(cls, engine: str = DEFAULT_ENGINE) -> "MusePipeline":
        """A small network with random weights: everything works, nothing is music. For tests."""
        return cls(_engine(engine).tiny(), engine, priors.Priors(), "tiny")

    @property
    def description(self) -> str:
        return f"{self.engine_name}, {self.engine.parameters / 1e6:.1f} M parameters, on the CPU"

    def with_steps(self, name: str) -> str:
        """The name, and how many steps new clips usually take, if they take any."""
        return f"{name}, {self.engine.usual_steps} steps" if self.engine.usual_steps > 1 and self.engine.stepped is None else name

    def open(
        self, data: bytes, name: str = "the file", tracks: Sequence[int] | None = None, first_bar: int = 0, alone: bool = True
    ) -> Upload:
        """Read and analyse a MIDI file; ``tracks`` None chooses one.

        Not ``alone``: further tracks go along behind it, as context that is kept.

        Raises:
            BadMidi: it cannot be used.
            BadRequest: more tracks than can be worked on, or no such track or bar.
        """
        if tracks is not None and len(tracks) > MAX_TRACKS:
            raise BadRequest(f"{len(tracks)} tracks are chosen; at most {MAX_TRACKS} can be worked on at once.")
        score = read(data, name)
        companions = 0 if alone else MAX_TRACKS - (1 if tracks is None else len(tracks))
        analysis = analyze(score, tracks, first_bar, companions=companions)
        own = [text[len(SETTINGS_PREFIX) :] for text in score.texts if text.startswith(SETTINGS_PREFIX)]
        return Upload(score, analysis.clip, score.notes + analysis.notes, own[0] if own else None)

    def start_generate(self, meta: Meta | None = None, sampling: Sampling | None = None, context: Clip | None = None) -> Job:
        """A new clip from metadata, or a new track for the clip ``context``, whose bars, metre, key and chords it takes.

        Raises:
            BadRequest: chords and bars do not agree, or the context has no room for a track.
        """
        asked, sampling = meta or Meta(), self._complete(sampling)
        if context is not None:
            if len(context.tracks) >= MAX_TRACKS:
                raise BadRequest(f"The clip already has {MAX_TRACKS} tracks. Take one out before adding another.")
            asked = asked.but(_frame(context))
        full = self.known.complete(asked, np.random.default_rng(sampling.seed))
        track = Track((), full.track_role, full.inst, full.pitch_range, full.min_velocity, full.max_velocity, full.track_role or "")
        assert full.num_measures and full.time_signature and full.bpm
        given = () if context is None else context.tracks
        clip = Clip(
            full.num_measures, (*given, track), full.time_signature, full.bpm, full.audio_key, full.genre, full.rhythm,
            _checked_chords(full),
        )  # fmt: skip
        sampling = replace(sampling, drafts=sampling.drafts or self._usual_drafts(clip, sampling))
        return self._job("generate", asked, clip, sampling, context, tracks=(len(given),), notes=_filled_in(asked, full))

    def _usual_drafts(self, clip: Clip, sampling: Sampling) -> int:
        """As many as the engine usually writes of each variant, fewer of much: they cost memory and time."""
        return max(1, min(self.engine.usual_drafts(sampling.sampler), DRAFTED // (sampling.variants * slots(clip))))

    def start_modify(
        self, clip: Clip, strength: float, *, meta: Meta | None = None, bars: frozenset[int] | None = None,
        tracks: tuple[int, ...] = (0,), fields: frozenset[str] = ALL_FIELDS, sampling: Sampling | None = None,
    ) -> Job:  # fmt: skip
        """A variation: about ``strength`` (0-1) of the notes inside the region change. ``meta`` overrides labels of the first track.

        Raises:
            BadRequest: strength, bars, tracks or fields are out of range, or nothing could change.
        """
        check_share("strength", strength)
        unknown = set(fields) - ALL_FIELDS
        if unknown or not fields:
            raise BadRequest(
                f"What may change must be some of {', '.join(FIELDS)}" + (f", not {', '.join(sorted(unknown))}." if unknown else ".")
            )
        check_region(clip, tracks, bars)
        asked = replace(meta or Meta(), time_signature=clip.time_signature, num_measures=clip.num_measures)
        for name in ("time_signature", "num_measures"):
            there, wanted = getattr(asked, name), getattr(meta, name, None)
            if wanted not in (None, there):
                raise BadRequest(f"{name}: a clip of {there} cannot be modified into one of {wanted}. Generate a new one.")
        labelled = _relabelled(clip, asked, tracks[0])
        return self._job("modify", asked, labelled, self._complete(sampling), clip, tracks, bars, fields, strength)

    def start_repair(
        self, clip: Clip, *, bars: frozenset[int] | None = None, tracks: tuple[int, ...] = (0,), sensitivity: float = 0.5,
        wrong: Mapping[int, Collection[str]] | None = None, sampling: Sampling | None = None,
    ) -> Job:  # fmt: skip
        """Find wrong notes in the region and replace them; how many are wrong need not be known.

        ``sensitivity`` 0-1: how readily a note is taken for wrong. ``wrong``: if it is known what is wrong or lost, some of
        ``VALUES`` by the note's number in its track, from 0; then nothing is looked for and these are filled in.

        Raises:
            BadRequest: bars, tracks, sensitivity or what is wrong are out of range.
        """
        check_share("sensitivity", sensitivity)
        check_region(clip, tracks, bars)
        told = None if wrong is None else _checked_wrong(clip, tracks, wrong)
        sampling = self._complete(sampling)
        return self._job("repair", Meta(), _unlimited(clip, tracks), sampling, clip, tracks, bars, strength=sensitivity, wrong=told)

    def generate(self, meta: Meta | None = None, sampling: Sampling | None = None, context: Clip | None = None) -> Result:
        """``start_generate``, run to the end."""
        return self.start_generate(meta, sampling, context).run()

    def modify(
        self, clip: Clip, strength: float, *, meta: Meta | None = None, bars: frozenset[int] | None = None,
        tracks: tuple[int, ...] = (0,), fields: frozenset[str] = ALL_FIELDS, sampling: Sampling | None = None,
    ) -> Result:  # fmt: skip
        """``start_modify``, run to the end."""
        return self.start_modify(clip, strength, meta=meta, bars=bars, tracks=tracks, fields=fields, sampling=sampling).run()

    def repair(
        self, clip: Clip, *, bars: frozenset[int] | None = None, tracks: tuple[int, ...] = (0,), sensitivity: float = 0.5,
        wrong: Mapping[int, Collection[str]] | None = None, sampling: Sampling | None = None,
    ) -> Result:  # fmt: skip
        """``start_repair``, run to the end."""
        return self.start_repair(clip, bars=bars, tracks=tracks, sensitivity=sensitivity, wrong=wrong, sampling=sampling).run()

    def _complete(self, sampling: Sampling | None) -> Sampling:
        """With a seed and a number of steps."""
        sampling = sampling or Sampling()
        seed = secrets.randbelow(2**31) if sampling.seed is None else sampling.seed
        return replace(sampling, seed=seed, steps=sampling.steps or self.engine.usual_steps)

    def _job(
        self, mode: Mode, asked: Meta, clip: Clip, sampling: Sampling, source: Clip | None, tracks: tuple[int, ...],
        bars: frozenset[int] | None = None, fields: frozenset[str] = ALL_FIELDS, strength: float = 1.0,
        notes: tuple[str, ...] = (), wrong: Mapping[int, frozenset[str]] | None = None,
    ) -> Job:  # fmt: skip
        check_drafts(sampling.drafts, self.engine.usual_drafts(sampling.sampler) if mode == "generate" else 1)
        check_work(clip, sampling.variants * (sampling.drafts or 1))
        assert sampling.seed is not None and sampling.steps is not None
        request = Request(
            mode=mode, clip=clip, tracks=tracks, bars=bars, fields=fields, wrong=wrong, strength=strength, **asdict(sampling)
        )  # fmt: skip
        said: dict[str, object] = {"mode": mode, "engine": self.engine_name, "meta": to_dict(asked), "sampling": asdict(sampling)}
        said |= {"weights": self.weights} | ({} if source is None else {"source": _fingerprint(repr(source).encode())})
        if mode != "generate":
            said |= {"strength": strength, "bars": None if bars is None else sorted(b + 1 for b in bars), "fields": sorted(fields)}
            said["tracks"] = [k + 1 for k in tracks]
        if wrong is not None:
            said["wrong"] = {str(note + 1): sorted(values) for note, values in sorted(wrong.items())}
        return Job(self.engine, self.engine_name, request, notes, json.dumps(said), source)


def _fingerprint(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _engine(name: str) -> Loadable:
    if name not in ENGINES:
        raise BadRequest(f"engine {name!r} is not known. Choose one of {', '.join(ENGINES)}.")
    return ENGINES[name]


def _filled_in(asked: Meta, full: Meta) -> tuple[str, ...]:
    """A sentence on the fields that were open."""
    before, after = to_dict(asked), to_dict(full)
    new = [f"{name} {after[name]}" for name in after if before[name] != after[name]]
    return (f"Left open, so taken from a clip of the training data that fits: {'; '.join(new)}.",) if new else ()


def _frame(context: Clip) -> Meta:
    """What a further track shares with the tracks that are there."""
    return Meta(
        bpm=context.bpm, audio_key=context.key, time_signature=context.time_signature, num_measures=context.num_measures,
        genre=context.genre, rhythm=context.rhythm, chord_progression=context.chords,
    )  # fmt: skip


def _checked_chords(meta: Meta) -> tuple[int, ...] | None:
    if meta.chord_progression is None:
        return None
    assert meta.num_measures is not None and meta.time_signature is not None
    needed = meta.num_measures * (BAR_TICKS[meta.time_signature] // TICKS_PER_CHORD)
    if len(meta.chord_progression) != needed:
        raise BadRequest(
            f"The chord progression has {len(meta.chord_progression)} half beats, but {meta.num_measures} bars of "
            f"{meta.time_signature} have {needed}. Leave the bars open or give chords for that many."
        )
    return meta.chord_progression


def _relabelled(clip: Clip, meta: Meta, track: int) -> Clip:
    """The clip under other labels."""
    full = clip.meta(track).but(meta)
    part = replace(
        clip.tracks[track], role=full.track_role, instrument=full.inst, pitch_range=full.pitch_range,
        min_velocity=full.min_velocity, max_velocity=full.max_velocity,
    )  # fmt: skip
    tracks = (*clip.tracks[:track], part, *clip.tracks[track + 1 :])
    return replace(
        clip,
        tracks=tracks,
        bpm=full.bpm or clip.bpm,
        key=full.audio_key,
        genre=full.genre,
        rhythm=full.rhythm,
        chords=_checked_chords(full),
    )


def _unlimited(clip: Clip, tracks: tuple[int, ...]) -> Clip:
    """Without the pitch range and velocity limits of the tracks to repair: wrong notes would have set them."""
    free = (replace(t, pitch_range=None, min_velocity=None, max_velocity=None) if k in tracks else t for k, t in enumerate(clip.tracks))
    return replace(clip, tracks=tuple(free))


def _checked_wrong(clip: Clip, tracks: tuple[int, ...], wrong: Mapping[int, Collection[str]]) -> Mapping[int, frozenset[str]]:
    if len(tracks) != 1:
        raise BadRequest(f"What is wrong can be told of one track at a time, {len(tracks)} are chosen.")
    there = len(clip.tracks[tracks[0]].notes)
    for note, values in wrong.items():
        if not 0 <= note < there:
            raise BadRequest(f"wrong: there is no note {note}; the track has {there}, counted from 0.")
        if unknown := sorted(set(values) - set(VALUES)):
            raise BadRequest(f"wrong: note {note}: {unknown[0]!r} is not known. Choose from {', '.join(VALUES)}.")
    return {note: frozenset(values) for note, values in wrong.items()}
