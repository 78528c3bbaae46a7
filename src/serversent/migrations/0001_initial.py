"""The log's tables, and its epoch."""

import secrets

import django.db.models.functions.datetime
from django.db import migrations, models, router


def forwards(apps, schema_editor):
    if not router.allow_migrate(schema_editor.connection.alias, "serversent"):
        return
    apps.get_model("serversent", "Log").objects.using(schema_editor.connection.alias).create(
        id=1, epoch=secrets.token_hex(3)
    )


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
        migrations.RunPython(forwards, migrations.RunPython.noop),
    ]
