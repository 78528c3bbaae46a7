"""Numbering: what is committed in the outbox gets its offsets, in commit order, in one batch, by one at a time.

Whoever gets the lock without waiting moves all committed rows into the log. After that, with the lock given back, it
looks again: whoever did not get the lock walked away, with its row committed before that look. All of it is one call,
which the database ends without its client: on PostgreSQL procedures, in migrations/0001_initial.py.
"""

from collections.abc import Sequence

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from .base import OutgoingEvent
from .session import sql

__all__ = ["Unnumbered", "can_number", "number", "pending", "send_at_once"]


def number(connection: BaseDatabaseWrapper) -> None:
    """Move what is committed in the outbox into the log. Call it outside any transaction. Raises ``DatabaseError``."""
    if connection.vendor == "postgresql":
        _call(connection, "CALL serversent_number()")
    elif connection.vendor == "mysql":
        sql(connection, _MARIADB)


def can_number(connection: BaseDatabaseWrapper) -> bool:
    """Whether this connection is outside of any transaction, one that was begun by hand included."""
    if connection.in_atomic_block or not connection.get_autocommit():
        return False
    if connection.vendor != "postgresql":
        return True
    status: int = connection.connection.info.transaction_status
    return status == 0  # IDLE, of psycopg 3 and 2


def send_at_once(connection: BaseDatabaseWrapper, event: OutgoingEvent) -> None:
    """Insert an event, commit it and number it, in one call. Raises ``Unnumbered``, with the event stored."""
    _call(connection, "CALL serversent_send(%s, %s, %s)", event)


class Unnumbered(OperationalError):
    """Events are stored and have no offset."""


def _call(connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[str] = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        (problem,) = cursor.fetchone()
    if problem is not None:
        raise Unnumbered(problem)


def pending(connection: BaseDatabaseWrapper) -> bool:
    """Whether something committed waits in the outbox."""
    return bool(sql(connection, "SELECT 1 FROM serversent_outbox LIMIT 1"))


# READ COMMITTED, because what is read has to be newer than the lock. The rows are read plainly and deleted one by one,
# each by its key: for a list of keys MariaDB may choose a scan, and a scan that locks waits for every transaction that
# has published and is still open; so does a subquery in the condition of an IF.
# Twenty rounds: a publisher that met endless others would never return.
_MARIADB = """
BEGIN NOT ATOMIC
    DECLARE got, remaining INT DEFAULT 0;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
    rounds: FOR round IN 1..20 DO
        SET got = 0, remaining = 0;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        START TRANSACTION;
        SELECT 1 INTO got FROM serversent_log WHERE id = 1 FOR UPDATE SKIP LOCKED;
        IF got = 1 THEN
            FOR o IN (SELECT id, channel, event, data FROM serversent_outbox ORDER BY id LIMIT 1000) DO
                INSERT INTO serversent_event (channel, event, data, size, logged_at)
                    VALUES (o.channel, o.event, o.data, LENGTH(o.data), UTC_TIMESTAMP(6));
                DELETE FROM serversent_outbox WHERE id = o.id;
            END FOR;
        END IF;
        COMMIT;
        SELECT 1 INTO remaining FROM serversent_outbox LIMIT 1;
        IF got = 0 OR remaining = 0 THEN LEAVE rounds; END IF;
    END FOR;
END
"""
