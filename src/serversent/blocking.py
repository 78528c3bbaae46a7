"""Steps that keep the event loop: ``time.sleep()`` in an async generator stops every stream of its process.

Plain Django is silent about it. Here each step is timed, and a view that keeps the loop is named in the log, once.
"""

import logging
from collections.abc import Awaitable, Coroutine
from time import perf_counter
from typing import Any

__all__ = ["Timed", "timed"]

logger = logging.getLogger("serversent")

LIMIT_SECONDS = 1.0

# After a step that took so long the others get their turn, even if the generator never waits for anything.
TURN_SECONDS = 0.02


class Timed(Coroutine[Any, Any, Any]):
    """A coroutine, to be awaited or made a task, each step of which is timed. ``name`` is for the log.

    It is run for each event of a generator, so it calls as little as it can.
    """

    __slots__ = ("_began", "_name", "_send")

    def __init__(self, steps: Coroutine[Any, Any, Any], name: str) -> None:
        self._send = steps.send
        self._name = name
        self._began = 0.0

    def has_kept_the_loop(self) -> bool:
        """Whether the step that is running has kept the event loop for so long that others should have a turn."""
        return perf_counter() - self._began > TURN_SECONDS

    def __next__(self) -> Any:
        self._began = began = perf_counter()
        try:
            waited = self._send(None)
        except BaseException:
            self._look()
            raise
        if perf_counter() - began > LIMIT_SECONDS:
            self._look()
        return waited

    def send(self, value: Any) -> Any:
        self._began = perf_counter()
        try:
            return self._send(value)
        finally:
            self._look()

    def throw(self, *error: Any) -> Any:
        self._began = perf_counter()
        try:
            return self._coroutine.throw(*error)
        finally:
            self._look()

    def close(self) -> None:
        self._coroutine.close()

    @property
    def _coroutine(self) -> Any:
        return self._send.__self__  # type: ignore[attr-defined]

    def _look(self) -> None:
        if (seconds := perf_counter() - self._began) > LIMIT_SECONDS:
            _warn_once(self._name, seconds)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self


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
