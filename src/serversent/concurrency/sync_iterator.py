"""A sync iterator on a thread of its own."""

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from ..conf import setting
from ..errors import TooManySyncStreams
from .tasks import test_executor
from .threads import StreamThread, adopt_locals

__all__ = ["ThreadedIterator"]

logger = logging.getLogger("serversent")


# Reentrant, because the garbage collector may close a lost stream while its thread holds the lock.
_lock = threading.RLock()


class _SyncStreams:
    """Counts the threads of sync generators in this process."""

    def __init__(self) -> None:
        self._open = 0

    def enter(self) -> None:
        limit = setting("MAX_SYNC_STREAMS")
        with _lock:
            if self._open >= limit:
                raise TooManySyncStreams(limit)
            self._open += 1

    def leave(self) -> None:
        with _lock:
            self._open -= 1


_sync_streams = _SyncStreams()

_END: Any = object()


class ThreadedIterator:
    """A sync iterator that runs on a thread of its own, from its first step to its ``close()``.

    One thread, so that transactions, cursors and thread locals work across yields; one context, so that context
    variables do. Raises ``TooManySyncStreams`` when the pool is full. Iterate it with ``async for``, or with
    ``next_within``.
    """

    def __init__(self, iterator: Iterator[Any], *, prepare: Callable[[], object] | None = None) -> None:
        _sync_streams.enter()
        self._thread = StreamThread(None, prepare=prepare, on_end=_sync_streams.leave)
        self._test_executor = test_executor.get()
        self._context = contextvars.copy_context()
        self._is_begun = False
        self._iterator = iterator
        self._step: Future[Any] | None = None
        self._closers: list[Callable[[], Any]] = [iterator.close] if hasattr(iterator, "close") else []

    def start(self, seconds: float) -> None:
        """Run up to the first value, but wait at most ``seconds`` for it. Raises the iterator's exceptions."""
        self._step = self._submit()
        try:
            self._step.exception(timeout=seconds)
        except FutureTimeoutError:
            return
        if error := self._step.exception():
            self._step = None  # a cycle: the error's traceback leads here
            self.close()
            raise error

    def next_within(self, seconds: float, interrupted: Future[None]) -> tuple[bool, Any]:
        """Return ``(True, value)``, or ``(False, None)`` if there is none yet. Raises ``StopIteration`` at the end.

        ``interrupted``: another thread ends the iteration by it.
        """
        if self._step is None:
            self._step = self._submit()
        wait({self._step, interrupted}, timeout=seconds, return_when=FIRST_COMPLETED)
        if interrupted.done():
            raise StopIteration
        if not self._step.done():
            return False, None
        value = self._step.result()
        self._step = None
        if value is _END:
            raise StopIteration
        return True, value

    def __aiter__(self) -> "ThreadedIterator":
        return self

    async def __anext__(self) -> Any:
        step, self._step = self._step or self._submit(), None
        value = await asyncio.wrap_future(step)
        if value is _END:
            raise StopAsyncIteration
        return value

    async def aclose(self) -> None:
        self.close()

    def close_with(self, *closers: Callable[[], Any]) -> None:
        """Call these too when the iterator is closed."""
        self._closers.extend(closers)

    def close(self) -> None:
        """Close the iterator on its thread, after the step that runs; do not wait for it."""
        if self._thread.is_closed:
            return
        thread = self._thread if self._test_executor is None else self._test_executor
        with contextlib.suppress(RuntimeError):  # the system has no more threads: then its place is free at least
            thread.submit(self._context.run, self._close)
        self._thread.shutdown()

    def __del__(self) -> None:
        # A response that got lost on its way, under plain Django or WSGI: nobody else can tell. The garbage collector
        # calls this anywhere, also inside Thread.start() with its locks: no thread may be started here.
        if not hasattr(self, "_closers"):  # the pool was full
            return
        if self._thread.is_running:
            self.close()
        else:
            self._thread.shutdown()

    def _submit(self) -> Future[Any]:
        if self._test_executor is None:
            return self._thread.submit(self._context.run, self._next)
        if asyncio._get_running_loop() is not None:
            return self._test_executor.submit(self._context.run, self._next)  # type: ignore[no-any-return]
        return _run_here(self._context.run, self._next)  # this is the thread that stands in

    def _next(self) -> Any:
        if not self._is_begun:
            self._is_begun = True
            adopt_locals()
        return next(self._iterator, _END)

    def _close(self) -> None:
        for close in self._closers:
            try:
                close()
            except Exception:
                logger.exception("A stream's generator failed while it was closed")


def _run_here(call: Callable[..., Any], *args: Any) -> Future[Any]:
    future: Future[Any] = Future()
    try:
        future.set_result(call(*args))
    except BaseException as error:
        future.set_exception(error)
    return future
