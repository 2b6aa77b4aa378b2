"""Gradio makes a new event loop for each of its locks where none is running, and never closes one."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_a_loop(make: Callable[[], T]) -> T:
    """Call ``make`` while an event loop runs, so that nothing is left open."""

    async def call() -> T:
        return make()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call())
    return make()
