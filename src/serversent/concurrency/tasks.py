"""Running coroutines without a task of their own, and asking whether a task was cancelled."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["begun", "in_context", "in_no_context", "is_cancelled"]

T = TypeVar("T")


def in_no_context(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task of no request's: the context of the one that happened to be first is none of its business."""
    task = asyncio.get_running_loop().create_task(coroutine, context=contextvars.Context())
    task.add_done_callback(_retrieve)
    return task


def _retrieve(done: asyncio.Future[Any]) -> None:
    """Whoever waited may have left; an error that nobody asked for would be logged as a mistake of ours."""
    if not done.cancelled():
        done.exception()


def begun(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run a coroutine up to where it waits. Returns what is to be awaited for the rest; ``None`` if it is through.

    Only for coroutines that are known not to ask which task or context they run in: it is the caller's.
    """
    try:
        waited = coroutine.send(None)
    except StopIteration:
        return None
    return _Steps(coroutine.send, coroutine.throw, waited)


def in_context(context: contextvars.Context, coroutine: Coroutine[Any, Any, None]) -> Awaitable[None]:
    """Run a coroutine in the task of whoever awaits this, but in a context of its own, which ends with it."""

    def send(value: Any) -> Any:
        return context.run(coroutine.send, value)

    def throw(error: BaseException) -> Any:
        return context.run(coroutine.throw, error)

    return _Steps(send, throw)


def is_cancelled() -> bool:
    """Whether somebody has asked for the end of the current task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_NOT_BEGUN = object()


class _Steps:
    """A coroutine, begun or not, that is run on, step by step, by whoever awaits this."""

    __slots__ = ("_send", "_throw", "_waited")

    def __init__(
        self, send: Callable[[Any], Any], throw: Callable[[BaseException], Any], waited: Any = _NOT_BEGUN
    ) -> None:
        self._send = send
        self._throw = throw
        self._waited = waited

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waited = self._send(None) if self._waited is _NOT_BEGUN else self._waited
            while True:
                try:
                    value = yield waited
                except BaseException as error:
                    waited = self._throw(error)
                else:
                    waited = self._send(value)
        except StopIteration as end:
            return end.value
