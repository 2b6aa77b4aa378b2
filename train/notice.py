"""SIGTERM -> a run that ends behind the step that it is in, saved: clusters send it before they take a machine away."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

STOPPED = 128 + signal.SIGTERM  # exit code, as a shell would tell it


@dataclass(slots=True)
class Notice:
    given: bool = False


@contextmanager
def noticing() -> Generator[Notice, None, None]:
    """Within it SIGTERM is noted, and only noted: a launcher passes it on, so it may come twice. Python hears signals in the main
    thread alone; elsewhere none is noted."""
    notice = Notice()

    def note(*_: object) -> None:
        notice.given = True

    if threading.current_thread() is not threading.main_thread():
        yield notice
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield notice
    finally:
        signal.signal(signal.SIGTERM, before)
