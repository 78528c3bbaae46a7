"""PostgreSQL: procedures that commit within, a trigger at the commit, and LISTEN."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning
from django.db.backends.base.base import BaseDatabaseWrapper

from ..sql import sql
from .base import BATCH_BYTES, BATCH_EVENTS, Dialect, OffsetsNotAssigned

__all__ = ["PostgreSQL"]

# libpq's PQTRANS_INTRANS and PQTRANS_INERROR.
_IN_TRANSACTION = (2, 3)

# In a crowded outbox this many rows are looked at for one batch.
LOOK_EVENTS = 5000

# The place of an event in the order of commits. The trigger is deferred: it takes the next number of the outbox's own
# sequence while its transaction commits, so a transaction that waited for another one gets a higher number. Place 0
# means that no number is needed: the insert and the commit are one call. The function has its owner's rights, because a
# role that may only insert may not update: it looks nowhere but at its own table, and nobody else may make a trigger of
# it.
_PLACE = """
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
_PLACE_RIGHTS = "REVOKE EXECUTE ON FUNCTION serversent_place() FROM PUBLIC"
_PLACE_TRIGGER = """
CREATE CONSTRAINT TRIGGER serversent_outbox_place AFTER INSERT ON serversent_outbox
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.place IS NULL) EXECUTE FUNCTION serversent_place()
"""
# Revocations overtake the other events of a crowded outbox.
_CONTROL_INDEX = """
CREATE INDEX IF NOT EXISTS serversent_outbox_control ON serversent_outbox (id) WHERE channel IN ('!ended', '!revoked')
"""

# Moves committed events from the outbox into the log. The caller that gets the lock moves all of them, batch by batch,
# and looks again after it has given the lock back; a caller that does not get the lock returns. One call, so that a
# client that is stopped halfway stalls nobody. The lock belongs to this table, whatever its schema. READ COMMITTED,
# because the rows have to be newer than the lock. An error is returned, not raised: the event is committed by then, and
# its sender must not take it for lost. A batch that a timeout cancels is tried again with a quarter of its size. The
# timeout does not count for that, because it has ended this call already; so that nothing waits, locks have one then.
_NUMBER = f"""
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
_SEND = """
CREATE OR REPLACE PROCEDURE serversent_send(channel text, event text, data text, INOUT problem text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO serversent_outbox (channel, event, data, place) VALUES (channel, event, data, 0);
    CALL serversent_number(problem);
END
$$
"""


class PostgreSQL(Dialect):
    clock = "clock_timestamp()"
    ago = "clock_timestamp() - make_interval(secs => %s)"
    read_clock = "SELECT clock_timestamp()"
    newest_before = "SELECT MAX(id) FROM serversent_event WHERE logged_at <= %s"
    raise_floor = (
        "ON CONFLICT (channel) DO UPDATE SET pruned_at = EXCLUDED.pruned_at, "
        "floor = GREATEST(serversent_channel.floor, EXCLUDED.floor)"
    )
    connect_timeout = 10
    wakeup = "listen"
    poll_seconds = 0.5  # without LISTEN: psycopg 2, or a pooler
    sends_in_one_call = True
    uninstall = (
        "DROP PROCEDURE serversent_send",
        "DROP PROCEDURE serversent_number",
        "DROP TRIGGER serversent_outbox_place ON serversent_outbox",
        "DROP FUNCTION serversent_place",
        "DROP INDEX serversent_outbox_control",
    )

    def is_in_transaction(self, connection: BaseDatabaseWrapper) -> bool:
        return connection.connection.info.transaction_status in _IN_TRANSACTION  # with psycopg 3 and 2

    def timeline(self, connection: BaseDatabaseWrapper) -> str:
        # PostgreSQL changes it when a standby or a backup takes over.
        rows = sql(
            connection,
            "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END",
        )
        return f"t{int(rows[0][0], 16)}" if rows[0][0] else ""

    def first_of_each_channel(self, names: list[str], condition: str) -> tuple[str, list[Any]]:
        # A hundred subqueries take longer to plan than to run.
        rows = f"SELECT id, size FROM serversent_event WHERE channel = n.name {condition}"
        found = f"SELECT c.id, c.size, n.name FROM unnest(%s::varchar[]) AS n (name) CROSS JOIN LATERAL ({rows}) AS c"
        return found, [names]

    def assign_offsets(self, connection: BaseDatabaseWrapper) -> None:
        _call(connection, "CALL serversent_number()")

    def send_in_one_call(self, connection: BaseDatabaseWrapper, event: Sequence[str]) -> None:
        _call(connection, "CALL serversent_send(%s, %s, %s)", event)

    def install(self, connection: BaseDatabaseWrapper) -> None:
        for statement in (_PLACE, _PLACE_RIGHTS, _NUMBER, _SEND, _CONTROL_INDEX):
            sql(connection, statement)
        trigger = "SELECT 1 FROM pg_trigger WHERE tgrelid = 'serversent_outbox'::regclass AND tgname = %s"
        if not sql(connection, trigger, ["serversent_outbox_place"]):
            sql(connection, _PLACE_TRIGGER)

    def is_installed(self, connection: BaseDatabaseWrapper) -> bool:
        return sql(connection, "SELECT to_regproc('serversent_number')")[0][0] is not None

    def check(self, alias: str, connection: BaseDatabaseWrapper) -> list[CheckMessage]:
        if not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            return []
        return [
            Warning(
                f"The database {connection.alias!r} seems to be behind a pooler in transaction mode "
                "(DISABLE_SERVER_SIDE_CURSORS), which LISTEN cannot work through.",
                hint="Events arrive by polling. Give the broker an alias that goes to PostgreSQL directly.",
                id="serversent.W002",
            )
        ]


def _call(connection: BaseDatabaseWrapper, statement: str, parameters: Sequence[str] = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        (problem,) = cursor.fetchone()
    if problem is not None:
        raise OffsetsNotAssigned(problem)
