"""Sound: every synth plays every clip, the choice among them is explicit, and the shipped soundfont is whole."""

import importlib.util
import io
import os
import subprocess
import sys
import wave
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import mido
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musediff.clip import DRUM_INSTRUMENTS, INSTRUMENT_PROGRAM, INSTRUMENTS, Clip, Note, Track
from musediff.errors import BadSoundfont
from musediff.render import soundfonts
from musediff.render.audio import BACKENDS, PEAK, SAMPLE_RATE, TAIL_SECONDS, Audio, Synthesizer, to_wav
from musediff.render.events import DRUM_CHANNEL, midi_file, perform

SHIPPED = soundfonts.PROJECT_FOLDER / soundfonts.SHIPPED
SCALE = tuple(Note(i * 480, 60 + step, 440, 90) for i, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12)))
BEAT = tuple(Note(i * 240, pitch, 120, 100) for i, pitch in enumerate((36, 42, 38, 42) * 4))
notes = st.lists(st.builds(Note, st.integers(0, 3839), st.integers(0, 127), st.integers(1, 4000), st.integers(1, 127)), max_size=60)


def clip_of(*parts: tuple[str | None, tuple[Note, ...]]) -> Clip:
    return Clip(2, tuple(Track(tuple(sorted(part)), instrument=name) for name, part in parts), bpm=120)


def synth(backend: str) -> Synthesizer:
    try:
        return Synthesizer(backend)
    except BadSoundfont as error:
        pytest.skip(f"{backend} is not there: {error}")


@pytest.fixture(params=BACKENDS)
def player(request) -> Synthesizer:
    return synth(request.param)


def loudness(audio: Audio) -> float:
    return float(np.sqrt(np.mean(audio.samples.astype(float) ** 2)))


def brightness(audio: Audio) -> float:
    """Centroid of the spectrum in Hz."""
    power = np.abs(np.fft.rfft(audio.samples.mean(axis=1))) ** 2
    return float(power @ np.fft.rfftfreq(len(audio.samples), 1 / audio.sample_rate) / power.sum())


def test_a_clip_is_heard_for_its_bars_and_the_tail(player):
    clip = clip_of(("acoustic_piano", SCALE))
    audio = player.render(clip)
    assert audio.samples.shape == (round((4 + TAIL_SECONDS) * SAMPLE_RATE), 2) and audio.samples.dtype == np.float32
    assert np.abs(audio.samples).max() == pytest.approx(PEAK, rel=1e-3)
    beats = np.abs(audio.samples[: 4 * SAMPLE_RATE]).reshape(8, -1).max(axis=1)
    assert beats.min() > 0.05, "every note of the scale is heard"
    assert np.abs(audio.samples[-50:]).max() < 0.01, "it ends without a click"
    assert audio.synth == player.name


def test_pitch_is_right(player):
    clip = clip_of(("flute", (Note(0, 69, 3840, 100),)))
    sound = player.render(clip).samples[SAMPLE_RATE : 3 * SAMPLE_RATE].mean(axis=1)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)[spectrum.argmax()] == pytest.approx(440, rel=0.01)


def test_instruments_sound_different(player):
    piano, strings, trumpet = (player.render(clip_of((name, SCALE))) for name in ("acoustic_piano", "string_ensemble", "trumpet"))
    for one, other in ((piano, strings), (piano, trumpet), (strings, trumpet)):
        assert np.abs(one.samples - other.samples).max() > 0.2
    assert brightness(trumpet) != pytest.approx(brightness(strings), rel=0.05)


def test_drums_are_drums(player):
    def drums(pitch: int) -> Audio:
        return player.render(clip_of(("drums_full", tuple(n for n in BEAT if n.pitch == pitch))))

    kick, snare, hat = (drums(pitch) for pitch in (36, 38, 42))
    assert min(map(loudness, (kick, snare, hat))) > 0.003
    assert brightness(kick) < 600 < brightness(snare) < brightness(hat), "on a piano these are three low notes"
    assert brightness(hat) > 2000


def test_velocity_is_heard(player):
    clip = clip_of(("acoustic_piano", (Note(0, 60, 240, 30), Note(1920, 60, 240, 110))))
    sound = np.abs(player.render(clip).samples)
    assert sound[: SAMPLE_RATE // 2].max() < 0.6 * sound[2 * SAMPLE_RATE : 5 * SAMPLE_RATE // 2].max()


@pytest.mark.parametrize("parts", [(), ((None, ()),), (("drums_full", ()), ("harp", ()))])
def test_silence_stays_silence(player, parts):
    samples = player.render(clip_of(*parts)).samples
    assert np.isfinite(samples).all() and np.abs(samples).max() < 1e-2


def test_the_same_clip_gives_the_same_sound(player):
    first, second = clip_of(("acoustic_piano", SCALE), ("drums_full", BEAT)), clip_of(("synth_pad", SCALE))
    alone = player.render(first).samples
    player.render(second)
    assert np.array_equal(player.render(first).samples, alone)


def test_two_threads_at_once_do_not_mix(player):
    clips = [clip_of(("acoustic_piano", SCALE), ("drums_full", BEAT)), clip_of(("choir", SCALE[:5]))]
    alone = [player.render(clip).samples for clip in clips]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(player.render, clips * 3))
    for i, audio in enumerate(together):
        assert np.array_equal(audio.samples, alone[i % 2])


def test_more_tracks_than_channels(player):
    clip = clip_of(*[("flute", (Note(i * 100, 40 + 2 * i, 200, 90),)) for i in range(20)])
    assert loudness(player.render(clip)) > 0.01


def test_wav_is_what_was_rendered():
    audio = Synthesizer("tone").render(clip_of(("harp", SCALE)))
    with wave.open(io.BytesIO(to_wav(audio))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, SAMPLE_RATE)
        back = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32767
    assert np.abs(back - audio.samples).max() < 1e-4


# --- Which synth plays ---------------------------------------------------------------------------------------------------


def test_the_chain_of_synths(monkeypatch):
    synth("fluidsynth"), synth("midirenderer")
    assert Synthesizer().name.startswith("FluidSynth") and Synthesizer().passed_over == ()
    monkeypatch.setitem(sys.modules, "fluidsynth", None)  # importing it raises ImportError
    second = Synthesizer()
    assert second.name.startswith("midirenderer") and any("FluidSynth is not there" in why for why in second.passed_over)
    monkeypatch.setitem(sys.modules, "midirenderer", None)
    third = Synthesizer()
    assert "NumPy" in third.name and third.font is None and any("pip install midirenderer" in why for why in third.passed_over)
    for backend in ("fluidsynth", "midirenderer"):
        with pytest.raises(BadSoundfont):
            Synthesizer(backend)


def test_the_package_of_the_same_name_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "fluidsynth", ModuleType("fluidsynth"))
    assert any("pip uninstall fluidsynth" in why for why in Synthesizer().passed_over)
    with pytest.raises(BadSoundfont, match="hides pyfluidsynth"):
        Synthesizer("fluidsynth")


def test_nothing_is_printed_amid_what_a_command_prints():
    synth("fluidsynth")
    load = "from musediff.render.fluid import library; library()"
    done = subprocess.run([sys.executable, "-c", load], env={**os.environ, "CI": "true"}, capture_output=True, text=True, check=True)
    assert done.stdout == "" and "libfluidsynth" in done.stderr  # pyfluidsynth tells what it found where CI is set


def test_an_unusable_choice_is_refused(tmp_path):
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(b"RIFF" + bytes(100))
    for backend, font, words in (
        ("organ", None, "no synth"), (None, tmp_path / "none.sf2", "does not exist"), (None, Path(__file__), "not an .sf2"),
        (None, broken, "broken.sf2"), ("midirenderer", SHIPPED, "reads .sf2"),
    ):  # fmt: skip
        with pytest.raises(BadSoundfont, match=words):
            Synthesizer(backend, font)


def test_order_of_soundfonts(tmp_path, monkeypatch):
    folder, system = tmp_path / "fonts", tmp_path / "system.sf3"
    folder.mkdir()
    for path in (folder / soundfonts.SHIPPED, folder / "zither.SF2", folder / "README.md", system):
        path.touch()
    absent = tmp_path / "absent.sf2"
    found = soundfonts.installed(folder, [soundfonts.Soundfont(absent, "system"), soundfonts.Soundfont(system, "system")])
    assert [font.path.name for font in found[:3]] == ["zither.SF2", soundfonts.SHIPPED, "system.sf3"]
    assert [font.origin for font in found[3:]] == ["pretty_midi"] * len(soundfonts.in_wheel())
    assert soundfonts.asked_for() is None
    monkeypatch.setenv("SOUNDFONT", str(system))
    assert soundfonts.asked_for().path == system and soundfonts.asked_for(folder / "zither.SF2").path.name == "zither.SF2"
    monkeypatch.setenv("SOUNDFONT", str(absent))
    with pytest.raises(BadSoundfont, match="SOUNDFONT variable"):
        Synthesizer()
    assert soundfonts.installed()[0].path == SHIPPED and "MIT" in soundfonts.installed()[0].licence


# --- What a synth is told ------------------------------------------------------------------------------------------------


@given(notes, notes, st.sampled_from(["harp", "drums_full", None]))
def test_every_key_is_struck_and_let_go_in_turn(first, second, instrument):
    clip = clip_of(("percussion", tuple(first)), (instrument, tuple(second)))
    performance = perform(clip)
    held = Counter()
    for event in performance.events:
        key = event.channel, event.pitch
        held[key] += 1 if event.velocity else -1
        assert held[key] in (0, 1) and event.ticks <= clip.end_ticks
    assert not any(held.values()) and list(performance.events) == sorted(performance.events)
    struck = {(e.ticks, e.pitch) for e in performance.events if e.velocity}
    assert struck == {(n.onset_ticks, n.pitch) for n in [*first, *second]}
    assert {channel == DRUM_CHANNEL for channel, _ in performance.programs} == {True, instrument in DRUM_INSTRUMENTS}


@given(notes)
def test_the_midi_file_says_the_same(part):
    performance = perform(replace(clip_of(("celesta", tuple(part))), bpm=100))
    file = mido.MidiFile(file=io.BytesIO(midi_file(performance, 1.5)))
    now, heard = 0, []
    for message in file.tracks[0]:
        now += message.time
        if message.type == "note_on":
            heard.append((now, message.velocity, message.channel, message.note))
    assert heard == [tuple(event) for event in performance.events]
    assert file.length == pytest.approx(4.8 + 1.5, abs=0.01)


# --- The soundfont that is shipped ---------------------------------------------------------------------------------------


def test_the_shipped_font_is_small_whole_and_has_every_instrument():
    spec = importlib.util.spec_from_file_location("cut", soundfonts.PROJECT_FOLDER / "cut.py")
    cut = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(cut)
    assert SHIPPED.stat().st_size < 10_000_000
    font = cut.read(SHIPPED)
    presets = {(int(p["bank"]), int(p["program"])) for p in font.tables["phdr"][:-1]}
    assert presets == {(128, 0)} | {(0, p) for name, p in INSTRUMENT_PROGRAM.items() if name not in DRUM_INSTRUMENTS}
    samples = font.tables["shdr"][:-1]
    assert len(samples) > 400 and all(font.samples[s["start"] : s["start"] + 4] == b"OggS" for s in samples)
    assert int(samples["end"].max()) <= len(font.samples)
    assert "MIT" in dict(font.info)[b"ICMT"].decode("latin-1")
    again = cut.cut(font, {0, 40}, spacing=0)
    assert [name.decode() for name in again.tables["phdr"]["name"]] == ["Yamaha Grand Piano", "Violin", "Standard", ""]
    assert len(again.samples) < len(font.samples) / 2


def test_every_instrument_of_the_shipped_font_sounds():
    synth("fluidsynth")
    player = Synthesizer("fluidsynth", SHIPPED)
    for name in INSTRUMENTS:
        pitches = (36, 38, 42) if name in DRUM_INSTRUMENTS else (45, 60, 76)
        clip = Clip(1, (Track(tuple(Note(i * 640, p, 600, 100) for i, p in enumerate(pitches)), instrument=name),), bpm=200)
        sound = player.render(clip).samples
        assert all(np.abs(sound[i * 17640 : (i + 1) * 17640]).max() > 0.01 for i in range(3)), name
