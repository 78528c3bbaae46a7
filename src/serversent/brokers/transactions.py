"""Which transaction a sent event belongs to."""

import logging
from collections.abc import Callable, Sequence

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .base import OutgoingEvent
from .channel_names import CONTROL
from .dialects.detect import dialect_of

__all__ = ["after_commit", "awaited_transaction", "in_transaction", "open_transaction"]

logger = logging.getLogger("serversent")


def awaited_transaction(events: Sequence[OutgoingEvent]) -> str | None:
    """Return the alias of the database whose commit these events have to wait for, if there is one.

    Without ``atomic()``, Django does not report a commit, so nothing could wait for it. Revocations are sent at once
    then: they must not be lost.
    """
    alias = open_transaction()
    if alias is None or connections[alias].in_atomic_block or any(event.channel not in CONTROL for event in events):
        return alias
    return None


def open_transaction() -> str | None:
    """Return the alias of a database on which this thread is in a transaction; the default one, if it is.

    The block that a ``TestCase`` puts around each test does not count: it never commits.
    """
    aliases = [connection.alias for connection in connections.all(initialized_only=True)]
    for alias in sorted(aliases, key=lambda alias: alias != DEFAULT_DB_ALIAS):
        blocks = connections[alias].atomic_blocks
        if any(not getattr(block, "_from_testcase", False) for block in blocks):
            return alias
        # Where autocommit is off for good, a mere read begins one; of other databases than the default that is no sign.
        counts = alias == DEFAULT_DB_ALIAS or connections[alias].settings_dict["AUTOCOMMIT"]
        if counts and not blocks and _is_begun_by_hand(connections[alias]):
            return alias
    return None


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection is in a transaction, of ``atomic`` or begun by hand."""
    return connection.in_atomic_block or _is_begun_by_hand(connection)


def _is_begun_by_hand(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement opened a transaction: the first one with autocommit off, or BEGIN. No query is made."""
    return connection.connection is not None and dialect_of(connection).is_in_transaction(connection)


def after_commit(send: Callable[[], None], *, using: str, broker: str) -> None:
    """Call ``send`` when the transaction on ``using`` commits; its errors are logged, for the commit is done by then.

    Raises ``TransactionManagementError`` in a transaction by hand, as ``transaction.on_commit`` does: Django tells
    nobody of its commit.
    """

    def send_or_log() -> None:
        try:
            send()
        except Exception:
            logger.exception(
                "Events of a committed transaction on %r are lost: the broker %r, which is not part of the "
                "transaction, did not take them",
                using,
                broker,
            )

    connection = connections[using]
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            f"send_event() cannot wait for the commit of a transaction that was begun by hand on {using!r}: Django "
            f"tells nobody of it, and the log of the broker {broker!r} is elsewhere. Use transaction.atomic(), or send "
            "with on_commit=False after the commit."
        )
    transaction.on_commit(send_or_log, using=using)
