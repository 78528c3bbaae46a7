"""Numbering: what is committed in the outbox gets its offsets, in commit order, in one batch, by one at a time.

Whoever gets the lock without waiting moves all committed rows into the log. After that, with the lock given back, it
looks again: whoever did not get the lock walked away, with its row committed before that look. All of it is one call,
which the database ends without its client: on PostgreSQL a procedure (``procedures``).
"""

import time
from collections.abc import Sequence

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from ..base import OutgoingEvent
from ..transactions import in_transaction
from .procedures import BATCH_BYTES, BATCH_EVENTS
from .session import sql

__all__ = ["Unnumbered", "can_number", "number", "number_all", "pending", "send_at_once"]


# How long a reader waits for another process that is numbering, in seconds.
NUMBER_SECONDS = 10.0


def number(connection: BaseDatabaseWrapper) -> None:
    """Move what is committed in the outbox into the log. Call it outside any transaction. Raises ``DatabaseError``."""
    if connection.vendor == "postgresql":
        _call(connection, "CALL serversent_number()")
    elif connection.vendor == "mysql":
        sql(connection, _MARIADB)


def number_all(connection: BaseDatabaseWrapper) -> None:
    """Return when everything that is committed now has its offset, whoever numbers it. Raises ``DatabaseError``."""
    deadline = time.monotonic() + NUMBER_SECONDS
    newest = sql(connection, "SELECT MAX(id) FROM serversent_outbox")[0][0]
    while newest is not None:
        number(connection)
        oldest = sql(connection, "SELECT MIN(id) FROM serversent_outbox")[0][0]
        if oldest is None or oldest > newest or time.monotonic() > deadline:
            return
        time.sleep(0.01)  # another process has the lock


def can_number(connection: BaseDatabaseWrapper) -> bool:
    """Whether this connection is outside of any transaction, one that was begun by hand included."""
    return connection.get_autocommit() and not in_transaction(connection)


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


# READ COMMITTED, because the rows have to be newer than the lock. The rows are read plainly and deleted one by one,
# each by its key: for a list of keys MariaDB may choose a scan, and a scan that locks waits for every open transaction
# that has published; so does a subquery in the condition of an IF. A batch is bounded in events and in bytes.
#
# The log notes which server numbers it. A replica that takes over may lack the end of the log and give its offsets out
# again, so another server begins another epoch, before its first event. The nodes of a Galera cluster lack nothing.
#
# A publisher that met endless others would never return: after twenty rounds it has moved what was there when it came.
_MARIADB = f"""
BEGIN NOT ATOMIC
    DECLARE got, control INT DEFAULT 0;
    DECLARE upto, oldest, numbered_by BIGINT DEFAULT NULL;
    DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
    SELECT MAX(id) INTO upto FROM serversent_outbox;
    rounds: FOR round IN 1..1000000 DO
        SET got = 0, oldest = NULL;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        START TRANSACTION;
        SELECT 1, server INTO got, numbered_by FROM serversent_log WHERE id = 1 FOR UPDATE SKIP LOCKED;
        IF got = 1 THEN
            IF NOT numbered_by <=> @@server_id THEN
                IF numbered_by IS NOT NULL AND NOT EXISTS (
                    SELECT 1 FROM information_schema.GLOBAL_VARIABLES
                    WHERE VARIABLE_NAME = 'WSREP_ON' AND VARIABLE_VALUE = 'ON'
                ) THEN
                    UPDATE serversent_log SET epoch = LEFT(MD5(RAND()), 6) WHERE id = 1;
                END IF;
                UPDATE serversent_log SET server = @@server_id WHERE id = 1;
            END IF;
            IF round = 1 THEN
                SELECT COUNT(*) > {BATCH_EVENTS} INTO control
                    FROM (SELECT id FROM serversent_outbox LIMIT {BATCH_EVENTS + 1}) AS first;
            END IF;
            IF control = 1 AND round % 20 = 1 THEN  -- revocations overtake the other events of a crowded outbox
                FOR o IN (
                    SELECT id, channel, event, data FROM serversent_outbox
                    WHERE channel IN ('!ended', '!revoked') ORDER BY id
                ) DO
                    {{move}}
                END FOR;
            END IF;
            FOR o IN (
                SELECT b.id, b.channel, b.event, b.data
                FROM (
                    SELECT id, SUM(size) OVER (ORDER BY id) - size AS bytes_before
                    FROM (SELECT id, size FROM serversent_outbox ORDER BY id LIMIT {BATCH_EVENTS}) AS few
                ) AS batch JOIN serversent_outbox AS b ON b.id = batch.id
                WHERE batch.bytes_before < {BATCH_BYTES} ORDER BY b.id
            ) DO
                {{move}}
            END FOR;
        END IF;
        COMMIT;
        SELECT MIN(id) INTO oldest FROM serversent_outbox;
        IF got = 0 OR oldest IS NULL OR (round >= 20 AND oldest > upto) THEN LEAVE rounds; END IF;
    END FOR;
END
""".format(
    move="""INSERT INTO serversent_event (channel, event, data, size, logged_at)
                        VALUES (o.channel, o.event, o.data, LENGTH(o.data), UTC_TIMESTAMP(6));
                    DELETE FROM serversent_outbox WHERE id = o.id;"""
)
