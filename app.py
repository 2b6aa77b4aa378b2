"""Arguments -> pipeline -> page. Also what Hugging Face Spaces runs."""

import argparse
import os
from pathlib import Path

# All this must be set before torch is imported. A clip is so small that a second thread gains nothing (.27 s with one, .36 with
# two), and two visitors at once need both. If someone does ask for more threads, idle ones must not spin: they starve the server.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")  # every new length fills it; 1,024 entries cost 200 MB and more, measured
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from demo.ui import build_ui, launch
from musediff.errors import MuseError
from musediff.pipeline import ENGINES, MusePipeline, bundled
from musediff.render.audio import Synthesizer


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="The MuseDiff page: generate, modify and repair MIDI clips.")
    on_spaces = "SPACE_ID" in os.environ  # there the host and the port come from the environment
    parser.add_argument("--host", default=None if on_spaces else "127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None if on_spaces else 7860, help="port to listen on (default 7860)")
    parser.add_argument("--weights", type=Path, default=None, help="weights to load instead of the bundled ones")
    parser.add_argument("--engine", choices=sorted(ENGINES), help="only this engine (default: all that are bundled)")
    parser.add_argument("--model", choices=("bundled", "tiny"), default="bundled", help="tiny: a small random network, for a try")
    parser.add_argument("--share", action="store_true", help="make a public link through gradio's servers")
    return parser.parse_args(argv)


def load(options: argparse.Namespace) -> dict[str, MusePipeline]:
    """The engines of the page."""
    if options.model == "tiny":
        names = [options.engine] if options.engine else bundled()
        return {name: MusePipeline.tiny(name) for name in names}
    if options.weights is None and options.engine is None:
        return MusePipeline.bundled()
    pipeline = MusePipeline.load(options.weights, options.engine)
    return {pipeline.engine_name: pipeline}


def main(argv: list[str] | None = None) -> None:
    """Serve the page until it is interrupted."""
    options = arguments(argv)
    try:
        pipelines = load(options)
        synth = Synthesizer()
    except MuseError as error:
        raise SystemExit(f"musediff: {error}") from error
    launch(build_ui(pipelines, synth), options.host, options.port, options.share)


if __name__ == "__main__":
    main()
