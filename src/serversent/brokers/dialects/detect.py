"""Which dialect a connection speaks."""

from django.db.backends.base.base import BaseDatabaseWrapper

from .base import Dialect
from .mariadb import MariaDB
from .postgresql import PostgreSQL
from .sqlite import SQLite

__all__ = ["dialect_of"]

_DIALECTS = {"postgresql": PostgreSQL(), "mysql": MariaDB(), "sqlite": SQLite()}
_OTHER = Dialect()


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """Return the dialect of a connection. Makes no query."""
    return _DIALECTS.get(connection.vendor, _OTHER)
