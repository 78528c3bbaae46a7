"""The log's tables, and what each database does in SQL: PostgreSQL and SQLite move events out of the outbox."""

import secrets

import django.db.models.functions.datetime
from django.db import migrations, models, router

# Numbering: moves what is committed in the outbox into the log, and looks again with the lock given back, until nothing
# is left or somebody else is at it. One call, so that a client that is stopped halfway stalls nobody. The lock is this
# table's alone, whatever its schema. READ COMMITTED, because what is read has to be newer than the lock. An error is
# returned, not raised: what was sent is committed by then, and its sender must not take it for lost.
POSTGRESQL_NUMBER = """
CREATE PROCEDURE serversent_number(INOUT problem text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    moved integer;
BEGIN
    FOR round IN 1..20 LOOP
        COMMIT;
        SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
        BEGIN
            IF NOT pg_try_advisory_xact_lock((7310::bigint << 32) | 'serversent_event'::regclass::oid::bigint) THEN
                RETURN;
            END IF;
            WITH gone AS (
                DELETE FROM serversent_outbox
                WHERE id IN (SELECT id FROM serversent_outbox ORDER BY id LIMIT 1000)
                RETURNING id, channel, event, data
            )
            INSERT INTO serversent_event (channel, event, data, size, logged_at)
            SELECT channel, event, data, octet_length(data), clock_timestamp() FROM gone ORDER BY id;
            GET DIAGNOSTICS moved = ROW_COUNT;
            IF moved > 0 THEN
                PERFORM pg_notify('serversent', '');
            END IF;
        EXCEPTION WHEN query_canceled OR OTHERS THEN
            problem := SQLERRM;
            RETURN;
        END;
        COMMIT;
        EXIT WHEN NOT EXISTS (SELECT 1 FROM serversent_outbox);
    END LOOP;
END
$$
"""

# Sending an event outside of a transaction: all of it in one call.
POSTGRESQL_SEND = """
CREATE PROCEDURE serversent_send(channel text, event text, data text, INOUT problem text DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO serversent_outbox (channel, event, data) VALUES (channel, event, data);
    CALL serversent_number(problem);
END
$$
"""

# One writer at a time: what is inserted into the outbox by SQL gets its offset within the same transaction.
SQLITE_TRIGGER = """
CREATE TRIGGER serversent_outbox_number AFTER INSERT ON serversent_outbox BEGIN
    INSERT INTO serversent_event (channel, event, data, size)
    VALUES (NEW.channel, NEW.event, NEW.data, LENGTH(CAST(NEW.data AS BLOB)));
    DELETE FROM serversent_outbox WHERE id = NEW.id;
END
"""

# Channels differ in case, and data is any text, whatever the database's default character set is.
MYSQL_TABLES = [
    f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    for table in ("serversent_outbox", "serversent_event", "serversent_channel", "serversent_log")
]

FORWARDS = {"postgresql": [POSTGRESQL_NUMBER, POSTGRESQL_SEND], "sqlite": [SQLITE_TRIGGER], "mysql": MYSQL_TABLES}
BACKWARDS = {
    "postgresql": ["DROP PROCEDURE serversent_send", "DROP PROCEDURE serversent_number"],
    "sqlite": ["DROP TRIGGER serversent_outbox_number"],
}


def forwards(apps, schema_editor):
    if not router.allow_migrate(schema_editor.connection.alias, "serversent"):
        return
    for statement in FORWARDS.get(schema_editor.connection.vendor, ()):
        schema_editor.execute(statement, params=None)
    apps.get_model("serversent", "Log").objects.using(schema_editor.connection.alias).create(
        id=1, epoch=secrets.token_hex(3)
    )


def backwards(apps, schema_editor):
    if not router.allow_migrate(schema_editor.connection.alias, "serversent"):
        return
    for statement in BACKWARDS.get(schema_editor.connection.vendor, ()):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Channel",
            fields=[
                ("channel", models.CharField(max_length=200, primary_key=True, serialize=False)),
                ("floor", models.BigIntegerField()),
                ("pruned_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "pruned channel",
                "db_table": "serversent_channel",
            },
        ),
        migrations.CreateModel(
            name="Log",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("epoch", models.CharField(max_length=40)),
                ("floor", models.BigIntegerField(default=0)),
                ("pruned", models.BigIntegerField(default=0)),
            ],
            options={
                "db_table": "serversent_log",
            },
        ),
        migrations.CreateModel(
            name="OutboxEvent",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("channel", models.CharField(max_length=200)),
                ("event", models.CharField(db_default="message", max_length=200)),
                ("data", models.TextField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "event in the outbox",
                "verbose_name_plural": "events in the outbox",
                "db_table": "serversent_outbox",
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False, verbose_name="offset")),
                ("channel", models.CharField(max_length=200)),
                ("event", models.CharField(db_default="message", max_length=200, verbose_name="type")),
                ("data", models.TextField()),
                ("size", models.IntegerField(db_default=0, verbose_name="size in bytes")),
                ("logged_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "event",
                "db_table": "serversent_event",
                "indexes": [models.Index(fields=["channel", "id"], name="serversent_event_channel")],
            },
        ),
        migrations.RunPython(forwards, backwards, atomic=False),  # MariaDB has no DDL in transactions
    ]
