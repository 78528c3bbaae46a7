"""Waiting for a thing, with a deadline, instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["DEADLINE_SECONDS", "wait_for"]

DEADLINE_SECONDS = 20.0

T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str = "", seconds: float = DEADLINE_SECONDS) -> T:
    """Return the first true result of ``condition``; fail with its last one after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition} did not happen in {seconds} s; last: {result!r}")
        time.sleep(0.02)
