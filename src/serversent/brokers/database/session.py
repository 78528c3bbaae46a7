"""A database connection of a hub's own, on a thread of its own, outside Django's request cycle and outside any pool."""

import asyncio
import contextlib
import functools
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ...concurrency.threads import StreamThread
from ..dialects.detect import dialect_of

__all__ = ["Session", "close_own", "own_connection"]


# How long a call may take. After one that took longer the next may take twice as long: the database may just be slow.
READ_SECONDS = 15.0
MAX_READ_SECONDS = 120.0

# A connection that nobody has used for so long is closed, also because its event loop may have ended without a word.
IDLE_SECONDS = 60.0

P = ParamSpec("P")
T = TypeVar("T")


def own_connection(alias: str) -> BaseDatabaseWrapper:
    """Return a new connection to the database ``alias`` that nobody else uses, closes or pools. It opens itself."""
    connection = connections[alias].copy()
    connection.settings_dict["AUTOCOMMIT"] = True  # the project may have switched it off for its own
    options = connection.settings_dict["OPTIONS"]
    options.pop("pool", None)
    if (seconds := dialect_of(connection).connect_timeout) is not None:
        options.setdefault("connect_timeout", seconds)
    connection.inc_thread_sharing()
    return connection


class Session:
    """Runs functions of a connection, one at a time. One that failed is closed; the next call opens another.

    A call that takes too long is given up, with its thread and its connection: a network may swallow what is sent, and
    then neither end ever learns of it.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._seconds = READ_SECONDS
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._connection = own_connection(self._alias)
        self._given_up = threading.Event()
        self._thread = StreamThread(IDLE_SECONDS, on_idle=functools.partial(_close, self._connection))

    async def run(
        self, fn: Callable[Concatenate[BaseDatabaseWrapper, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._closed:
            raise InterfaceError("the connection was closed, because nobody listens any more")
        connection = self._connection
        given_up = self._given_up
        call = functools.partial(_run, connection, given_up, functools.partial(fn, connection, *args, **kwargs))
        called = asyncio.get_running_loop().run_in_executor(self._thread, call)  # type: ignore[arg-type]
        called.add_done_callback(_retrieve)
        done, _ = await asyncio.wait({called}, timeout=self._seconds)
        if done:
            self._seconds = READ_SECONDS
            return called.result()
        given_up.set()
        self.close()
        _sever(connection)
        seconds, self._seconds = self._seconds, min(2 * self._seconds, MAX_READ_SECONDS)
        self._closed = False
        self._begin()
        raise OperationalError(f"no answer within {seconds:g} s")

    def close(self) -> None:
        """Close the connection after the running call. Returns at once."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # closed before, or no thread can be started any more
            self._thread.submit(_close, self._connection)
        self._thread.shutdown()


def _run(connection: BaseDatabaseWrapper, given_up: threading.Event, call: Callable[[], T]) -> T:
    was_open = connection.connection is not None
    try:
        return call()
    except DatabaseError:
        _close(connection)
        if given_up.is_set() or not was_open:
            raise
    # A kept connection may have died long ago. The call is repeated: it reads, assigns offsets or prunes.
    try:
        return call()
    except DatabaseError:
        _close(connection)
        raise


def close_own(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that ``own_connection`` made."""
    dialect_of(connection).close(connection)


def _close(connection: BaseDatabaseWrapper) -> None:
    with contextlib.suppress(Exception):  # it is broken
        close_own(connection)


def _sever(connection: BaseDatabaseWrapper) -> None:
    """Let the call that waits for a connection's answer fail, in its thread."""
    driver: Any = connection.connection
    with contextlib.suppress(Exception):  # it has ended meanwhile, or its driver does not show its socket
        if hasattr(driver, "interrupt"):  # sqlite3
            driver.interrupt()
        elif hasattr(driver, "_sock"):  # PyMySQL
            driver._sock.shutdown(socket.SHUT_RDWR)
        else:
            with socket.socket(fileno=os.dup(driver.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)


def _retrieve(called: "asyncio.Future[Any]") -> None:
    """Keep asyncio from logging an exception that nobody awaited: the caller may have given up."""
    if not called.cancelled():
        called.exception()
