"""The initial state of a channel's stream: the values of a function of the project's."""

import contextlib
import inspect
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from ..concurrency.callables import is_async_callable, is_async_generator
from ..concurrency.loop_monitor import loop_monitor
from ..concurrency.threads import StreamThread, adopt_locals, stand_in
from ..wire.cursor import Cursor

__all__ = ["StateAt", "initial_values"]


# Of a sync generator, one call of its thread each.
VALUES_AT_ONCE = 20


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


async def initial_values(
    initial: Callable[[], Any] | None,
    cursor: Cursor,
    prepare: Callable[[], object] | None = None,
) -> AsyncGenerator[Any]:
    """Yield the values of an initial state. Sync code runs in a thread that is there only for it.

    ``cursor``: where the stream begins. ``prepare`` is called in the thread first. To be closed by whoever iterates, in
    the same task.
    """
    if initial is None:
        return
    thread, monitor = StreamThread(prepare=prepare), loop_monitor()
    monitor.look()
    try:
        async with ThreadSensitiveContext(executor=stand_in.get() or thread):  # type: ignore[arg-type]
            adopt_locals()
            if isinstance(initial, StateAt) or is_async_generator(initial):
                values: Any = initial.at(cursor) if isinstance(initial, StateAt) else initial()
                async with contextlib.aclosing(values):
                    async for value in values:
                        yield value
                        if monitor.is_due:
                            monitor.look()
                return
            if is_async_callable(initial):
                returned = await initial()
            else:
                returned = await sync_to_async(initial)()
            if inspect.isgenerator(returned):
                async with contextlib.aclosing(_some_at_a_time(returned)) as some:
                    async for value in some:
                        yield value
            elif returned is not None:
                yield returned
    finally:
        thread.shutdown()


async def _some_at_a_time(values: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """Yield the values of a sync generator, with a few of them in memory."""
    try:
        while some := await sync_to_async(_take_some)(values):
            for value in some:
                yield value
    finally:
        await sync_to_async(values.close)()


def _take_some(values: Generator[Any, Any, Any]) -> list[Any]:
    return list(itertools.islice(values, VALUES_AT_ONCE))
