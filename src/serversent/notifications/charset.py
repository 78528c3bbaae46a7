"""On MariaDB a table has the database's character set, which may not have all of Unicode."""

from typing import Any

from django.db import connections, router

from serversent.brokers.dialects.detect import dialect_of
from serversent.brokers.dialects.mariadb import MariaDB

from .models import notification_model

__all__ = ["convert"]


def convert(sender: Any, using: str, **kwargs: Any) -> None:
    """After ``migrate``: let the notifications' table, also of a model of the project's, take any text."""
    model, connection = notification_model(), connections[using]
    if (
        "plan" not in kwargs
        or not isinstance(dialect_of(connection), MariaDB)
        or not router.allow_migrate_model(using, model)
    ):
        return
    charset = (
        "SELECT CCSA.character_set_name FROM information_schema.tables AS t "
        "JOIN information_schema.collation_character_set_applicability AS CCSA "
        "ON CCSA.collation_name = t.table_collation WHERE t.table_schema = DATABASE() AND t.table_name = %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(charset, [model._meta.db_table])
        found = cursor.fetchone()
        if found is not None and found[0] != "utf8mb4":
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4")
