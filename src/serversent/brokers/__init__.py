"""Brokers: where sent events live. ``broker(alias)`` is the one that the settings name."""

from .base import Broker, Events, LoggedEvent, OutgoingEvent, broker, new_broker

__all__ = ["Broker", "Events", "LoggedEvent", "OutgoingEvent", "broker", "new_broker"]
