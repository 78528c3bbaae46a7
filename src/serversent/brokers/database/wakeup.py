"""How the tail of a database's log learns that there is something new."""

import logging
import threading
import time
import weakref
from typing import Any

from django.db import InternalError
from django.db.backends.base.base import BaseDatabaseWrapper

from .session import close_own, own_connection, sql

__all__ = ["Wakeup", "wake"]

logger = logging.getLogger("serversent")


# SQLite tells of another connection's commit by a number, which is cheap to ask for.
SQLITE_POLL_SECONDS = 0.05
MARIADB_POLL_SECONDS = 0.2

# Without LISTEN: psycopg 2, or a pooler.
POSTGRESQL_POLL_SECONDS = 0.5

ECHO_SECONDS = 2.0

# With LISTEN the poll is a net: for what was inserted by plain SQL, or by a process that was killed before it numbered.
LISTEN_POLL_SECONDS = 1.0

# How soon a tail that ends closes its connection: a test database cannot be destroyed before.
LISTEN_SLICE_SECONDS = 0.1

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
        self._is_tried = False
        self._is_deaf = False
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
            # psycopg 2 has a list of that name.
            can_hear = callable(getattr(connection.connection, "notifies", None))
            if can_hear and self._listening is not connection.connection:
                self._listen(connection)
            elif can_hear and not self._is_deaf:
                self._hear_all(connection)

    def _listen(self, connection: BaseDatabaseWrapper) -> None:
        """Say LISTEN, and try it: through a pooler in transaction mode nothing is ever heard."""
        self._listening = connection.connection
        try:
            sql(connection, "LISTEN serversent")
        except InternalError:
            self._deafen("refuses LISTEN: is it a standby?")
            return
        if self._is_tried:
            return
        self._is_tried = True
        other = own_connection(self.alias)
        try:
            sql(other, "SELECT pg_notify('serversent', '')")
        finally:
            close_own(other)
        if not self._hears(connection, ECHO_SECONDS):
            self._deafen("lets no NOTIFY through: is it behind a pooler in transaction mode?")

    def _deafen(self, why: str) -> None:
        if not self._is_deaf:
            logger.warning(
                "The database %r %s Events are polled for, every %g s", self.alias, why, POSTGRESQL_POLL_SECONDS
            )
        self._is_deaf = True

    def _hear_all(self, connection: BaseDatabaseWrapper) -> None:
        """Take the wake-ups that are there: what they tell of is about to be read. One would be left for each event."""
        with connection.wrap_database_errors:
            for _ in self._listening.notifies(timeout=0):
                pass

    def _hears(self, connection: BaseDatabaseWrapper, seconds: float) -> bool:
        # One is enough: what others told of is read with it. The errors are the driver's, not Django's.
        with connection.wrap_database_errors:
            return any(True for _ in self._listening.notifies(timeout=seconds, stop_after=1))

    def wait(self, connection: BaseDatabaseWrapper) -> bool:
        """Wait for a commit, at most about a second; say whether there was a sign of one."""
        if connection.vendor == "sqlite":
            return self._wait_for_version(connection)
        if not self._is_deaf and self._listening is not None and self._listening is connection.connection:
            until = time.monotonic() + LISTEN_POLL_SECONDS
            while time.monotonic() < until:
                if self._hears(connection, LISTEN_SLICE_SECONDS) or self.event.is_set():  # it is set when the tail ends
                    return True
            return False
        return self.event.wait(POSTGRESQL_POLL_SECONDS if connection.vendor == "postgresql" else MARIADB_POLL_SECONDS)

    def _wait_for_version(self, connection: BaseDatabaseWrapper) -> bool:
        until = time.monotonic() + LISTEN_POLL_SECONDS
        while time.monotonic() < until:
            if self.event.wait(SQLITE_POLL_SECONDS) or _data_version(connection) != self._version:
                return True
        return False


def _data_version(connection: BaseDatabaseWrapper) -> int:
    version: int = sql(connection, "PRAGMA data_version")[0][0]
    return version
