"""The opening events of a stream of channels: ``ready`` or ``reset``, and the project's initial state."""

import contextlib
import inspect
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from ..concurrency.callables import is_async_callable, is_async_generator
from ..concurrency.loop_monitor import loop_monitor
from ..concurrency.tasks import test_executor
from ..concurrency.threads import StreamThread, adopt_locals
from ..concurrency.turns import Turns
from ..wire.cursor import Cursor
from ..wire.event import ServerSentEvent
from ..wire.frames import id_frame, ready_frame, state_frame

__all__ = ["StateAt", "initial_values", "opening_frames"]


# How many values of a sync generator one call of its thread fetches.
VALUES_AT_ONCE = 20

_END: Any = object()


class StateAt:
    """An initial state that depends on the cursor at which its stream begins.

    Events after the cursor are delivered anyway; the state must not include them.
    """

    def __init__(self, function: Callable[[Cursor], AsyncIterator[Any]]) -> None:
        self._function = function

    def __call__(self) -> Any:
        raise TypeError("this initial state needs a cursor")

    def at(self, cursor: Cursor) -> AsyncIterator[Any]:
        return self._function(cursor)


async def opening_frames(
    greeting: str,
    cursor: str | None,
    *,
    initial: Callable[[], Any] | None,
    start: Cursor,
    prepare: Callable[[], object] | None,
    turns: Turns,
    control_events: bool,
) -> AsyncGenerator[bytes]:
    """Yield the frames of ``ready`` or ``reset`` and of the initial state.

    The last of these events has the cursor as its id, and no other one has: a client that is cut off before it comes
    back without the cursor, and gets the whole state again. Close it in the task that iterates it.
    """
    last: bytes | ServerSentEvent = _greeting_frame(greeting, None, control_events=control_events)
    values = initial_values(initial, start, prepare)
    async with contextlib.aclosing(values):
        waits = initial is not None
        while True:
            async with turns.turn() if waits else contextlib.nullcontext(False) as has_turn:
                value = await anext(values, _END)
            waits = has_turn  # a stream that has waited for a turn in vain does not wait again
            if value is _END:
                break
            event = value if isinstance(value, ServerSentEvent) else ServerSentEvent(value)
            if event.data is None:  # it cannot carry an id
                continue
            yield last if isinstance(last, bytes) else state_frame(last, None)
            last = event
    if isinstance(last, bytes):
        yield _greeting_frame(greeting, cursor, control_events=control_events)
    else:
        yield state_frame(last, cursor)


def _greeting_frame(greeting: str, cursor: str | None, *, control_events: bool) -> bytes:
    if control_events:
        return ready_frame(greeting, cursor)
    return b"" if cursor is None else id_frame(cursor)


async def initial_values(
    initial: Callable[[], Any] | None,
    cursor: Cursor,
    prepare: Callable[[], object] | None = None,
) -> AsyncGenerator[Any]:
    """Yield the values of an initial state. Sync code runs in a thread of its own.

    ``cursor``: where the stream begins. ``prepare``: called in the thread first. Close it in the task that iterates it.
    """
    if initial is None:
        return
    thread, monitor = StreamThread(prepare=prepare), loop_monitor()
    monitor.look()
    try:
        async with ThreadSensitiveContext(executor=test_executor.get() or thread):  # type: ignore[arg-type]
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
    """Yield the values of a sync generator, a few of which are in memory."""
    try:
        while some := await sync_to_async(_take_some)(values):
            for value in some:
                yield value
    finally:
        await sync_to_async(values.close)()


def _take_some(values: Generator[Any, Any, Any]) -> list[Any]:
    return list(itertools.islice(values, VALUES_AT_ONCE))
