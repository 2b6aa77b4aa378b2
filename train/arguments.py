"""The arguments of what makes new weights of given ones."""

import argparse
from pathlib import Path

from musediff.cli_options import count


def weights_parser(name: str, about: str, clips: int, of_clips: str) -> argparse.ArgumentParser:
    """WEIGHTS --data FILE.npz --out FOLDER --clips N; ``about``: the help, ``of_clips``: what these are for."""
    parser = argparse.ArgumentParser(
        prog=f"python -m train.{name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--clips", type=count, default=clips, metavar="N", help=f"{of_clips} (default {clips})")
    return parser
