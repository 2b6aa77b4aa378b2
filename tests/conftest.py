"""What every test runs under, and the few things that many tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch and Gradio are imported: idle OpenMP threads sleep, figures need no screen, nothing calls home.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: more threads would only get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material beside the checkout that is too large to live in it (corpora, recordings)."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder.name}/ does not lie beside the checkout: its corpora and recordings are needed here")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample songs, packed; for reading only."""
    from musediff.data.build import build  # after the environment is set

    path = tmp_path_factory.mktemp("data") / "sample.npz"
    build({"pop909": ROOT / "tests" / "assets" / "sample"}, path)
    return path


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A developer's own soundfont must not change what a test hears."""
    monkeypatch.delenv("SOUNDFONT", raising=False)
    yield
