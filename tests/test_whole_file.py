"""A file is the one before or the new one, never a part of it."""

from pathlib import Path

import pytest

from musediff.whole_file import replace_whole


@pytest.mark.parametrize("durable", [True, False])
def test_the_new_one_stands_alone(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    replace_whole(path, lambda part: part.write_text("new"), durable)
    assert path.read_text() == "new" and [*tmp_path.iterdir()] == [path]


def test_whatever_interrupts_leaves_the_old_one_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write(part: Path) -> None:
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_whole(path, write)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]
