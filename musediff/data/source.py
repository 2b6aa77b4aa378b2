"""A folder or a .tar archive of a corpus -> its files' names and bytes."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path

from musediff.errors import BadData


@dataclass(frozen=True, slots=True)
class Item:
    """What one call of ``convert`` needs: a file's bytes, and the text known about it. Small enough to send to a worker."""

    name: str
    data: bytes
    about: str = ""


def files(source: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Relative name and content of every file with one of the suffixes; a folder's in the order of their names.

    Raises:
        BadData: the source is missing or a damaged archive.
    """
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in suffixes and path.is_file():
                yield path.relative_to(source).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.lower().endswith(suffixes) else None
                if content is not None:
                    yield member.name, content.read()
    except (OSError, EOFError, LZMAError, tarfile.TarError) as error:
        raise BadData(f"{source}: not a folder and not a readable archive ({error}).") from error
