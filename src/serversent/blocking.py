"""Steps that keep the event loop: ``time.sleep()`` in an async generator stops every stream of its process.

Plain Django is silent about it. Here each step is timed, and a view that keeps the loop is named in the log, once.
"""

import logging
import time
from collections.abc import Awaitable, Coroutine
from typing import Any

__all__ = ["Timed", "timed"]

logger = logging.getLogger("serversent")

LIMIT_SECONDS = 1.0

# After a step that took so long the others get their turn, even if the generator never waits for anything.
TURN_SECONDS = 0.02


class Timed(Coroutine[Any, Any, Any]):
    """A coroutine, to be awaited or made a task, each step of which is timed. ``name`` is for the log."""

    __slots__ = ("_began", "_name", "_steps")

    def __init__(self, steps: Coroutine[Any, Any, Any], name: str) -> None:
        self._steps = steps
        self._name = name
        self._began = 0.0

    def has_kept_the_loop(self) -> bool:
        """Whether the step that is running has kept the event loop for so long that others should have a turn."""
        return time.perf_counter() - self._began > TURN_SECONDS

    def send(self, value: Any) -> Any:
        self._began = time.perf_counter()
        try:
            return self._steps.send(value)
        finally:
            self._look()

    def throw(self, *error: Any) -> Any:
        self._began = time.perf_counter()
        try:
            return self._steps.throw(*error)
        finally:
            self._look()

    def close(self) -> None:
        self._steps.close()

    def _look(self) -> None:
        if (seconds := time.perf_counter() - self._began) > LIMIT_SECONDS:
            _warn_once(self._name, seconds)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self.send(None)


def timed(awaitable: Awaitable[Any], name: str) -> Timed:
    """Return a coroutine of the same result, each step of which is timed."""
    return Timed(_awaited(awaitable), name)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


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
