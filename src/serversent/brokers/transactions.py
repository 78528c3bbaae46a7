"""Which transaction a sent event belongs to."""

from django.db import DEFAULT_DB_ALIAS, connections

__all__ = ["open_transaction"]


def open_transaction() -> str | None:
    """Return the alias of a database on which this thread is in a transaction; the default one, if it is.

    The block that a ``TestCase`` puts around each test is none: it never commits.
    """
    aliases = [connection.alias for connection in connections.all(initialized_only=True)]
    for alias in sorted(aliases, key=lambda alias: alias != DEFAULT_DB_ALIAS):
        if any(not getattr(block, "_from_testcase", False) for block in connections[alias].atomic_blocks):
            return alias
    return None
