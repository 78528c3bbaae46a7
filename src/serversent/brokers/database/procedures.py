"""What the log needs in a database beside its tables: procedures, triggers and an index.

They are installed by a migration, and again after every ``migrate``, because a test database may be made without
migrations. Installing them twice changes nothing.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

from .session import sql

__all__ = ["BATCH_BYTES", "BATCH_EVENTS", "install", "install_missing", "uninstall"]


# A batch has at most so many events, and so many bytes unless its first event alone is larger.
BATCH_EVENTS = 1000
BATCH_BYTES = 4_000_000

# In a crowded outbox this many rows are looked at for one batch.
LOOK_EVENTS = 5000

# The place of an event in the order of commits. The trigger is deferred: it takes the next number of the outbox's own
# sequence while its transaction commits, so a transaction that waited for another one gets a higher number. Place 0
# means that no number is needed: the insert and the commit are one call. The function has its owner's rights, because a
# role that may only insert may not update: it looks nowhere but at its own table, and nobody else may make a trigger of
# it.
_POSTGRESQL_PLACE = """
CREATE OR REPLACE FUNCTION serversent_place() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    outbox text := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
BEGIN
    EXECUTE format('UPDATE %s SET place = nextval(pg_get_serial_sequence($1, ''id'')) WHERE id = $2', outbox)
    USING outbox, NEW.id;
    RETURN NULL;
END
$$
"""
_POSTGRESQL_PLACE_RIGHTS = "REVOKE EXECUTE ON FUNCTION serversent_place() FROM PUBLIC"
_POSTGRESQL_PLACE_TRIGGER = """
CREATE CONSTRAINT TRIGGER serversent_outbox_place AFTER INSERT ON serversent_outbox
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.place IS NULL) EXECUTE FUNCTION serversent_place()
"""
# Revocations overtake the other events of a crowded outbox.
_POSTGRESQL_CONTROL_INDEX = """
CREATE INDEX IF NOT EXISTS serversent_outbox_control ON serversent_outbox (id) WHERE channel IN ('!ended', '!revoked')
"""

# Moves committed events from the outbox into the log. The caller that gets the lock moves all of them, batch by batch,
# and looks again after it has given the lock back; a caller that does not get the lock returns. One call, so that a
# client that is stopped halfway stalls nobody. The lock belongs to this table, whatever its schema. READ COMMITTED,
# because the rows have to be newer than the lock. An error is returned, not raised: the event is committed by then, and
# its sender must not take it for lost. A batch that a timeout cancels is tried again with a quarter of its size. The
# timeout does not count for that, because it has ended this call already; so that nothing waits, locks have one then.
_POSTGRESQL_NUMBER = f"""
CREATE OR REPLACE PROCEDURE serversent_number(INOUT problem text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    batch_events integer := {BATCH_EVENTS};
    batch_bytes bigint := {BATCH_BYTES};
    look_events integer := {LOOK_EVENTS};
    is_crowded boolean;
    upto bigint;
    oldest bigint;
    moved integer;
    rounds integer := 0;
BEGIN
    LOOP
        COMMIT;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        BEGIN
            IF batch_events < {BATCH_EVENTS} THEN
                PERFORM set_config('lock_timeout', '200ms', true);
            END IF;
            IF NOT pg_try_advisory_xact_lock((7310::bigint << 32) | 'serversent_event'::regclass::oid::bigint) THEN
                RETURN;
            END IF;
            upto := coalesce(upto, (SELECT max(id) FROM serversent_outbox), 0);
            SELECT count(*) > batch_events OR coalesce(sum(size), 0) > batch_bytes INTO is_crowded FROM (
                SELECT octet_length(data) AS size FROM serversent_outbox ORDER BY id LIMIT batch_events + 1
            ) AS first;
            IF NOT is_crowded THEN
                WITH gone AS (
                    DELETE FROM serversent_outbox
                    WHERE id = ANY (ARRAY(SELECT id FROM serversent_outbox ORDER BY id LIMIT look_events))
                    RETURNING id, channel, event, data, place
                )
                INSERT INTO serversent_event (channel, event, data, size, logged_at)
                SELECT channel, event, data, octet_length(data), clock_timestamp() FROM gone
                ORDER BY coalesce(nullif(place, 0), id), id;
                GET DIAGNOSTICS moved = ROW_COUNT;
                IF moved = look_events THEN  -- more came since the rows were counted: these are not in order
                    RAISE EXCEPTION 'serversent_crowded';
                END IF;
            ELSE
                WITH gone AS (
                    DELETE FROM serversent_outbox WHERE channel IN ('!ended', '!revoked')
                    RETURNING id, channel, event, data, place
                )
                INSERT INTO serversent_event (channel, event, data, size, logged_at)
                SELECT channel, event, data, octet_length(data), clock_timestamp() FROM gone
                ORDER BY coalesce(nullif(place, 0), id), id;
                -- Whoever is not among the first rows has a higher id, and a place that is higher still. So the rows
                -- whose place is not above the last of these ids are next. One transaction may have filled all of it:
                -- then all are looked at, which takes a sort, and more are moved.
                FOREACH look_events IN ARRAY ARRAY[{LOOK_EVENTS}, 2147483647] LOOP
                    WITH few AS MATERIALIZED (
                        SELECT id, coalesce(nullif(place, 0), id) AS place, octet_length(data) AS size
                        FROM serversent_outbox ORDER BY id LIMIT look_events
                    ),
                    sure AS (
                        SELECT id, row_number() OVER byplace AS number, sum(size) OVER byplace - size AS bytes_before
                        FROM few
                        WHERE place <= (SELECT max(id) FROM few) OR (SELECT count(*) FROM few) < look_events
                        WINDOW byplace AS (ORDER BY place, id)
                    ),
                    gone AS (
                        DELETE FROM serversent_outbox WHERE id = ANY (ARRAY(
                            SELECT id FROM sure WHERE bytes_before < batch_bytes AND number <=
                                CASE WHEN look_events > {LOOK_EVENTS} THEN 20 * batch_events ELSE batch_events END
                        ))
                        RETURNING id, channel, event, data, place
                    )
                    INSERT INTO serversent_event (channel, event, data, size, logged_at)
                    SELECT channel, event, data, octet_length(data), clock_timestamp() FROM gone
                    ORDER BY coalesce(nullif(place, 0), id), id;
                    GET DIAGNOSTICS moved = ROW_COUNT;
                    EXIT WHEN moved > 0;
                END LOOP;
                look_events := {LOOK_EVENTS};
            END IF;
            IF moved > 0 THEN
                PERFORM pg_notify('serversent', '');
            END IF;
        EXCEPTION
            WHEN query_canceled THEN
                IF batch_events = 1 THEN
                    problem := SQLERRM;
                    RETURN;
                END IF;
                batch_events := greatest(batch_events / 4, 1);
                batch_bytes := greatest(batch_bytes / 4, 1);
            WHEN OTHERS THEN
                IF SQLERRM <> 'serversent_crowded' THEN
                    problem := SQLERRM;
                    RETURN;
                END IF;
        END;
        COMMIT;
        rounds := rounds + 1;
        BEGIN
            oldest := (SELECT min(id) FROM serversent_outbox);
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            problem := SQLERRM;
            RETURN;
        END;
        -- A publisher that met endless others would never return. What was there when it came is moved in any case.
        EXIT WHEN oldest IS NULL OR (rounds >= 20 AND oldest > upto);
    END LOOP;
END
$$
"""

# Sending an event outside of a transaction: all of it in one call.
_POSTGRESQL_SEND = """
CREATE OR REPLACE PROCEDURE serversent_send(channel text, event text, data text, INOUT problem text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO serversent_outbox (channel, event, data, place) VALUES (channel, event, data, 0);
    CALL serversent_number(problem);
END
$$
"""

_POSTGRESQL = [
    _POSTGRESQL_PLACE,
    _POSTGRESQL_PLACE_RIGHTS,
    _POSTGRESQL_NUMBER,
    _POSTGRESQL_SEND,
    _POSTGRESQL_CONTROL_INDEX,
]

# One writer at a time: an event that is inserted into the outbox by SQL gets its offset within the same transaction.
_SQLITE_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS serversent_outbox_number AFTER INSERT ON serversent_outbox BEGIN
    INSERT INTO serversent_event (channel, event, data, size)
    VALUES (NEW.channel, NEW.event, NEW.data, LENGTH(CAST(NEW.data AS BLOB)));
    DELETE FROM serversent_outbox WHERE id = NEW.id;
END
"""

# Channels differ in case, and data is any text, whatever the database's default character set is. The size of an event
# is stored, so that a batch is bounded without reading the data.
_MARIADB = [
    *(
        f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        for table in ("serversent_outbox", "serversent_event", "serversent_channel", "serversent_log")
    ),
    "ALTER TABLE serversent_outbox ADD COLUMN IF NOT EXISTS size INT AS (LENGTH(data)) PERSISTENT",
]


def install(connection: BaseDatabaseWrapper) -> None:
    """Create or replace what the log needs beside its tables. Raises ``DatabaseError``."""
    if connection.vendor == "postgresql":
        for statement in _POSTGRESQL:
            sql(connection, statement)
        trigger = "SELECT 1 FROM pg_trigger WHERE tgrelid = 'serversent_outbox'::regclass AND tgname = %s"
        if not sql(connection, trigger, ["serversent_outbox_place"]):
            sql(connection, _POSTGRESQL_PLACE_TRIGGER)
    elif connection.vendor == "sqlite":
        sql(connection, _SQLITE_TRIGGER)
    elif _is_mariadb(connection) and not _has_column(connection, "size"):
        for statement in _MARIADB:
            sql(connection, statement)


def install_missing(connection: BaseDatabaseWrapper) -> None:
    """The same where the tables were made without migrations, which is seen by what is missing."""
    tables = connection.introspection.table_names()
    if "serversent_outbox" not in tables or not _has_column(connection, "place") or _is_installed(connection):
        return
    install(connection)


def _is_installed(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor == "postgresql":
        return sql(connection, "SELECT to_regproc('serversent_number')")[0][0] is not None
    if connection.vendor == "sqlite":
        return bool(sql(connection, "SELECT 1 FROM sqlite_master WHERE name = 'serversent_outbox_number'"))
    return not _is_mariadb(connection) or _has_column(connection, "size")


def _is_mariadb(connection: BaseDatabaseWrapper) -> bool:
    return connection.vendor == "mysql" and connection.mysql_is_mariadb  # type: ignore[attr-defined]


def _has_column(connection: BaseDatabaseWrapper, name: str) -> bool:
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, "serversent_outbox")
    return any(column.name == name for column in columns)


def uninstall(connection: BaseDatabaseWrapper) -> None:
    """Remove it. Raises ``DatabaseError``."""
    if connection.vendor == "mysql" and not _is_mariadb(connection):
        return
    for statement in _UNINSTALL.get(connection.vendor, ()):
        sql(connection, statement)


_UNINSTALL = {
    "postgresql": [
        "DROP PROCEDURE serversent_send",
        "DROP PROCEDURE serversent_number",
        "DROP TRIGGER serversent_outbox_place ON serversent_outbox",
        "DROP FUNCTION serversent_place",
        "DROP INDEX serversent_outbox_control",
    ],
    "sqlite": ["DROP TRIGGER serversent_outbox_number"],
    "mysql": ["ALTER TABLE serversent_outbox DROP COLUMN size"],
}
