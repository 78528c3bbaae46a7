"""How the tail of a database's log learns of a commit: by LISTEN, by SQLite's version number, or by polling."""

import logging
import threading
import time
import weakref
from typing import Any

from django.db import InternalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..dialects.detect import dialect_of
from ..sql import sql
from .session import close_own, own_connection

__all__ = ["ListenWakeup", "VersionWakeup", "Wakeup", "make_wakeup", "wake"]

logger = logging.getLogger("serversent")

# SQLite shows the commits of other connections by a number, which is cheap to ask for.
VERSION_SECONDS = 0.05

# How long the tail waits for its own notification before it takes LISTEN for useless.
ECHO_SECONDS = 2.0

# The tail reads at least this often: events may have been inserted by plain SQL, or by a process that was killed before
# it assigned their offsets.
MAX_WAIT_SECONDS = 1.0

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


def make_wakeup(alias: str) -> "Wakeup":
    """Return the wake-up of a tail that reads from the database ``alias``."""
    kinds = {"listen": ListenWakeup, "version": VersionWakeup, "poll": Wakeup}
    return kinds[dialect_of(connections[alias]).wakeup](alias)


class Wakeup:
    """Waits for a commit, in the tail's thread, by polling."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.event = threading.Event()  # set by a commit of this process, and when the tail ends
        self._poll_seconds = dialect_of(connections[alias]).poll_seconds
        with _lock:
            _wakeups.add(self)

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        """Begin to wait: a commit after this call ends the next ``wait()``."""
        self.event.clear()

    def wait(self, connection: BaseDatabaseWrapper) -> bool:
        """Wait for a commit, at most about a second. Return whether there was a sign of one."""
        return self.event.wait(self._poll_seconds)


class VersionWakeup(Wakeup):
    """Compares the number that SQLite changes with each commit of another connection."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._version = -1

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        super().prepare(connection)
        self._version = _data_version(connection)

    def wait(self, connection: BaseDatabaseWrapper) -> bool:
        until = time.monotonic() + MAX_WAIT_SECONDS
        while time.monotonic() < until:
            if self.event.wait(VERSION_SECONDS) or _data_version(connection) != self._version:
                return True
        return False


def _data_version(connection: BaseDatabaseWrapper) -> int:
    version: int = sql(connection, "PRAGMA data_version")[0][0]
    return version


class ListenWakeup(Wakeup):
    """Listens on the tail's own connection. It polls if LISTEN does not work there."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self._listening: Any = None  # the driver's connection that listens
        self._is_tried = False
        self._is_polling = False

    def prepare(self, connection: BaseDatabaseWrapper) -> None:
        super().prepare(connection)
        connection.ensure_connection()
        # psycopg 2 has a list of that name.
        can_listen = callable(getattr(connection.connection, "notifies", None))
        if can_listen and self._listening is not connection.connection:
            self._listen(connection)
        elif can_listen and not self._is_polling:
            self._take_all(connection)

    def _listen(self, connection: BaseDatabaseWrapper) -> None:
        """LISTEN, and try whether a notification comes: through a pooler in transaction mode none does."""
        self._listening = connection.connection
        try:
            sql(connection, "LISTEN serversent")
        except InternalError:
            self._fall_back_to_polling("refuses LISTEN: is it a standby?")
            return
        if self._is_tried:
            return
        self._is_tried = True
        other = own_connection(self.alias)
        try:
            sql(other, "SELECT pg_notify('serversent', '')")
        finally:
            close_own(other)
        if not self._wait_notify(connection, ECHO_SECONDS):
            self._fall_back_to_polling("lets no NOTIFY through: is it behind a pooler in transaction mode?")

    def _fall_back_to_polling(self, why: str) -> None:
        if not self._is_polling:
            logger.warning("The database %r %s Events are polled for, every %g s", self.alias, why, self._poll_seconds)
        self._is_polling = True

    def _take_all(self, connection: BaseDatabaseWrapper) -> None:
        """Take all notifications that are there: the read that follows sees their commits."""
        with connection.wrap_database_errors:
            for _ in self._listening.notifies(timeout=0):
                pass

    def _wait_notify(self, connection: BaseDatabaseWrapper, seconds: float) -> bool:
        # One is enough: the read sees the commits of others, too. The errors are the driver's, not Django's.
        with connection.wrap_database_errors:
            return any(True for _ in self._listening.notifies(timeout=seconds, stop_after=1))

    def wait(self, connection: BaseDatabaseWrapper) -> bool:
        if self._is_polling or self._listening is None or self._listening is not connection.connection:
            return super().wait(connection)
        until = time.monotonic() + MAX_WAIT_SECONDS
        while time.monotonic() < until:
            if self._wait_notify(connection, LISTEN_SLICE_SECONDS) or self.event.is_set():
                return True
        return False
