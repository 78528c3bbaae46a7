"""Reading the log's tables, in SQL that PostgreSQL, MariaDB and SQLite all run."""

import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ...wire.cursor import Cursor
from ..base import PAGE_BYTES, Batch, LoggedEvent
from ..dialects.detect import dialect_of
from ..sql import sql

__all__ = [
    "PAGE_EVENTS",
    "chunks",
    "closed_channels",
    "cursor_before",
    "head",
    "read_all",
    "read_recent",
    "rotate_epoch",
    "rows_to_events",
    "state",
    "stats",
]


PAGE_EVENTS = 500
CHANNELS_PER_STATEMENT = 100


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
    return _State(epoch + dialect_of(connection).timeline(connection), pruned, max(pruned, newest or 0))


def head(connection: BaseDatabaseWrapper) -> Cursor:
    found = state(connection)
    return Cursor(found.epoch, found.head)


def cursor_before(connection: BaseDatabaseWrapper, at: float, committed: int | None) -> Cursor:
    """Return the log's head at ``at``, a time of ``time.monotonic()``, or a little before.

    ``committed``: the newest offset then, on SQLite. Without it the database's own clock decides, which may differ from
    this machine's. An event has its time from when it was committed already; on SQLite its time is that of the INSERT,
    and its transaction may have been open for longer.
    """
    found = state(connection)
    if committed is not None:
        return Cursor(found.epoch, max(found.pruned, committed))
    dialect = dialect_of(connection)
    now = sql(connection, dialect.read_clock)[0][0]
    seconds = time.monotonic() - at  # measured after the clock was read: rather too long
    newest = sql(connection, dialect.newest_before, [dialect.time_before(now, seconds)])[0][0]
    return Cursor(found.epoch, max(found.pruned, newest or 0))


def _create_state(connection: BaseDatabaseWrapper) -> None:
    """Make the one row. It is missing after the migration, and after a flush, which empties the log."""
    insert, suffix = dialect_of(connection).insert_ignore
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


def chunks(channels: Collection[str]) -> Iterator[list[str]]:
    """Yield as many channels at a time as one statement takes: on SQLite it has at most 500 SELECTs."""
    names = list(channels)
    return (names[start : start + CHANNELS_PER_STATEMENT] for start in range(0, len(names), CHANNELS_PER_STATEMENT))


def rows_to_events(rows: Sequence[tuple[Any, ...]]) -> list[LoggedEvent]:
    return sorted(LoggedEvent(row[0], *map(_text, row[1:4])) for row in rows if row[3] is not None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode(errors="replace")


def read_all(connection: BaseDatabaseWrapper, after: Cursor) -> Batch:
    """Return a first piece of everything after ``after``, and how the log stands."""
    dialect = dialect_of(connection)
    statement = _TAIL.format(columns=dialect.event_columns, after=after.offset, events=PAGE_EVENTS, bytes=PAGE_BYTES)
    rows = sql(connection, statement)
    events = rows_to_events(rows)
    log = next((row for row in rows if row[3] is None), None)
    if log is None:
        _create_state(connection)
        return read_all(connection, after)
    pruned, epoch, _, _, newest = log
    epoch += dialect.timeline(connection)
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
        SELECT {dialect_of(connection).event_columns}
        FROM newest JOIN serversent_event e ON e.id = newest.id WHERE newest.bytes <= {size:d}
        UNION ALL SELECT pruned, '', NULL, NULL FROM serversent_log WHERE id = 1
    """
    rows = sql(connection, statement)
    events = rows_to_events(rows)
    # Events before the first of these may exist: that is not asked.
    pruned = max((row[0] for row in rows if row[3] is None), default=0)
    after = max(pruned, events[0].offset - 1 if events else end)
    return Batch([event for event in events if event.offset > after], after, end)


def closed_channels(connection: BaseDatabaseWrapper, channels: Collection[str], end: int) -> set[str]:
    """Return those whose newest event up to an offset is their end."""
    found: list[tuple[Any, ...]] = []
    index_hint = dialect_of(connection).index_hint
    for names in chunks(channels):
        newest = " UNION ALL ".join(
            "SELECT * FROM (SELECT channel, event = 'end' AS is_end FROM serversent_event "
            f"{index_hint} WHERE channel = %s AND id <= {end:d} ORDER BY id DESC LIMIT 1) AS c{number}"
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
