"""A database connection of a hub's own, on a thread of its own, outside Django's request cycle and outside any pool."""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.db import Error as DatabaseError
from django.db import InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..threads import StreamThread

__all__ = ["Session", "own_connection", "sql"]

CONNECT_SECONDS = 10

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
    if connection.vendor in ("postgresql", "mysql"):
        options.setdefault("connect_timeout", CONNECT_SECONDS)
    connection.inc_thread_sharing()
    return connection


class Session:
    """Runs functions of a connection, one at a time. One that failed is closed; the next call opens another."""

    def __init__(self, alias: str) -> None:
        self._connection = own_connection(alias)
        self._thread = StreamThread(IDLE_SECONDS, on_idle=self._close)
        self._closed = False

    async def run(
        self, fn: Callable[Concatenate[BaseDatabaseWrapper, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._closed:
            raise InterfaceError("the connection was closed, because nobody listens any more")
        call = functools.partial(self._run, functools.partial(fn, self._connection, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)  # type: ignore[arg-type]

    def _run(self, call: Callable[[], T]) -> T:
        was_open = self._connection.connection is not None
        try:
            return call()
        except DatabaseError:
            self._close()
            if not was_open:
                raise
        # A connection that was kept may have died long ago. What runs here may run twice: it reads, numbers or prunes.
        try:
            return call()
        except DatabaseError:
            self._close()
            raise

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # it is broken
            self._connection.close()

    def close(self) -> None:
        """Close the connection, when what runs is done. Returns at once."""
        self._closed = True
        with contextlib.suppress(RuntimeError):  # closed before, or no thread can be started any more
            self._thread.submit(self._close)
        self._thread.shutdown()


def sql(connection: BaseDatabaseWrapper, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Return all rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
