"""Reading the log's tables: plain SQL that PostgreSQL, MariaDB and SQLite all run."""

import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ..cursors import Cursor
from ..errors import CursorExpired
from .base import PAGE_BYTES, Events, LoggedEvent
from .session import sql

__all__ = ["closed_channels", "head", "read_all", "read_channels", "read_recent", "rotate_epoch", "stats"]

PAGE_EVENTS = 500

# Of each channel at first: a hundred busy channels would otherwise have 50,000 rows looked at for one page.
EVENTS_PER_CHANNEL = 20


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


def _create_state(connection: BaseDatabaseWrapper) -> None:
    """Make the one row. It is missing after the migration, and after a flush, which empties the log."""
    ignore = {"mysql": ("INSERT IGNORE", ""), "sqlite": ("INSERT OR IGNORE", "")}
    insert, suffix = ignore.get(connection.vendor, ("INSERT", " ON CONFLICT DO NOTHING"))
    # After a flush the offsets may begin anew or not; the floor keeps clients with a cursor from before out.
    statement = f"{insert} INTO serversent_log (id, epoch, floor, pruned) VALUES (1, %s, 0, 0){suffix}"
    sql(connection, statement, [new_epoch()])


def new_epoch() -> str:
    return secrets.token_hex(3)


def rotate_epoch(connection: BaseDatabaseWrapper) -> None:
    state(connection)
    sql(connection, "UPDATE serversent_log SET epoch = %s WHERE id = 1", [new_epoch()])


def _timeline(connection: BaseDatabaseWrapper) -> str:
    """Return what PostgreSQL changes when a standby or a backup takes over: offsets may then be given out again."""
    if connection.vendor != "postgresql":
        return ""
    rows = sql(
        connection,
        "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END",
    )
    return f"t{int(rows[0][0], 16)}" if rows[0][0] else ""


def read_channels(connection: BaseDatabaseWrapper, channels: Collection[str], after: int | None, upto: int) -> Events:
    """Return a first piece of what the channels have after ``after``. Raises ``CursorExpired``."""
    start = after or 0
    per_channel = PAGE_EVENTS if len(channels) == 1 else max(EVENTS_PER_CHANNEL, PAGE_EVENTS // len(channels))
    names = list(channels)
    candidates, parameters = _candidates(connection, names, f"id > {start:d} AND id <= {upto:d}", per_channel)
    floors = ""
    if after is not None:
        floors = _FLOORS.format(after=after, marks=", ".join(["%s"] * len(names)))
        parameters += names
    page = _PAGE.format(candidates=candidates, per_channel=per_channel, upto=upto, bytes=PAGE_BYTES, floors=floors)
    rows = sql(connection, page, parameters)
    events = _events(rows)
    if len(events) < len(rows):
        raise CursorExpired(start, max(row[0] for row in rows if row[3] is None))
    return Events(events, start, _reached(events, rows, upto))


def _candidates(
    connection: BaseDatabaseWrapper, names: list[str], condition: str, per_channel: int
) -> tuple[str, list[Any]]:
    """Return SQL for the first rows of each channel, found by an index range each, and its parameters.

    A channel that has more than it may give ends the page at its last one: beyond, its events would be missing.
    """
    if connection.vendor == "postgresql" and len(names) > 1:
        # A hundred subqueries take longer to plan than to run.
        rows = f"SELECT id, size FROM serversent_event WHERE channel = n.name AND {condition} ORDER BY id"
        return (
            "SELECT c.id, c.size, n.number AS channel FROM unnest(%s::varchar[]) WITH ORDINALITY AS n (name, number) "
            f"CROSS JOIN LATERAL ({rows} LIMIT {per_channel}) AS c",
            [names],
        )
    each = (
        f"SELECT * FROM (SELECT id, size, {number} AS channel FROM serversent_event "
        f"WHERE channel = %s AND {condition} ORDER BY id LIMIT {per_channel}) AS c{number}"
        for number in range(len(names))
    )
    return " UNION ALL ".join(each), list(names)


# The rows and the floors in one statement, of one snapshot: floors that were looked at before the rows would let a
# pruning in between make a gap that nobody sees.
_PAGE = """
WITH candidates AS ({candidates}),
bounds AS (
    SELECT MAX(id) AS last FROM candidates GROUP BY channel HAVING COUNT(*) >= {per_channel}
),
page AS (
    SELECT id, SUM(size) OVER (ORDER BY id) - size AS bytes_before, ROW_NUMBER() OVER (ORDER BY id) AS number
    FROM candidates WHERE id <= COALESCE((SELECT MIN(last) FROM bounds), {upto})
)
SELECT e.id, e.channel, e.event, e.data, (SELECT COUNT(*) FROM candidates) AS candidates
FROM page JOIN serversent_event e ON e.id = page.id
WHERE page.bytes_before < {bytes} AND page.number <= 500
{floors}
"""

_FLOORS = """
UNION ALL SELECT floor, channel, NULL, NULL, 0 FROM serversent_channel WHERE floor > {after} AND channel IN ({marks})
UNION ALL SELECT floor, '', NULL, NULL, 0 FROM serversent_log WHERE floor > {after}
"""


def _events(rows: Sequence[tuple[Any, ...]]) -> list[LoggedEvent]:
    return sorted(LoggedEvent(*row[:4]) for row in rows if row[3] is not None)


def _reached(events: list[LoggedEvent], rows: Sequence[tuple[Any, ...]], upto: int) -> int:
    """Up to where a page is complete: to the end, unless something that was found did not fit in."""
    if not events or (len(events) == rows[0][4] and len(events) < EVENTS_PER_CHANNEL):
        return upto
    return events[-1].offset


def read_all(connection: BaseDatabaseWrapper, after: Cursor) -> Events:
    """Return a first piece of everything after ``after``, and how the log stands."""
    rows = sql(connection, _TAIL.format(after=after.offset, events=PAGE_EVENTS, bytes=PAGE_BYTES))
    events = _events(rows)
    log = next((row for row in rows if row[3] is None), None)
    if log is None:
        _create_state(connection)
        return read_all(connection, after)
    pruned, epoch, _, _, newest = log
    epoch += _timeline(connection)
    newest = max(pruned, newest or 0)
    if epoch != after.epoch:
        return Events([], newest, newest, epoch)
    if newest < after.offset:  # the log lost its end: a backup was put back, with the epoch in it
        rotate_epoch(connection)
        return read_all(connection, after)
    start = max(after.offset, pruned)
    upto = events[-1].offset if events else start
    return Events([event for event in events if event.offset > start], start, max(start, upto), epoch)


_TAIL = """
WITH candidates AS (SELECT id, size FROM serversent_event WHERE id > {after} ORDER BY id LIMIT {events}),
page AS (SELECT id, SUM(size) OVER (ORDER BY id) - size AS bytes_before FROM candidates)
SELECT e.id, e.channel, e.event, e.data, 0 AS newest
FROM page JOIN serversent_event e ON e.id = page.id
WHERE page.bytes_before < {bytes}
UNION ALL SELECT pruned, epoch, NULL, NULL, (SELECT MAX(id) FROM serversent_event) FROM serversent_log WHERE id = 1
"""


def read_recent(connection: BaseDatabaseWrapper, upto: int, size: int) -> Events:
    """Return the newest events, of all channels, together about ``size`` bytes."""
    statement = f"""
        WITH newest AS (
            SELECT id, SUM(size) OVER (ORDER BY id DESC) AS bytes
            FROM (SELECT id, size FROM serversent_event WHERE id <= {upto:d} ORDER BY id DESC LIMIT 10000) AS n
        )
        SELECT e.id, e.channel, e.event, e.data
        FROM newest JOIN serversent_event e ON e.id = newest.id WHERE newest.bytes <= {size:d}
        UNION ALL SELECT pruned, '', NULL, NULL FROM serversent_log WHERE id = 1
    """
    rows = sql(connection, statement)
    events = _events(rows)
    # Whether older ones exist is not asked: what is before the first of these may be in the log.
    pruned = max((row[0] for row in rows if row[3] is None), default=0)
    after = max(pruned, events[0].offset - 1 if events else upto)
    return Events([event for event in events if event.offset > after], after, upto)


def closed_channels(connection: BaseDatabaseWrapper, channels: Collection[str]) -> set[str]:
    """Return those whose newest event is their end."""
    newest = " UNION ALL ".join(
        "SELECT * FROM (SELECT channel, event FROM serversent_event WHERE channel = %s "
        f"ORDER BY id DESC LIMIT 1) AS c{number}"
        for number in range(len(channels))
    )
    return {channel for channel, event in sql(connection, newest, list(channels)) if event == "end"}


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
