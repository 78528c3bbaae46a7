"""Server-sent events for Django.

The names below are loaded when they are first used, so that importing this package needs no settings and no apps.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .event import ServerSentEvent as ServerSentEvent
    from .response import EventStreamResponse as EventStreamResponse
    from .views import event_stream as event_stream

__version__ = "0.1.0"

_HOMES = {
    "EventStreamResponse": "response",
    "ServerSentEvent": "event",
    "event_stream": "views",
}

__all__ = ["EventStreamResponse", "ServerSentEvent", "event_stream"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
