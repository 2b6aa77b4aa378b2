"""A task's clips -> endless batches, cut ahead by a thread where a device would wait for them; what was taken can be resumed."""

import time
from collections.abc import Mapping
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np

from train.tasks import Task

AHEAD = 4  # batches
LOOK = 0.1  # seconds after which a thread that waits looks whether it shall end


class Cut(NamedTuple):
    """A batch, and where in the data the next one begins."""

    batch: Any
    where: Mapping[str, Any]


class Feed:
    """Batches of a task, drawn by ``rng``, which nobody else may use.

    Args:
        ahead: how many a thread holds ready. 0: each is cut when it is asked for. On a CPU a thread only takes turns with the steps.
    """

    def __init__(self, task: Task, rng: np.random.Generator, ahead: int) -> None:
        self._task, self._rng = task, rng
        self._where = self._here()
        self.waited = 0.0  # seconds that ``next`` took, all together
        self._queue: Queue[Cut | BaseException] = Queue(max(1, ahead))
        self._over = Event()
        self._thread = Thread(target=self._work, name="feed", daemon=True) if ahead else None
        if self._thread:
            self._thread.start()

    def next(self) -> Any:
        """One more batch. What goes wrong in the thread is raised here."""
        start = time.perf_counter()
        cut = self._queue.get() if self._thread else self._cut()
        self.waited += time.perf_counter() - start
        if isinstance(cut, BaseException):
            raise cut
        self._where = cut.where
        return cut.batch

    def state(self) -> Mapping[str, Any]:
        """The place behind the batches that were taken: of the clips (``place``) and of their chance (``rng``)."""
        return self._where

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread:
            self._thread.join()

    def _here(self) -> Mapping[str, Any]:
        return {"place": self._task.place(), "rng": self._rng.bit_generator.state}

    def _cut(self) -> Cut:
        return Cut(self._task.batch(self._rng), self._here())

    def _work(self) -> None:
        cut: Cut | BaseException | None = None
        while not self._over.is_set() and not isinstance(cut, BaseException):
            try:
                cut = self._cut()
            except BaseException as error:  # noqa: BLE001  raised where it can be told
                cut = error
            self._put(cut)

    def _put(self, cut: Cut | BaseException) -> None:
        while not self._over.is_set():
            try:
                return self._queue.put(cut, timeout=LOOK)
            except Full:
                continue
