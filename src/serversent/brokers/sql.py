"""One helper for all SQL of the brokers."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["sql"]


def sql(connection: BaseDatabaseWrapper, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Return all rows of one statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall()) if cursor.description else []
