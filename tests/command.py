"""The command line as a user meets it: words -> exit code, what was printed, what went to the error stream."""

import pytest

from musediff.cli import main


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = main(words)
    except SystemExit as left:
        code = int(left.code or 0)
    return code, *capsys.readouterr()
