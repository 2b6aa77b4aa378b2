"""General MIDI programs -> the 62 instruments: the one with that program, else the nearest in sound."""

from musediff.clip import INSTRUMENT_PROGRAM, INSTRUMENTS
from musediff.midi.score import ScoreTrack

DRUMS = "drums_full"
# One line per General MIDI family of eight programs.
_NAMES = tuple("""
    acoustic_piano acoustic_piano electric_piano acoustic_piano electric_piano keyboard harpsichord harpsichord
    celesta glockenspiel orgel vibraphone marimba xylophone bell yanggeum
    organ organ organ organ organ accordion accordion accordion
    nylon_guitar acoustic_guitar electric_guitar_clean electric_guitar_clean electric_guitar_clean electric_guitar_distortion
        electric_guitar_distortion electric_guitar_distortion
    acoustic_bass electric_bass electric_bass electric_bass electric_bass electric_bass synth_bass synth_bass_808
    string_violin string_viola string_cello string_double_bass string_ensemble string_ensemble harp timpani
    string_ensemble string_ensemble string_ensemble string_ensemble choir vocal synth_voice brass_ensemble
    trumpet trombone tuba trumpet horn brass_ensemble synth_brass synth_brass
    sax sax sax sax oboe oboe bassoon clarinet
    flute flute recorder bamboo_flute bamboo_flute bamboo_flute whistle whistle
    synth_lead synth_lead synth_lead synth_lead synth_pluck synth_voice synth_lead synth_lead
    pad_synth synth_pad synth_pad synth_pad synth_pad synth_pad synth_pad synth_pad
    synth_pad synth_pad synth_bell synth_pad synth_pad synth_pad synth_pad synth_pad
    sitar banjo mandolin zither marimba accordion fiddle oboe
    bell bell marimba xylophone timpani timpani timpani synth_pad
    synth_pad synth_pad synth_pad synth_pad synth_pad synth_pad synth_pad synth_pad
""".split())  # fmt: skip


def instrument_of(track: ScoreTrack) -> str:
    """Name of the instrument that plays a track; one that the track's name says exactly goes first if the program agrees."""
    words = set(track.name.lower().split())
    if track.is_drum:
        return next((name for name in INSTRUMENTS if name in words and name.startswith(("drums", "perc"))), DRUMS)
    said = (name for name in INSTRUMENTS if name in words and INSTRUMENT_PROGRAM[name] == track.program)
    return next(said, _NAMES[track.program])


def is_exact(track: ScoreTrack) -> bool:
    """Whether the instrument has the very program of the track."""
    return track.is_drum or INSTRUMENT_PROGRAM[_NAMES[track.program]] == track.program
