"""A training run that ends behind its first save."""

import pytest

from train.run import Run


class Interrupted(Exception):
    """In place of whatever ends a run."""


def interrupt(patch: pytest.MonkeyPatch) -> None:
    """The next save is the last thing that a run does."""
    save = Run.save

    def once(run: Run) -> None:
        save(run)
        raise Interrupted

    patch.setattr(Run, "save", once)
