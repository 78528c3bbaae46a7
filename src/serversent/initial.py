"""The initial state of a channel's stream: the values of a function of the project's."""

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from .cursors import Cursor
from .threads import StreamThread, stand_in

__all__ = ["StateAt", "initial_values"]


class StateAt:
    """An initial state that depends on where its stream begins, and is asked with that cursor.

    Events after the cursor follow by themselves: what it yields must not have what they bring.
    """

    def __init__(self, function: Callable[[Cursor], AsyncIterator[Any]]) -> None:
        self._function = function

    def __call__(self) -> Any:
        raise TypeError("this initial state is asked with a cursor")

    def at(self, cursor: Cursor) -> AsyncIterator[Any]:
        return self._function(cursor)


async def initial_values(initial: Callable[[], Any] | None, cursor: Cursor) -> AsyncIterator[Any]:
    """Yield the values of an initial state. Sync code runs in a thread that is there only for it.

    ``cursor``: where the stream begins.
    """
    if initial is None:
        return
    thread = StreamThread()
    try:
        async with ThreadSensitiveContext(executor=stand_in.get() or thread):  # type: ignore[arg-type]
            if isinstance(initial, StateAt) or inspect.isasyncgenfunction(initial):
                async for value in initial.at(cursor) if isinstance(initial, StateAt) else initial():
                    yield value
                return
            if inspect.iscoroutinefunction(initial):
                returned = await initial()
            else:
                returned = await sync_to_async(_called)(initial)
            if isinstance(returned, _Many):
                for value in returned.values:
                    yield value
            elif returned is not None:
                yield returned
    finally:
        thread.shutdown()


class _Many:
    def __init__(self, values: list[Any]) -> None:
        self.values = values


def _called(initial: Callable[[], Any]) -> Any:
    returned = initial()
    return _Many(list(returned)) if inspect.isgenerator(returned) else returned
