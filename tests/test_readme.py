"""The README tells the truth: its files exist, its commands parse, its example runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from musediff.cli import build_parser, with_dashes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} block in the README"
    return found


def test_files_named_exist():
    spans = re.findall(r"`([\w./-]+)`", re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL))
    folders = ("musediff/", "demo/", "train/", "tests/", "assets/", "soundfonts/", ".ci/")
    files = {s for s in spans if s.startswith(folders) or re.fullmatch(r"[\w.-]+\.(py|md|toml|txt)|LICENSE|Makefile", s)}
    files |= {link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")}
    assert len(files) > 12
    missing = sorted(name for name in files if not (ROOT / name).exists())
    assert not missing, f"the README names what is not there: {missing}"


def test_make_targets_exist():
    named = set(re.findall(r"make ([a-z-]+)", "\n".join(blocks("bash"))))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert named >= {"demo", "test"} and named <= targets, named - targets


def test_commands_parse():
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.split(" > ")[0])[1:] for line in lines if line.startswith("musediff ")]
    assert {words[0] for words in commands} >= {"generate", "modify", "repair", "analyze", "meta"}
    for words in commands:
        assert build_parser().parse_args(with_dashes(words)).command == words[0]


def test_front_matter_fits_the_requirements():
    sdk = re.search(r"^sdk_version: (\d+)\.(\d+)", README, re.MULTILINE)
    needed = re.search(r"^gradio>=(\d+)\.(\d+),<(\d+)", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE)
    assert sdk and needed
    assert tuple(map(int, needed.groups()[:2])) <= tuple(map(int, sdk.groups())) < (int(needed[3]), 0)
    assert README.startswith("---\n") and "\napp_file: app.py\n" in README


def test_the_example_runs(tmp_path):
    (example,) = blocks("python")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "0"}
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mid"))
    assert len(written) == 3 and "varied.mid" in written
    assert all((tmp_path / name).read_bytes()[:4] == b"MThd" for name in written)
