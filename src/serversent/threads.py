"""The threads that streams use: daemon threads, so that no exit or reload ever waits for one.

``concurrent.futures.ThreadPoolExecutor`` joins its threads at exit; a sleeping generator held a reload for 7 s.
"""

import asyncio
import contextlib
import contextvars
import functools
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from asgiref import sync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .conf import setting
from .errors import TooManySyncStreams

__all__ = [
    "StreamThread",
    "ThreadedIterator",
    "adopt_locals",
    "live_servers",
    "shared_connections",
    "stand_in",
    "wait_closed",
]

logger = logging.getLogger("serversent")

IDLE_SECONDS = 0.3

# An executor instead of a stream's own: in a project's tests, sync code has to run where the test's transaction is.
stand_in: contextvars.ContextVar[Any] = contextvars.ContextVar("serversent.stand_in", default=None)

_Call = tuple[Future[Any], Callable[[], Any]]


def adopt_locals() -> None:
    """Make the asgiref Locals of the current context the current thread's: language, time zone, URLconf, script prefix.

    asgiref hides them from a thread that merely inherits a context. It has this function for its own changes of
    threads.
    """
    restore: Callable[[contextvars.Context], None] | None = getattr(sync, "_restore_context", None)
    if restore is not None:
        restore(contextvars.copy_context())


# One for all: it is held for a few instructions, and a lock each would be 56 bytes for each open stream. Reentrant,
# because the garbage collector may close a lost stream in the midst of these instructions.
_lock = threading.RLock()


class StreamThread:
    """Runs the sync calls of one stream, one at a time, on a thread that is there only while there is work.

    After ``idle_seconds`` without a call the thread closes its database connections and ends, unless a transaction
    is open; the next call starts another. ``None``: the thread stays until ``shutdown()``. Each thread calls
    ``prepare`` before anything else, and ``on_idle`` when it ends for want of work; ``on_end`` is called once.

    It is what ``loop.run_in_executor`` and asgiref ask of an ``Executor``; that class would cost each open stream
    a dict. Nor is anything made before the first call: most streams never make one.
    """

    __slots__ = ("_calls", "_closed", "_idle_seconds", "_on_end", "_on_idle", "_prepare", "_running", "ended_idle")

    def __init__(
        self,
        idle_seconds: float | None = IDLE_SECONDS,
        *,
        prepare: Callable[[], object] | None = None,
        on_idle: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._idle_seconds = idle_seconds
        self._prepare = prepare
        self._on_idle = on_idle
        self._on_end = on_end
        self._calls: queue.SimpleQueue[_Call | None] | None = None
        self._running = False
        self._closed = False
        self.ended_idle = False  # a connection, and what lived on it, was given back at least once

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with _lock:
            if self._closed:
                raise RuntimeError("the stream is over")
            if self._calls is None:
                self._calls = queue.SimpleQueue()
            self._calls.put((future, functools.partial(fn, *args, **kwargs)))
            starts = not self._running
            self._running = True
        if starts:
            self._start(self._calls)
        return future

    def _start(self, calls: "queue.SimpleQueue[_Call | None]") -> None:
        # Outside the lock: start() waits for the thread, in which the garbage collector may want the lock.
        try:
            arguments = calls, shared_connections()
            threading.Thread(target=self._work, args=arguments, name="serversent-stream", daemon=True).start()
        except RuntimeError:  # the system has no more threads, or the interpreter is shutting down
            with _lock:
                self._running = False
            raise

    @property
    def is_running(self) -> bool:
        return self._running

    @property
    def is_closed(self) -> bool:
        return self._closed

    def shutdown(self) -> None:
        """Let the thread end after the calls it has. Never waits: what runs may sleep for long."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            running = self._running
            if running and self._calls is not None:
                self._calls.put(None)
        if not running and self._on_end is not None:
            self._on_end()

    def _work(self, calls: "queue.SimpleQueue[_Call | None]", shared: dict[str, Any]) -> None:
        ident = threading.get_ident()
        _working[ident] = self
        for alias, connection in shared.items():
            connections[alias] = connection
        is_prepared = self._prepare is None
        while (call := self._next_call(calls)) is not None:
            future, fn = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if not is_prepared and self._prepare is not None:
                    self._prepare()  # its error is the call's: nothing runs on a connection that is not prepared
                    is_prepared = True
                future.set_result(fn())
            except BaseException as error:
                future.set_exception(error)
            # Not kept while idle: they hold the generator's frame and its values.
            del call, future, fn
        try:
            _close_connections(shared)
        except Exception:
            logger.exception("A stream's database connection could not be closed")
        del _working[ident]
        if self._closed and self._on_end is not None:
            self._on_end()

    def _next_call(self, calls: "queue.SimpleQueue[_Call | None]") -> "_Call | None":
        while True:
            try:
                return calls.get(timeout=self._idle_seconds)
            except queue.Empty:
                if _in_transaction():
                    continue
            if self._on_idle is not None:
                self._on_idle()
            with _lock:
                if calls.empty():
                    self._running = False
                    self.ended_idle = True
                    return None


def _close_connections(shared: dict[str, Any]) -> None:
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "sqlite" and connection.alias not in shared:
            BaseDatabaseWrapper.close(connection)  # SQLite's own leaves one in memory open, for the sake of its tables


_working: dict[int, StreamThread] = {}  # by the thread's ident


def wait_closed(seconds: float) -> bool:
    """Wait until the threads of streams that are over have closed their connections; say whether they have."""
    deadline = time.monotonic() + seconds
    while any(thread.is_closed for thread in list(_working.values())):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def live_servers() -> list[Any]:
    """Return the threads of a test's live servers."""
    testcases = sys.modules.get("django.test.testcases")
    if testcases is None:  # no test
        return []
    return [thread for thread in threading.enumerate() if isinstance(thread, testcases.LiveServerThread)]


def shared_connections() -> dict[str, Any]:
    """Return the connections that a test shares with its live server: to SQLite in memory, where others are locked out.

    They are not in ``connections``: within an event loop that is another namespace.
    """
    return {alias: each for server in live_servers() for alias, each in (server.connections_override or {}).items()}


def _in_transaction() -> bool:
    return any(
        connection.connection is not None and (connection.in_atomic_block or not connection.autocommit)
        for connection in connections.all(initialized_only=True)
    )


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
        self._stand_in = stand_in.get()
        self._context = contextvars.copy_context()
        self._is_begun = False
        self._iterator = iterator
        self._closers: tuple[Callable[[], Any], ...] = (iterator.close,) if hasattr(iterator, "close") else ()
        self._step: Future[Any] | None = None
        self._interrupted: Future[None] | None = None
        self._closed = False

    def start(self, seconds: float) -> None:
        """Run up to the first value, but wait at most ``seconds`` for it. Raises what the iterator raises."""
        self._step = self._submit()
        try:
            self._step.exception(timeout=seconds)
        except FutureTimeoutError:
            return
        if error := self._step.exception():
            self._step = None  # a cycle: the error's traceback leads here
            self.close()
            raise error

    def next_within(self, seconds: float) -> tuple[bool, Any]:
        """Return ``(True, value)``, or ``(False, None)`` if there is none yet. Raises ``StopIteration`` at the end."""
        if self._step is None:
            self._step = self._submit()
        if self._interrupted is None:
            self._interrupted = Future()
        wait({self._step, self._interrupted}, timeout=seconds, return_when=FIRST_COMPLETED)
        if self._interrupted.done():
            raise StopIteration
        if not self._step.done():
            return False, None
        value = self._step.result()
        self._step = None
        if value is _END:
            raise StopIteration
        return True, value

    def interrupt(self) -> None:
        """Let ``next_within``, which another thread calls, end as if there were no more values."""
        if self._interrupted is not None:
            with contextlib.suppress(InvalidStateError):
                self._interrupted.set_result(None)

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
        self._closers += closers

    def close(self) -> None:
        """Close the iterator on its thread, after the step that runs; do not wait for it."""
        if self._closed:
            return
        self._closed = True
        thread = self._thread if self._stand_in is None else self._stand_in
        with contextlib.suppress(RuntimeError):  # the system has no more threads: then its place is free at least
            thread.submit(self._context.run, self._close)
        self._thread.shutdown()

    def __del__(self) -> None:
        # A response that got lost on its way, under plain Django or WSGI: nobody else can tell. The garbage collector
        # calls this anywhere, also inside Thread.start() with its locks: no thread may be started here.
        if not hasattr(self, "_closed"):
            return
        if self._thread.is_running:
            self.close()
        else:
            self._thread.shutdown()

    def _submit(self) -> Future[Any]:
        if self._stand_in is None:
            return self._thread.submit(self._context.run, self._next)
        if asyncio._get_running_loop() is not None:
            return self._stand_in.submit(self._context.run, self._next)  # type: ignore[no-any-return]
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
