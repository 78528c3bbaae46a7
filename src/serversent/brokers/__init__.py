"""Where do sent events live?

Every broker keeps the contract of ``Broker``: one log with one order, read by offset.

- ``base``: the contract, and how the settings name brokers
- ``channel_names``: which names a channel may have
- ``transactions``: which transaction an event belongs to
- ``sql``: one helper for all SQL
- ``dialects``: what differs between databases
- ``memory``: the broker of one process
- ``database``: the broker in the project's own database
"""

from .base import Batch, Broker, LoggedEvent, OutgoingEvent, broker, new_broker

__all__ = ["Batch", "Broker", "LoggedEvent", "OutgoingEvent", "broker", "new_broker"]
