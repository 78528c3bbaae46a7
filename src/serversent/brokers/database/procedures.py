"""The parts of the log beside its tables: procedures, triggers, columns and an index.

A migration installs them, and ``post_migrate`` does where a test database was made without migrations.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

from ..dialects.detect import dialect_of
from ..sql import sql

__all__ = ["install", "install_missing", "uninstall"]


def install(connection: BaseDatabaseWrapper) -> None:
    """Create or replace the parts of the log beside its tables. Raises ``DatabaseError``."""
    dialect = dialect_of(connection)
    if dialect.is_supported(connection):
        dialect.install(connection)


def install_missing(connection: BaseDatabaseWrapper) -> None:
    """Install it if the tables were made without migrations."""
    if "serversent_outbox" not in connection.introspection.table_names() or not _has_place(connection):
        return
    dialect = dialect_of(connection)
    if dialect.is_supported(connection) and not dialect.is_installed(connection):
        dialect.install(connection)


def _has_place(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the outbox has its newest column: the tables may be those of an earlier migration."""
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, "serversent_outbox")
    return any(column.name == "place" for column in columns)


def uninstall(connection: BaseDatabaseWrapper) -> None:
    """Remove it. Raises ``DatabaseError``."""
    dialect = dialect_of(connection)
    if dialect.is_supported(connection):
        for statement in dialect.uninstall:
            sql(connection, statement)
