"""Numbering: what is committed in the outbox gets its offsets, in commit order, in one batch, by one at a time.

Whoever gets the lock without waiting moves all committed rows into the log. After that, with the lock given back, it
looks again: whoever did not get the lock walked away, with its row committed before that look.
"""

import logging

from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from .session import sql

__all__ = ["number", "pending"]

logger = logging.getLogger("serversent")

BATCH = 1000

# A publisher that met endless others would never return. A hub goes on.
MAX_ROUNDS = 20


def number(connection: BaseDatabaseWrapper) -> None:
    """Move what is committed in the outbox into the log. Call it outside any transaction."""
    if connection.vendor not in _NUMBER:
        return
    for _ in range(MAX_ROUNDS):
        if _number_once(connection) is None or not pending(connection):
            return


def pending(connection: BaseDatabaseWrapper) -> bool:
    """Whether something committed waits in the outbox."""
    return bool(sql(connection, "SELECT 1 FROM serversent_outbox LIMIT 1"))


def _number_once(connection: BaseDatabaseWrapper) -> int | None:
    """Return how many were moved; ``None`` if somebody else is at it."""
    try:
        moved: int | None = sql(connection, _NUMBER[connection.vendor])[0][0]
    except DatabaseError as error:
        # Under REPEATABLE READ as the server's default, the snapshot can be older than somebody else's batch.
        if getattr(error.__cause__, "sqlstate", None) != "40001":
            raise
        return 0
    return moved


# One statement, so that a client that is stopped halfway holds no lock. READ COMMITTED, because what is read has to be
# newer than the lock. The rows are read plainly and deleted one by one, each by its key: for a list of keys MariaDB may
# choose a scan, and a scan that locks waits for every transaction that has published and is still open.
_MARIADB = f"""
BEGIN NOT ATOMIC
    DECLARE got INT DEFAULT 0;
    DECLARE moved INT DEFAULT NULL;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    START TRANSACTION;
    SELECT 1 INTO got FROM serversent_log WHERE id = 1 FOR UPDATE SKIP LOCKED;
    IF got = 1 THEN
        SET moved = 0;
        FOR o IN (SELECT id, channel, event, data FROM serversent_outbox ORDER BY id LIMIT {BATCH}) DO
            INSERT INTO serversent_event (channel, event, data, size, logged_at)
                VALUES (o.channel, o.event, o.data, LENGTH(o.data), UTC_TIMESTAMP(6));
            DELETE FROM serversent_outbox WHERE id = o.id;
            SET moved = moved + 1;
        END FOR;
    END IF;
    COMMIT;
    SELECT moved;
END
"""

_NUMBER = {"postgresql": f"SELECT serversent_number({BATCH})", "mysql": _MARIADB}
