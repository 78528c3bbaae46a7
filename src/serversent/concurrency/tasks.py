"""Tasks outside a request's context, and coroutines that need no task of their own."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable
from typing import Any, TypeVar

__all__ = ["SharedCalls", "in_context", "is_cancelled", "run_eagerly", "spawn_detached", "test_executor"]

T = TypeVar("T")

# An executor instead of the streams' own threads: in a project's tests, sync code has to run in the test's transaction.
test_executor: contextvars.ContextVar[Any] = contextvars.ContextVar("serversent.test_executor", default=None)


def spawn_detached(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that keeps nothing of the current request: neither its context nor its errors.

    Only the test executor is kept, by which the tests of a project run sync code in their transaction.
    """
    context, executor = contextvars.Context(), test_executor.get()
    if executor is not None:
        context.run(test_executor.set, executor)
    task = asyncio.get_running_loop().create_task(coroutine, context=context)
    task.add_done_callback(_retrieve_exception)
    return task


def _retrieve_exception(done: asyncio.Future[Any]) -> None:
    """Keep asyncio from logging an exception that nobody awaited: the callers may have left."""
    if not done.cancelled():
        done.exception()


class SharedCalls:
    """Calls that several callers want at one time are made once."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def call(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of ``start()``, or of a call with the same key that is running now."""
        task = self._running.get(key)
        if task is None or task.done():
            task = self._running[key] = spawn_detached(start())
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        if self._running.get(key) is done:
            del self._running[key]


def run_eagerly(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None] | None:
    """Run a coroutine until it first suspends. Return an awaitable for the rest, or ``None`` if it has finished.

    It runs in the task and the context of the caller, so that it must not depend on either.
    """
    try:
        waited = coroutine.send(None)
    except StopIteration:
        return None
    return _Steps(coroutine.send, coroutine.throw, waited)


def in_context(context: contextvars.Context, coroutine: Coroutine[Any, Any, None]) -> Awaitable[None]:
    """Run a coroutine in the task that awaits this, but in another context."""

    def send(value: Any) -> Any:
        return context.run(coroutine.send, value)

    def throw(error: BaseException) -> Any:
        return context.run(coroutine.throw, error)

    return _Steps(send, throw)


def is_cancelled() -> bool:
    """Return whether the current task was asked to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_NOT_STARTED = object()


class _Steps:
    """An awaitable that runs a coroutine, begun or not, to its end."""

    __slots__ = ("_send", "_throw", "_waited")

    def __init__(
        self, send: Callable[[Any], Any], throw: Callable[[BaseException], Any], waited: Any = _NOT_STARTED
    ) -> None:
        self._send = send
        self._throw = throw
        self._waited = waited

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waited = self._send(None) if self._waited is _NOT_STARTED else self._waited
            while True:
                try:
                    value = yield waited
                except BaseException as error:
                    waited = self._throw(error)
                else:
                    waited = self._send(value)
        except StopIteration as end:
            return end.value
