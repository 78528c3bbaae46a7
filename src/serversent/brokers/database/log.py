"""Reading the log's tables: plain SQL that PostgreSQL, MariaDB and SQLite all run."""

import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ...wire.cursor import Cursor
from ..base import PAGE_BYTES, Batch, LoggedEvent
from .session import sql

__all__ = [
    "PAGE_EVENTS",
    "by_channel",
    "closed_channels",
    "columns",
    "cursor_before",
    "events_of",
    "groups_of",
    "head",
    "read_all",
    "read_recent",
    "rotate_epoch",
    "state",
    "stats",
]


PAGE_EVENTS = 500
CHANNELS_PER_STATEMENT = 100

# How long a transaction of SQLite's, which has one at a time that writes, may have been open: longer than others wait.
TRANSACTION_SECONDS = 5.0


class _State(NamedTuple):
    """``pruned``: the highest offset that was ever pruned."""

    epoch: str
    pruned: int
    head: int


def state(connection: BaseDatabaseWrapper) -> _State:
    rows = sql(
        connection, "SELECT epoch, pruned, (SELECT MAX(id) FROM serversent_event) FROM serversent_log WHERE id = 1"
    )
    if not rows:
        _create_state(connection)
        return state(connection)
    epoch, pruned, newest = rows[0]
    return _State(epoch + _timeline(connection), pruned, max(pruned, newest or 0))


def head(connection: BaseDatabaseWrapper) -> Cursor:
    found = state(connection)
    return Cursor(found.epoch, found.head)


def cursor_before(connection: BaseDatabaseWrapper, at: float, committed: int | None) -> Cursor:
    """Return where the log stood at ``time.monotonic()``'s ``at``. ``committed``: the newest offset then, on SQLite.

    By the database's own clock, which may differ from this machine's. An event has its time from when it was committed
    already. On SQLite its time is that of the INSERT, and its transaction may still have been open: the time counts
    only where ``committed`` is not known, for a database in memory.
    """
    found = state(connection)
    if committed is not None:
        return Cursor(found.epoch, max(found.pruned, committed))
    clock, newest_before = _BEFORE[connection.vendor]
    now = sql(connection, clock)[0][0]
    passed = timedelta(seconds=time.monotonic() - at)  # measured after the clock was read: rather too long
    if connection.vendor == "sqlite":
        then = now - (passed.total_seconds() + TRANSACTION_SECONDS) / 86_400
    else:
        then = now - passed
    newest = sql(connection, newest_before, [then])[0][0]
    return Cursor(found.epoch, max(found.pruned, newest or 0))


# The clock, and the newest event before one of its times: found from the end, where it is near.
_BEFORE = {
    "postgresql": ("SELECT clock_timestamp()", "SELECT MAX(id) FROM serversent_event WHERE logged_at <= %s"),
    "mysql": (
        "SELECT UTC_TIMESTAMP(6)",
        "SELECT MAX(id) FROM (SELECT id FROM serversent_event WHERE logged_at <= %s ORDER BY id DESC LIMIT 1) AS n",
    ),
    "sqlite": (
        "SELECT julianday('now')",
        "SELECT MAX(id) FROM "
        "(SELECT id FROM serversent_event WHERE julianday(logged_at) <= %s ORDER BY id DESC LIMIT 1) AS n",
    ),
}


def _create_state(connection: BaseDatabaseWrapper) -> None:
    """Make the one row. It is missing after the migration, and after a flush, which empties the log."""
    ignore = {"mysql": ("INSERT IGNORE", ""), "sqlite": ("INSERT OR IGNORE", "")}
    insert, suffix = ignore.get(connection.vendor, ("INSERT", " ON CONFLICT DO NOTHING"))
    # After a flush the offsets may begin anew or not; the floor keeps clients with a cursor from before out.
    statement = f"{insert} INTO serversent_log (id, epoch, floor, pruned) VALUES (1, %s, 0, 0){suffix}"
    sql(connection, statement, [new_epoch()])


def new_epoch() -> str:
    return secrets.token_hex(3)


def rotate_epoch(connection: BaseDatabaseWrapper, old: str | None = None) -> None:
    """Give the log another epoch; if ``old`` is given, only while the log has that one: others may see the same."""
    state(connection)
    condition, parameters = ("", []) if old is None else (" AND epoch = %s", [old])
    sql(connection, f"UPDATE serversent_log SET epoch = %s WHERE id = 1{condition}", [new_epoch(), *parameters])


def _timeline(connection: BaseDatabaseWrapper) -> str:
    """Return what PostgreSQL changes when a standby or a backup takes over: offsets may then be given out again."""
    if connection.vendor != "postgresql":
        return ""
    rows = sql(
        connection,
        "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END",
    )
    return f"t{int(rows[0][0], 16)}" if rows[0][0] else ""


def by_channel(connection: BaseDatabaseWrapper) -> str:
    """Return what makes a database use the index of channels: some would rather go through all rows by their offset."""
    index = "serversent_event_channel"
    return {"sqlite": f"INDEXED BY {index}", "mysql": f"FORCE INDEX ({index})"}.get(connection.vendor, "")


def groups_of(channels: Collection[str]) -> Iterator[list[str]]:
    """Yield the channels in as many as one statement takes: on SQLite no more than 500 SELECTs."""
    names = list(channels)
    return (names[start : start + CHANNELS_PER_STATEMENT] for start in range(0, len(names), CHANNELS_PER_STATEMENT))


def columns(connection: BaseDatabaseWrapper) -> str:
    """Return the columns of an event ``e``, to be read by ``events_of``.

    SQLite's as they are stored: by plain SQL anything gets there, and one text that is no UTF-8 would be an error of
    the whole read.
    """
    if connection.vendor == "sqlite":
        return "e.id, CAST(e.channel AS BLOB), CAST(e.event AS BLOB), CAST(e.data AS BLOB)"
    return "e.id, e.channel, e.event, e.data"


def events_of(rows: Sequence[tuple[Any, ...]]) -> list[LoggedEvent]:
    return sorted(LoggedEvent(row[0], *map(_text, row[1:4])) for row in rows if row[3] is not None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode(errors="replace")


def read_all(connection: BaseDatabaseWrapper, after: Cursor) -> Batch:
    """Return a first piece of everything after ``after``, and how the log stands."""
    rows = sql(
        connection,
        _TAIL.format(columns=columns(connection), after=after.offset, events=PAGE_EVENTS, bytes=PAGE_BYTES),
    )
    events = events_of(rows)
    log = next((row for row in rows if row[3] is None), None)
    if log is None:
        _create_state(connection)
        return read_all(connection, after)
    pruned, epoch, _, _, newest = log
    epoch += _timeline(connection)
    newest = max(pruned, newest or 0)
    if epoch != after.epoch:
        return Batch([], newest, newest, epoch, newest)
    if newest < after.offset:  # the log lost its end: a backup was put back, with the epoch in it
        rotate_epoch(connection, log[1])
        return read_all(connection, after)
    start = max(after.offset, pruned)
    end = events[-1].offset if events else start
    return Batch([event for event in events if event.offset > start], start, max(start, end), epoch, newest)


_TAIL = """
WITH candidates AS (SELECT id, size FROM serversent_event WHERE id > {after} ORDER BY id LIMIT {events}),
page AS (SELECT id, SUM(size) OVER (ORDER BY id) - size AS bytes_before FROM candidates)
SELECT {columns}, 0 AS newest
FROM page JOIN serversent_event e ON e.id = page.id
WHERE page.bytes_before < {bytes}
UNION ALL SELECT pruned, epoch, NULL, NULL, (SELECT MAX(id) FROM serversent_event) FROM serversent_log WHERE id = 1
"""


def read_recent(connection: BaseDatabaseWrapper, end: int, size: int) -> Batch:
    """Return the newest events, of all channels, together about ``size`` bytes."""
    statement = f"""
        WITH newest AS (
            SELECT id, SUM(size) OVER (ORDER BY id DESC) AS bytes
            FROM (SELECT id, size FROM serversent_event WHERE id <= {end:d} ORDER BY id DESC LIMIT 10000) AS n
        )
        SELECT {columns(connection)}
        FROM newest JOIN serversent_event e ON e.id = newest.id WHERE newest.bytes <= {size:d}
        UNION ALL SELECT pruned, '', NULL, NULL FROM serversent_log WHERE id = 1
    """
    rows = sql(connection, statement)
    events = events_of(rows)
    # Whether older ones exist is not asked: what is before the first of these may be in the log.
    pruned = max((row[0] for row in rows if row[3] is None), default=0)
    after = max(pruned, events[0].offset - 1 if events else end)
    return Batch([event for event in events if event.offset > after], after, end)


def closed_channels(connection: BaseDatabaseWrapper, channels: Collection[str], end: int) -> set[str]:
    """Return those whose newest event up to an offset is their end."""
    found: list[tuple[Any, ...]] = []
    for names in groups_of(channels):
        newest = " UNION ALL ".join(
            "SELECT * FROM (SELECT channel, event = 'end' AS is_end FROM serversent_event "
            f"{by_channel(connection)} WHERE channel = %s AND id <= {end:d} ORDER BY id DESC LIMIT 1) AS c{number}"
            for number in range(len(names))
        )
        found += sql(connection, newest, names)
    return {channel for channel, is_end in found if is_end}


def stats(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return figures about the log."""
    found = state(connection)
    events, channels, size, oldest = sql(
        connection, "SELECT COUNT(*), COUNT(DISTINCT channel), SUM(size), MIN(id) FROM serversent_event"
    )[0]
    outbox = sql(connection, "SELECT COUNT(*) FROM serversent_outbox")[0][0]
    return {
        "epoch": found.epoch,
        "head": found.head,
        "oldest": oldest,
        "events": events,
        "channels": channels,
        "bytes": int(size or 0),
        "outbox": outbox,
    }
