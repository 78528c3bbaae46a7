"""Server-sent events for Django.

The names below are loaded when they are first used, so that importing this package needs no settings and no apps.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .event import ServerSentEvent as ServerSentEvent
    from .publish import aend_streams as aend_streams
    from .publish import asend_event as asend_event
    from .publish import asend_events as asend_events
    from .publish import close_channel as close_channel
    from .publish import cursor as cursor
    from .publish import end_streams as end_streams
    from .publish import send_event as send_event
    from .publish import send_events as send_events
    from .response import EventStreamResponse as EventStreamResponse
    from .signed import sse_url as sse_url
    from .subscription import Subscription as Subscription
    from .views import channel_stream as channel_stream
    from .views import event_stream as event_stream

__version__ = "0.1.0"

_HOMES = {
    "EventStreamResponse": "response",
    "ServerSentEvent": "event",
    "Subscription": "subscription",
    "aend_streams": "publish",
    "asend_event": "publish",
    "asend_events": "publish",
    "channel_stream": "views",
    "close_channel": "publish",
    "cursor": "publish",
    "end_streams": "publish",
    "event_stream": "views",
    "send_event": "publish",
    "send_events": "publish",
    "sse_url": "signed",
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
