"""Where do sent events live?

Every broker keeps the contract of ``Broker``: one log with one order, read by offset.

- ``base``: the contract, and how the settings name brokers
- ``channel_names``: which names a channel may have
- ``transactions``: which transaction an event belongs to
- ``sql``: one helper for all SQL
- ``dialects``: the differences between databases
- ``memory``: the broker of one process
- ``database``: the broker in the project's own database
"""

from ..wire.cursor import Cursor
from .base import PAGE_BYTES, Batch, Broker, LoggedEvent, OutgoingEvent, broker, new_broker
from .channel_names import CONTROL, REVOKED, REVOKED_SECONDS
from .transactions import after_commit, awaited_transaction

__all__ = [
    "CONTROL",
    "PAGE_BYTES",
    "REVOKED",
    "REVOKED_SECONDS",
    "Batch",
    "Broker",
    "Cursor",
    "LoggedEvent",
    "OutgoingEvent",
    "after_commit",
    "awaited_transaction",
    "broker",
    "new_broker",
]
