"""Publishing: validate an event, serialise it once, and give it to the broker."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async

from ..brokers import OutgoingEvent, broker
from ..brokers.channel_names import check_channel
from ..concurrency.sync_code import for_sync_code
from ..conf import setting
from ..errors import InvalidEvent
from ..wire.cursor import Cursor
from ..wire.event import ServerSentEvent

__all__ = [
    "asend_event",
    "asend_events",
    "close_channel",
    "cursor",
    "send_event",
    "send_events",
]

P = ParamSpec("P")
T = TypeVar("T")

MAX_TYPE_CHARACTERS = 200


def _takes_type_by_keyword(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate ``send_event``, so that its error for a third positional argument says how to pass the type.

    django-eventstream's function of the same name takes the type before the data.
    """

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) > 2:
            event = args[1] if isinstance(args[1], str) else "message"
            raise TypeError(
                f"{function.__name__}() takes the channel and the data; the type of the event is a keyword argument. "
                f"Write: {function.__name__}({args[0]!r}, data, event={event!r})"
            )
        return function(*args, **kwargs)

    return markcoroutinefunction(wrapper) if iscoroutinefunction(function) else wrapper


@_takes_type_by_keyword
@for_sync_code("asend_event(...)")
def send_event(
    channel: str, data: Any = None, *, event: str = "message", using: str = "default", on_commit: bool = True
) -> None:
    """Send an event to every stream of ``channel``, in every process. Call it from anywhere.

    ``data``: text as it is, anything else as JSON. ``event``: its type. ``using``: the broker. In a transaction the
    event is sent with its commit, and never if it is rolled back; ``on_commit=False`` sends it at once, on a database
    connection of its own.

    Raises ``InvalidChannel``, ``InvalidEvent``, ``UnknownBroker`` and ``BrokerUnavailable``.
    """
    broker(using).append([_outgoing(channel, data, event)], on_commit=on_commit)


@_takes_type_by_keyword
async def asend_event(
    channel: str, data: Any = None, *, event: str = "message", using: str = "default", on_commit: bool = True
) -> None:
    """``send_event`` from async code."""
    await sync_to_async(send_event)(channel, data, event=event, using=using, on_commit=on_commit)


@for_sync_code("asend_events(...)")
def send_events(events: Iterable[Any], *, using: str = "default", on_commit: bool = True) -> None:
    """Send several events in their order, all or none: one transaction, and one wake-up for their readers.

    Each is ``(channel, data)``, ``(channel, data, type)``, or a mapping with the keys ``channel``, ``data``, ``event``.
    """
    outgoing = [_unpacked(event) for event in events]
    if outgoing:
        broker(using).append(outgoing, on_commit=on_commit)


async def asend_events(events: Iterable[Any], *, using: str = "default", on_commit: bool = True) -> None:
    """``send_events`` from async code."""
    await sync_to_async(send_events)(list(events), using=using, on_commit=on_commit)


@for_sync_code("sync_to_async(close_channel)(...)")
def close_channel(channel: str, *, using: str = "default") -> None:
    """End every stream of ``channel``, here and in every process, now and later, for as long as events are kept.

    A stream of several channels ends when all of them are closed. An event that is sent afterwards opens the channel
    again.
    """
    broker(using).append([OutgoingEvent(check_channel(channel), "end", "{}")])


@for_sync_code("sync_to_async(cursor)()")
def cursor(using: str = "default") -> Cursor:
    """Return where the log stands: the first line of a view that renders state, whose stream then begins there."""
    return broker(using).cursor()


def _unpacked(event: Any) -> OutgoingEvent:
    if isinstance(event, Mapping):
        if unknown := set(event) - {"channel", "data", "event"}:
            raise TypeError(f"an event to send has no {min(unknown)!r}; its keys are channel, data and event")
        return _outgoing(event["channel"], event.get("data"), event.get("event", "message"))
    if isinstance(event, str) or not 2 <= len(event) <= 3:
        raise TypeError(f"an event to send is (channel, data) or (channel, data, type), not {event!r:.100}")
    return _outgoing(*event)


def _outgoing(channel: str, data: Any, event: str = "message") -> OutgoingEvent:
    name = check_channel(channel)
    if isinstance(data, ServerSentEvent):
        raise InvalidEvent("data", "send the data, and its type as event=...; the id is the log's to give")
    checked = ServerSentEvent("null" if data is None else data, event=event)
    text, kind = checked.data or "", checked.event or "message"
    if "\0" in text:
        raise InvalidEvent("data", "NUL cannot be stored by every database")
    if len(kind) > MAX_TYPE_CHARACTERS:
        raise InvalidEvent("event", f"must be at most {MAX_TYPE_CHARACTERS} characters, not {len(kind)}")
    limit = setting("MAX_EVENT_BYTES")
    if len(text) * 4 > limit and (size := len(text.encode())) > limit:
        raise InvalidEvent(
            "data",
            f'{size} bytes are more than SERVERSENT["MAX_EVENT_BYTES"] allows, which is {limit}. '
            "Send where to fetch it instead",
        )
    return OutgoingEvent(name, kind, text)
