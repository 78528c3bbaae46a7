"""Pruning: old events leave the log in small batches, and the same transaction notes the floor of their channels.

The floor is exact for each channel, so that a client that has seen all there was of its channels is never told that it
missed something.
"""

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from ..channels import REVOKED, REVOKED_SECONDS
from .log import by_channel, state
from .session import sql

__all__ = ["is_needed", "prune"]

BATCH = 1000
FOLD_SECONDS = 30 * 86_400


def prune(
    connection: BaseDatabaseWrapper, older_than: float, keep: int | None, *, max_batches: int | None = None
) -> int:
    """Remove what is older than so many seconds, and all but the newest ``keep`` events of each channel.

    ``connection`` is one of our own: each batch is a transaction. ``max_batches`` bounds the work for each channel, and
    for what is old.
    """
    state(connection)  # makes the log's row, which a flush takes away: it keeps how far offsets have come
    removed = _in_batches(connection, _OLDEST, [_before(connection, older_than)], max_batches)
    # A revocation has to be there as long as anything that it may refuse.
    revoked = [REVOKED, _before(connection, REVOKED_SECONDS)]
    removed += _in_batches(connection, _OLDEST_OF.format(by_channel(connection)), revoked, max_batches)
    if keep is not None:
        for channel, last in _surplus(connection, keep):
            removed += _in_batches(connection, _UP_TO.format(by_channel(connection)), [channel, last], max_batches)
    _fold_old_floors(connection)
    return removed


def is_needed(connection: BaseDatabaseWrapper, older_than: float, keep: int | None) -> bool:
    """Whether ``prune`` would remove anything. It asks without a write, which SQLite has only one of at a time."""
    cutoff = _before(connection, older_than)
    return bool(sql(connection, _OLDEST + " LIMIT 1", [cutoff]) or (keep is not None and _surplus(connection, keep)))


def _before(connection: BaseDatabaseWrapper, seconds: float) -> Any:
    """Return the time so long ago, as a parameter of SQL."""
    return connection.ops.adapt_datetimefield_value(timezone.now() - datetime.timedelta(seconds=seconds))


_OLDEST = (
    "SELECT id, channel FROM (SELECT id, channel, logged_at FROM serversent_event "
    f"WHERE channel <> '{REVOKED}' ORDER BY id LIMIT {BATCH}) AS o WHERE logged_at < %s"
)
_OLDEST_OF = (
    f"SELECT id, channel FROM serversent_event {{}} WHERE channel = %s AND logged_at < %s ORDER BY id LIMIT {BATCH}"
)
_UP_TO = f"SELECT id, channel FROM serversent_event {{}} WHERE channel = %s AND id <= %s ORDER BY id LIMIT {BATCH}"


def _surplus(connection: BaseDatabaseWrapper, keep: int) -> list[tuple[str, int]]:
    """Return the channels that have more than ``keep`` events, each with the newest offset it has to give up."""
    crowded = sql(
        connection,
        f"SELECT channel FROM serversent_event WHERE channel <> '{REVOKED}' GROUP BY channel HAVING COUNT(*) > %s",
        [keep],
    )
    table = f"serversent_event {by_channel(connection)}"
    newest = f"SELECT id FROM {table} WHERE channel = %s ORDER BY id DESC LIMIT 1 OFFSET {keep:d}"
    return [(channel, row[0]) for (channel,) in crowded for row in sql(connection, newest, [channel])]


def _in_batches(connection: BaseDatabaseWrapper, select: str, parameters: list[object], max_batches: int | None) -> int:
    removed = batches = 0
    while batches != max_batches and (rows := sql(connection, select, parameters)):
        batches += 1
        _remove(connection, dict(sorted((channel, offset) for offset, channel in rows)), [row[0] for row in rows])
        removed += len(rows)
        if len(rows) < BATCH:
            break
    return removed


def _remove(connection: BaseDatabaseWrapper, floors: dict[str, int], offsets: list[int]) -> None:
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    ids = ", ".join(str(int(offset)) for offset in offsets)
    with _transaction(connection):
        sql(connection, f"DELETE FROM serversent_event WHERE id IN ({ids})")
        values = ", ".join(["(%s, %s, %s)"] * len(floors))
        sql(
            connection,
            f"INSERT INTO serversent_channel (channel, floor, pruned_at) VALUES {values} {_RAISE[connection.vendor]}",
            [value for channel, floor in floors.items() for value in (channel, floor, now)],
        )
        sql(
            connection,
            "UPDATE serversent_log SET pruned = %s WHERE id = 1 AND pruned < %s",
            [max(offsets), max(offsets)],
        )


_CONFLICT = "ON CONFLICT (channel) DO UPDATE SET pruned_at = EXCLUDED.pruned_at, floor = "
_RAISE = {
    "postgresql": _CONFLICT + "GREATEST(serversent_channel.floor, EXCLUDED.floor)",
    "sqlite": _CONFLICT + "MAX(serversent_channel.floor, EXCLUDED.floor)",
    "mysql": "ON DUPLICATE KEY UPDATE pruned_at = VALUES(pruned_at), floor = GREATEST(floor, VALUES(floor))",
}


def _fold_old_floors(connection: BaseDatabaseWrapper) -> None:
    """Channels that were not pruned for long share one floor, so that names that are used once do not pile up."""
    old = _before(connection, FOLD_SECONDS)
    highest = sql(connection, "SELECT MAX(floor) FROM serversent_channel WHERE pruned_at < %s", [old])[0][0]
    if highest is None:
        return
    with _transaction(connection):
        sql(connection, "UPDATE serversent_log SET floor = %s WHERE id = 1 AND floor < %s", [highest, highest])
        sql(connection, "DELETE FROM serversent_channel WHERE pruned_at < %s AND floor <= %s", [old, highest])


@contextlib.contextmanager
def _transaction(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """A transaction on a connection of our own, which ``atomic`` does not know."""
    # SQLite: a transaction that begins to write later fails at once if somebody else has written meanwhile.
    sql(connection, "BEGIN IMMEDIATE" if connection.vendor == "sqlite" else "BEGIN")
    try:
        yield
    except BaseException:
        sql(connection, "ROLLBACK")
        raise
    sql(connection, "COMMIT")
