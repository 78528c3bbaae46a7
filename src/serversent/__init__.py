"""Server-sent events for Django.

The names below are loaded when they are first used, so that importing this package needs no settings and no apps.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .access.end_streams import aend_streams as aend_streams
    from .access.end_streams import end_streams as end_streams
    from .channels.publish import asend_event as asend_event
    from .channels.publish import asend_events as asend_events
    from .channels.publish import close_channel as close_channel
    from .channels.publish import cursor as cursor
    from .channels.publish import send_event as send_event
    from .channels.publish import send_events as send_events
    from .channels.subscription import Subscription as Subscription
    from .event import ServerSentEvent as ServerSentEvent
    from .views.decorators import channel_stream as channel_stream
    from .views.decorators import event_stream as event_stream
    from .views.response import EventStreamResponse as EventStreamResponse
    from .views.signed_urls import sse_url as sse_url

__version__ = "0.1.0"

_HOMES = {
    "EventStreamResponse": "views.response",
    "ServerSentEvent": "wire.event",
    "Subscription": "channels.subscription",
    "aend_streams": "access.end_streams",
    "asend_event": "channels.publish",
    "asend_events": "channels.publish",
    "channel_stream": "views.decorators",
    "close_channel": "channels.publish",
    "cursor": "channels.publish",
    "end_streams": "access.end_streams",
    "event_stream": "views.decorators",
    "send_event": "channels.publish",
    "send_events": "channels.publish",
    "sse_url": "views.signed_urls",
}

__all__ = [
    "EventStreamResponse",
    "ServerSentEvent",
    "Subscription",
    "aend_streams",
    "asend_event",
    "asend_events",
    "channel_stream",
    "close_channel",
    "cursor",
    "end_streams",
    "event_stream",
    "send_event",
    "send_events",
    "sse_url",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
