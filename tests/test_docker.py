"""The Dockerfile names what is there: it cannot be built in a test, but it must not rot."""

import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if line and not line.startswith("#")]
IGNORED = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")]


def copied(target: str) -> list[str]:
    """What one target takes from the folder, with what its base takes."""
    found, inside = [], False
    for line in LINES:
        if line.startswith("FROM"):
            inside = line.endswith((f"AS {target}", "AS base"))
        elif inside and line.startswith("COPY"):
            found += [word for word in line.split()[1:-1] if not word.startswith("--")]
    return found


@pytest.mark.parametrize("target", ["page", "train"])
def test_what_is_copied_exists_and_reaches_the_builder(target):
    sources = copied(target)
    assert len(sources) >= 4 and "requirements.txt" in sources and "musediff" in sources
    allowed = {line[1:] for line in IGNORED if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed, f"{source} is left out by .dockerignore"
    assert IGNORED[0] == "*" and all((ROOT / name).exists() for name in allowed)
    assert not any(fnmatch("assets/weights/slots/config.json", pattern) for pattern in IGNORED[1:])


def test_the_page_is_what_a_plain_build_makes():
    assert [line for line in LINES if line.startswith("FROM")][-1] == "FROM base AS page"
    command = next(line for line in reversed(LINES) if line.startswith("CMD"))
    words = re.findall(r'"([^"]+)"', command)
    assert words[:2] == ["python", "app.py"] and (ROOT / words[1]).exists()
    options = [word for word in words[2:] if word.startswith("--")]
    text = (ROOT / "app.py").read_text("utf-8")
    assert options and all(f'"{option}"' in text for option in options)


def test_torch_is_the_version_that_the_makefile_installs():
    (version,) = re.findall(r"TORCH_VERSION=([\d.]+)", "\n".join(LINES))
    assert f"TORCH_VERSION := {version}\n" in (ROOT / "Makefile").read_text("utf-8")


def test_training_gets_all_requirements_but_those_of_page_and_sound():
    (line,) = [line for line in LINES if "grep -vE" in line]
    pattern = shlex.split(line)[3]
    names = [row.split(">=")[0] for row in (ROOT / "requirements.txt").read_text("utf-8").splitlines() if row and not row.startswith("#")]
    assert {name for name in names if re.match(pattern, name)} == {"gradio", "pyfluidsynth", "midirenderer"}
    missing = "import sys; sys.modules.update(dict.fromkeys(('gradio', 'fluidsynth', 'midirenderer')))"
    code = f"{missing}; from musediff.cli import main; import train.train, train.evaluate; main(['train', '--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "--data" in done.stdout, done.stderr
