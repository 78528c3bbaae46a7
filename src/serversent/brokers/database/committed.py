"""The newest committed offset of logs in SQLite files, as of the start of each request.

An event in SQLite has the time of its INSERT. Its commit may be much later, so times do not tell which events a page's
queries saw. One connection of each process asks, read-only, and never waits for a lock.
"""

import atexit
import contextlib
import functools
import os
import sqlite3
import threading
from typing import Any
from urllib.parse import quote

from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections

from ...conf import broker_settings
from ..dialects.detect import dialect_of

__all__ = ["committed_offsets"]


def committed_offsets() -> dict[str, int]:
    """Return the newest committed offset of each SQLite file that has a log, by the alias of the database.

    A file that cannot be read at this moment has the offset that was read before. One that was never read is left out.
    """
    return {alias: offset for alias, file in _files().items() if (offset := file.newest()) is not None}


class _File:
    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._version = -1
        self._newest: int | None = None

    def newest(self) -> int | None:
        with self._lock:
            with contextlib.suppress(sqlite3.Error):  # busy, or not migrated yet
                connection = self._connected()
                version = connection.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:
                    newest = connection.execute("SELECT MAX(id) FROM serversent_event").fetchone()[0]
                    self._newest, self._version = newest or 0, version
            return self._newest

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or self._process != os.getpid():  # SQLite forbids to use one after a fork
            uri = f"file:{quote(self._path)}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=0, check_same_thread=False, isolation_level=None)
            self._process, self._version = os.getpid(), -1
        return self._connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None


@functools.cache
def _files() -> dict[str, _File]:
    aliases = {broker.get("OPTIONS", {}).get("database", DEFAULT_DB_ALIAS) for broker in broker_settings().values()}
    found = {}
    for alias in aliases & set(connections):
        connection = connections[alias]
        dialect = dialect_of(connection)
        if dialect.assigns_at_once and not dialect.is_in_memory(connection):
            found[alias] = _File(str(connection.settings_dict["NAME"]))
    return found


def _forget(*, setting: str | None = None, **kwargs: Any) -> None:
    if setting in (None, "SERVERSENT", "DATABASES") and _files.cache_info().currsize:
        for file in _files().values():
            file.close()
        _files.cache_clear()


setting_changed.connect(_forget)
atexit.register(_forget)
