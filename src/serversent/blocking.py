"""Steps that keep the event loop: ``time.sleep()`` in an async generator stops every stream of its process.

Plain Django is silent about it. Here each step is timed, and a view that keeps the loop is named in the log, once.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from .byhand import steps

__all__ = ["TimedSteps", "timed"]

logger = logging.getLogger("serversent")

LIMIT_SECONDS = 1.0

# After a step that took so long the others get their turn, even if the generator never waits for anything.
TURN_SECONDS = 0.02


class TimedSteps:
    """An async iterator of the values of another one, which times how long each step keeps the event loop."""

    __slots__ = ("_name", "_seconds", "_values")

    def __init__(self, values: AsyncIterator[Any], name: str) -> None:
        self._values = values
        self._name = name
        self._seconds = 0.0

    def __aiter__(self) -> "TimedSteps":
        return self

    def __anext__(self) -> Awaitable[Any]:
        return steps(anext(self._values), self._timed)

    def has_kept_the_loop(self) -> bool:
        """Whether the steps since the last call kept the event loop for so long that others should have a turn."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds > TURN_SECONDS

    def _timed(self, step: Callable[[Any], Any], argument: Any) -> Any:
        began = time.perf_counter()
        try:
            return step(argument)
        finally:
            self._seconds += (seconds := time.perf_counter() - began)
            if seconds > LIMIT_SECONDS:
                _warn_once(self._name, seconds)


def timed(awaitable: Awaitable[Any], name: str) -> Awaitable[Any]:
    """Return an awaitable that is timed in the same way."""

    def step(step: Callable[[Any], Any], argument: Any) -> Any:
        began = time.perf_counter()
        try:
            return step(argument)
        finally:
            if (seconds := time.perf_counter() - began) > LIMIT_SECONDS:
                _warn_once(name, seconds)

    return steps(awaitable, step)


_warned: set[str] = set()


def _warn_once(name: str, seconds: float) -> None:
    if name not in _warned:
        _warned.add(name)
        logger.warning(
            "%s kept the event loop for %.1f s, in which no other stream or request of this process went on. Where "
            "async code waits, write `await asyncio.sleep(...)` instead of `time.sleep(...)`, and "
            "`await sync_to_async(function)(...)` for other functions that wait, or write a sync generator.",
            name,
            seconds,
        )
