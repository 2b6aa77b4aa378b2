"""Bytes -> files that one visitor can download; the page deletes them when they are old."""

import io
import secrets
import zipfile
from collections.abc import Iterable
from pathlib import Path

import gradio as gr


class Shelf:
    """Writes into the cache of a component, which ``Blocks(delete_cache=...)`` sweeps.

    Every file lies in a folder with a random name of its own, so nobody can guess or overwrite another one's.
    """

    def __init__(self, owner: gr.components.Component) -> None:
        self._owner = owner

    def place(self, name: str) -> Path:
        """An empty place for a file of this name."""
        folder = Path(self._owner.GRADIO_CACHE) / secrets.token_hex(16)
        folder.mkdir(parents=True)
        path = (folder / name).resolve()
        self._owner.temp_files.add(str(path))
        return path

    def keep(self, name: str, data: bytes) -> str:
        """Write a file, return its path."""
        path = self.place(name)
        path.write_bytes(data)
        return str(path)


def url(path: str) -> str:
    """Where the browser finds a file of the cache, relative to the page."""
    return f"gradio_api/file={path}"


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """One ZIP archive of (name, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()
