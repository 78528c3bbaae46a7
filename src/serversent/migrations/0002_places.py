"""Events have a place in the order of commits, and the log knows which server numbers it; the SQL beside the tables."""

from django.db import migrations, models, router

from serversent.brokers.database.procedures import install, uninstall


def forwards(apps, schema_editor):
    if router.allow_migrate(schema_editor.connection.alias, "serversent"):
        install(schema_editor.connection)


def backwards(apps, schema_editor):
    if router.allow_migrate(schema_editor.connection.alias, "serversent"):
        uninstall(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("serversent", "0001_initial")]

    operations = [
        migrations.AddField("outboxevent", "place", models.BigIntegerField(editable=False, null=True)),
        migrations.AddField("log", "server", models.BigIntegerField(editable=False, null=True)),
        migrations.RunPython(forwards, backwards, atomic=False),  # MariaDB has no DDL in transactions
    ]
