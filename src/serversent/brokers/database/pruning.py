"""Pruning: old events leave the log in small batches, and the same transaction notes the floor of their channels.

The floor is exact for each channel, so that a client that has missed no event of its channels is never reset.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from ..channel_names import REVOKED, REVOKED_SECONDS
from ..dialects.detect import dialect_of
from ..sql import sql
from .log import state

__all__ = ["is_needed", "prune"]


BATCH = 1000
FOLD_SECONDS = 30 * 86_400


def prune(
    connection: BaseDatabaseWrapper,
    older_than: float,
    keep: int | None,
    *,
    max_batches: int | None = None,
    max_seconds: float | None = None,
) -> int:
    """Remove events that are older than so many seconds, and all but the newest ``keep`` events of each channel.

    ``connection``: not the project's, because each batch is a transaction. ``max_batches`` bounds the work for each
    channel, and for old events; after ``max_seconds`` no further batch is begun.
    """
    limits = _Limits(max_batches, None if max_seconds is None else time.monotonic() + max_seconds)
    state(connection)  # makes the log's row, which a flush takes away: it keeps how far offsets have come
    removed = _in_batches(connection, *_oldest(connection, older_than), limits)
    # A revocation is kept for as long as a URL that it may reject is valid.
    revoked = [REVOKED, REVOKED_SECONDS]
    dialect = dialect_of(connection)
    oldest_revoked = _OLDEST_OF.format(index=dialect.index_hint, before=dialect.ago)
    removed += _in_batches(connection, oldest_revoked, revoked, limits)
    if keep is not None:
        for channel, last in _surplus(connection, keep):
            up_to = _UP_TO.format(dialect.index_hint)
            removed += _in_batches(connection, up_to, [channel, last], limits)
    _fold_old_floors(connection)
    return removed


def is_needed(connection: BaseDatabaseWrapper, older_than: float, keep: int | None) -> bool:
    """Whether ``prune`` would remove anything. It asks without a write, which SQLite has only one of at a time."""
    select, parameters = _oldest(connection, older_than)
    found = sql(connection, f"SELECT 1 FROM ({select}) AS old LIMIT 1", parameters)
    return bool(found or (keep is not None and _surplus(connection, keep)))


_OLDEST = (
    "SELECT id, channel FROM (SELECT id, channel, logged_at FROM serversent_event "
    f"WHERE channel <> '{REVOKED}' ORDER BY id LIMIT {BATCH}) AS o WHERE logged_at < {{before}}"
)
_OLDEST_OF = (
    "SELECT id, channel FROM serversent_event {index} "
    f"WHERE channel = %s AND logged_at < {{before}} ORDER BY id LIMIT {BATCH}"
)
_UP_TO = f"SELECT id, channel FROM serversent_event {{}} WHERE channel = %s AND id <= %s ORDER BY id LIMIT {BATCH}"

# The clock was ahead once: these events seem to be from the future. They are older than every event after them.
_IS_FRONT_IN_FUTURE = (
    "SELECT 1 FROM (SELECT logged_at FROM serversent_event "
    f"WHERE channel <> '{REVOKED}' ORDER BY id LIMIT {BATCH}) AS o WHERE logged_at > {{now}} LIMIT 1"
)
_NEWEST_OLD = f"SELECT MAX(id) FROM serversent_event WHERE channel <> '{REVOKED}' AND logged_at < {{before}}"
_BEFORE_NEWEST_OLD = (
    f"SELECT id, channel FROM serversent_event WHERE channel <> '{REVOKED}' AND id <= %s ORDER BY id LIMIT {BATCH}"
)


def _oldest(connection: BaseDatabaseWrapper, seconds: float) -> tuple[str, list[Any]]:
    """Return a query for the oldest events that are older than so many seconds, a batch at most, and its parameters."""
    dialect = dialect_of(connection)
    before = dialect.ago
    if sql(connection, _IS_FRONT_IN_FUTURE.format(now=dialect.clock), []):
        newest_old = sql(connection, _NEWEST_OLD.format(before=before), [seconds])[0][0]
        return _BEFORE_NEWEST_OLD, [newest_old or 0]
    return _OLDEST.format(before=before), [seconds]


def _surplus(connection: BaseDatabaseWrapper, keep: int) -> list[tuple[str, int]]:
    """Return the channels that have more than ``keep`` events, each with the newest offset it has to give up."""
    crowded = sql(
        connection,
        f"SELECT channel FROM serversent_event WHERE channel <> '{REVOKED}' GROUP BY channel HAVING COUNT(*) > %s",
        [keep],
    )
    table = f"serversent_event {dialect_of(connection).index_hint}"
    newest = f"SELECT id FROM {table} WHERE channel = %s ORDER BY id DESC LIMIT 1 OFFSET {keep:d}"
    return [(channel, row[0]) for (channel,) in crowded for row in sql(connection, newest, [channel])]


class _Limits(NamedTuple):
    max_batches: int | None
    until: float | None  # of time.monotonic()

    def allow(self, batches: int) -> bool:
        return batches != self.max_batches and (self.until is None or time.monotonic() < self.until)


def _in_batches(connection: BaseDatabaseWrapper, select: str, parameters: list[object], limits: _Limits) -> int:
    removed = batches = 0
    while limits.allow(batches) and (rows := sql(connection, select, parameters)):
        batches += 1
        _remove(connection, dict(sorted((channel, offset) for offset, channel in rows)), [row[0] for row in rows])
        removed += len(rows)
        if len(rows) < BATCH:
            break
    return removed


def _remove(connection: BaseDatabaseWrapper, floors: dict[str, int], offsets: list[int]) -> None:
    dialect = dialect_of(connection)
    ids = ", ".join(str(int(offset)) for offset in offsets)
    with _transaction(connection):
        sql(connection, f"DELETE FROM serversent_event WHERE id IN ({ids})")
        values = ", ".join([f"(%s, %s, {dialect.clock})"] * len(floors))
        sql(
            connection,
            f"INSERT INTO serversent_channel (channel, floor, pruned_at) VALUES {values} {dialect.raise_floor}",
            [value for entry in floors.items() for value in entry],
        )
        sql(
            connection,
            "UPDATE serversent_log SET pruned = %s WHERE id = 1 AND pruned < %s",
            [max(offsets), max(offsets)],
        )


def _fold_old_floors(connection: BaseDatabaseWrapper) -> None:
    """Channels that were not pruned for long share one floor, so that names that are used once do not pile up."""
    old = f"pruned_at < {dialect_of(connection).ago}"
    highest = sql(connection, f"SELECT MAX(floor) FROM serversent_channel WHERE {old}", [FOLD_SECONDS])[0][0]
    if highest is None:
        return
    with _transaction(connection):
        sql(connection, "UPDATE serversent_log SET floor = %s WHERE id = 1 AND floor < %s", [highest, highest])
        sql(connection, f"DELETE FROM serversent_channel WHERE {old} AND floor <= %s", [FOLD_SECONDS, highest])


@contextlib.contextmanager
def _transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """A transaction on a connection of our own, which ``atomic`` does not know."""
    sql(connection, dialect_of(connection).begin)
    try:
        yield
    except BaseException:
        sql(connection, "ROLLBACK")
        raise
    sql(connection, "COMMIT")
