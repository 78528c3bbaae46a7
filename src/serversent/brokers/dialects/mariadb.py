"""MariaDB: a compound statement moves events from the outbox into the log."""

from django.db.backends.base.base import BaseDatabaseWrapper

from ..sql import sql
from .base import BATCH_BYTES, BATCH_EVENTS, Dialect

__all__ = ["MariaDB"]

_IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS

# Channels differ in case, and data is any text, whatever the database's default character set is. The size of an event
# is stored, so that a batch is bounded without reading the data.
_INSTALL = [
    *(
        f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        for table in ("serversent_outbox", "serversent_event", "serversent_channel", "serversent_log")
    ),
    "ALTER TABLE serversent_outbox ADD COLUMN IF NOT EXISTS size INT AS (LENGTH(data)) PERSISTENT",
]

# READ COMMITTED, because the rows have to be newer than the lock. The rows are read plainly and deleted one by one,
# each by its key: for a list of keys MariaDB may choose a scan, and a scan that locks waits for every open transaction
# that has published; so does a subquery in the condition of an IF. A batch is bounded in events and in bytes.
#
# The log notes which server numbers it. A replica that takes over may lack the end of the log and give its offsets out
# again, so another server begins another epoch, before its first event. The nodes of a Galera cluster lack nothing.
#
# A publisher that met endless others would never return: after twenty rounds it has moved what was there when it came.
_ASSIGN_OFFSETS = f"""
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


class MariaDB(Dialect):
    """Django's vendor "mysql". On MySQL itself the log does not work, and a check says so."""

    clock = "UTC_TIMESTAMP(6)"
    ago = "UTC_TIMESTAMP(6) - INTERVAL %s SECOND"
    read_clock = "SELECT UTC_TIMESTAMP(6)"
    # Found from the end, where it is near.
    newest_before = (
        "SELECT MAX(id) FROM (SELECT id FROM serversent_event WHERE logged_at <= %s ORDER BY id DESC LIMIT 1) AS n"
    )
    insert_ignore = ("INSERT IGNORE", "")
    raise_floor = "ON DUPLICATE KEY UPDATE pruned_at = VALUES(pruned_at), floor = GREATEST(floor, VALUES(floor))"
    index_hint = "FORCE INDEX (serversent_event_channel)"
    connect_timeout = 10
    uninstall = ("ALTER TABLE serversent_outbox DROP COLUMN size",)

    def is_supported(self, connection: BaseDatabaseWrapper) -> bool:
        return bool(connection.mysql_is_mariadb)  # type: ignore[attr-defined]

    def is_in_transaction(self, connection: BaseDatabaseWrapper) -> bool:
        status = getattr(connection.connection, "server_status", None)  # PyMySQL has it, mysqlclient does not
        return super().is_in_transaction(connection) if status is None else bool(status & _IN_TRANSACTION)

    def assign_offsets(self, connection: BaseDatabaseWrapper) -> None:
        sql(connection, _ASSIGN_OFFSETS)

    def install(self, connection: BaseDatabaseWrapper) -> None:
        if not self.is_installed(connection):
            for statement in _INSTALL:
                sql(connection, statement)

    def is_installed(self, connection: BaseDatabaseWrapper) -> bool:
        with connection.cursor() as cursor:
            columns = connection.introspection.get_table_description(cursor, "serversent_outbox")
        return any(column.name == "size" for column in columns)
