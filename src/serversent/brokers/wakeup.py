"""How the tail of a database's log learns that there is something new."""

import threading
import time
import weakref
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from .session import sql

__all__ = ["Wakeup", "wake"]

# SQLite tells of another connection's commit by a number, which is cheap to ask for.
SQLITE_POLL_SECONDS = 0.05
MARIADB_POLL_SECONDS = 0.2

# With LISTEN the poll is a net: for what was inserted by plain SQL, or by a process that was killed before it numbered.
LISTEN_POLL_SECONDS = 1.0

_wakeups: weakref.WeakSet["Wakeup"] = weakref.WeakSet()
_lock = threading.Lock()


def wake(alias: str) -> None:
    """Wake the tails of this process that read from the database ``alias``."""
    with _lock:
        wakeups = [wakeup for wakeup in _wakeups if wakeup.alias == alias]
    for wakeup in wakeups:
        wakeup.event.set()


class Wakeup:
    """Waits, in the tail's thread, for a commit of anybody."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.event = threading.Event()
        self._listening: Any = None  # the driver's connection on which LISTEN was said
        self._version = -1
        with _lock:
            _wakeups.add(self)

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Listen from here on: what is committed after this call ends the next ``wait``."""
        self.event.clear()
        if connection.vendor == "sqlite":
            self._version = _data_version(connection)
        elif connection.vendor == "postgresql":
            connection.ensure_connection()
            if self._listening is not connection.connection and hasattr(connection.connection, "notifies"):
                sql(connection, "LISTEN serversent")
                self._listening = connection.connection

    def wait(self, connection: BaseDatabaseWrapper) -> bool:
        """Wait for a commit, at most about a second; say whether there was a sign of one."""
        if connection.vendor == "sqlite":
            return self._wait_for_version(connection)
        if self._listening is not None and self._listening is connection.connection:
            # One is enough: what others told of is read with it.
            return any(True for _ in self._listening.notifies(timeout=LISTEN_POLL_SECONDS, stop_after=1))
        return self.event.wait(MARIADB_POLL_SECONDS)

    def _wait_for_version(self, connection: BaseDatabaseWrapper) -> bool:
        until = time.monotonic() + LISTEN_POLL_SECONDS
        while time.monotonic() < until:
            if self.event.wait(SQLITE_POLL_SECONDS) or _data_version(connection) != self._version:
                return True
        return False


def _data_version(connection: BaseDatabaseWrapper) -> int:
    version: int = sql(connection, "PRAGMA data_version")[0][0]
    return version
