"""One transaction for rows and events, where the default broker's log is in their database."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from django.db import models, router, transaction

from serversent.brokers import broker
from serversent.channels.publish import send_events

__all__ = ["alias_of", "has_log", "transaction_with_events"]


def alias_of(rows: models.QuerySet[Any]) -> str:
    """Return the database that a queryset changes: the one of ``using()``, or else its model's."""
    return getattr(rows, "_db", None) or router.db_for_write(rows.model)


def has_log(alias: str) -> bool:
    """Return whether a database has the default broker's log, too. Raises ``UnknownBroker``."""
    return broker().database == alias


@contextlib.contextmanager
def transaction_with_events(alias: str) -> Iterator[Callable[[list[Any]], None]]:
    """Open a transaction, and yield a function that publishes in it, with the arguments of ``send_events``.

    Where the log is elsewhere they are sent after the block, or with the commit of the transaction around it.
    """
    later: list[list[Any]] = []
    with transaction.atomic(using=alias):
        yield send_events if has_log(alias) else later.append
    for events in later:
        send_events(events)
