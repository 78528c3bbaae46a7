"""Offsets: events that are committed in the outbox are moved into the log, in commit order.

The dialect does it in one call, which the database finishes even if its client is gone. A caller that does not get the
lock returns at once: the holder looks again after it has given the lock back, and finds what was committed before.
"""

import time

from django.db.backends.base.base import BaseDatabaseWrapper

from ..dialects.detect import dialect_of
from ..sql import sql
from ..transactions import in_transaction

__all__ = ["assign_all_offsets", "assign_offsets", "can_assign_offsets", "has_unassigned"]

# How long a reader waits for another process that assigns offsets.
ASSIGN_SECONDS = 10.0


def assign_offsets(connection: BaseDatabaseWrapper) -> None:
    """Move the committed events of the outbox into the log. Call it outside any transaction. Raises
    ``DatabaseError``."""
    dialect_of(connection).assign_offsets(connection)


def assign_all_offsets(connection: BaseDatabaseWrapper) -> None:
    """Return when every event that is committed now has its offset, by this process or another. Raises
    ``DatabaseError``."""
    deadline = time.monotonic() + ASSIGN_SECONDS
    newest = sql(connection, "SELECT MAX(id) FROM serversent_outbox")[0][0]
    while newest is not None:
        assign_offsets(connection)
        oldest = sql(connection, "SELECT MIN(id) FROM serversent_outbox")[0][0]
        if oldest is None or oldest > newest or time.monotonic() > deadline:
            return
        time.sleep(0.01)  # another process has the lock


def can_assign_offsets(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a connection is outside any transaction, including one that was begun by hand."""
    return connection.get_autocommit() and not in_transaction(connection)


def has_unassigned(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the outbox has events that are committed."""
    return bool(sql(connection, "SELECT 1 FROM serversent_outbox LIMIT 1"))
