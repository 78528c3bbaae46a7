"""The threads that streams use: daemon threads, so that no exit or reload ever waits for one.

``concurrent.futures.ThreadPoolExecutor`` joins its threads at exit; a sleeping generator held a reload for 7 s.
"""

import contextvars
import functools
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from asgiref import sync
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["StreamThread", "adopt_locals", "live_servers", "shared_connections", "wait_closed"]

logger = logging.getLogger("serversent")


IDLE_SECONDS = 0.3

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
    """Runs the sync calls of one stream, one at a time, on a thread that exists only while there is work.

    After ``idle_seconds`` without a call the thread closes its database connections and ends, unless a transaction
    is open; the next call starts another. ``None``: the thread stays until ``shutdown()``. Each thread calls
    ``prepare`` before anything else, and ``on_idle`` when it ends for want of work; ``on_end`` is called once.

    It has the methods of an ``Executor`` that ``loop.run_in_executor`` and asgiref use. A subclass would cost each open
    stream a dict. Nothing is created before the first call: most streams never make one.
    """

    __slots__ = ("_calls", "_closed", "_idle_seconds", "_running", "ended_idle", "on_end", "on_idle", "prepare")

    def __init__(
        self,
        idle_seconds: float | None = IDLE_SECONDS,
        *,
        prepare: Callable[[], object] | None = None,
        on_idle: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._idle_seconds = idle_seconds
        self.prepare = prepare
        self.on_idle = on_idle
        self.on_end = on_end
        self._calls: queue.SimpleQueue[_Call | None] | None = None
        self._running = False
        self._closed = False
        self.ended_idle = False  # its connection was closed at least once for want of work

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
            threading.Thread(target=_work, args=(self, *arguments), name="serversent-stream", daemon=True).start()
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
        """Let the thread end after the calls it has. Never waits: a call may sleep for long."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            running = self._running
            if running and self._calls is not None:
                self._calls.put(None)
        if not running and self.on_end is not None:
            self.on_end()

    def next_call(self, calls: "queue.SimpleQueue[_Call | None]") -> "_Call | None":
        """Wait for the next call, in the thread; ``None``: the thread ends."""
        while True:
            try:
                return calls.get(timeout=self._idle_seconds)
            except queue.Empty:
                if _in_transaction():
                    continue
            if self.on_idle is not None:
                self.on_idle()
            with _lock:
                if calls.empty():
                    self._running = False
                    self.ended_idle = True
                    return None


def _work(owner: StreamThread, calls: "queue.SimpleQueue[_Call | None]", shared: dict[str, Any]) -> None:
    """Run the calls of a stream, in their thread."""
    ident = threading.get_ident()
    _working[ident] = owner
    for alias, connection in shared.items():
        connections[alias] = connection
    is_prepared = owner.prepare is None
    while (call := owner.next_call(calls)) is not None:
        future, fn = call
        if not future.set_running_or_notify_cancel():
            continue
        try:
            if not is_prepared and owner.prepare is not None:
                owner.prepare()  # its error is the call's: nothing runs on a connection that is not prepared
                is_prepared = True
            future.set_result(fn())
        except BaseException as error:
            future.set_exception(error)
        # They hold the generator's frame and its values: not kept while idle.
        del call, future, fn
    try:
        _close_connections(shared)
    except Exception:
        logger.exception("A stream's database connection could not be closed")
    del _working[ident]
    if owner.is_closed and owner.on_end is not None:
        owner.on_end()


def _close_connections(shared: dict[str, Any]) -> None:
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        if connection.alias not in shared:
            # SQLite's own close() leaves a database in memory open, for the sake of its tables.
            BaseDatabaseWrapper.close(connection)


_working: dict[int, StreamThread] = {}  # by the thread's ident


def wait_closed(seconds: float) -> bool:
    """Wait until the threads of ended streams have closed their connections. Return whether they have."""
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
