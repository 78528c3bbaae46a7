"""Publishing: validate an event, serialise it once, and give it to the broker."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from .brokers import OutgoingEvent, broker
from .channels import ENDED, REVOKED, check_channel
from .conf import setting
from .cursors import Cursor
from .errors import InvalidEvent
from .event import ServerSentEvent
from .identity import session_ids, user_id
from .mistakes import for_sync_code, takes_type_by_keyword
from .revocations import Revocation

__all__ = [
    "aend_streams",
    "asend_event",
    "asend_events",
    "close_channel",
    "cursor",
    "end_logins",
    "end_old_key",
    "end_session",
    "end_streams",
    "send_event",
    "send_events",
]

MAX_TYPE_CHARACTERS = 200


@takes_type_by_keyword
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


@takes_type_by_keyword
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


@for_sync_code("aend_streams(...)")
def end_streams(*, user: Any = None, session: Any = None, channel: str | None = None) -> None:
    """End the open streams of a user, a session or a channel, in every process, and refuse URLs signed before.

    ``user``: a user or a primary key. ``session``: a session (``request.session``) or its key. ``channel``: a name.
    What is named together has to hold together. Clients come back and are judged anew: by the view of their stream,
    or by a URL that is signed later. In a transaction it is done with its commit. It goes through the broker
    ``"default"``, whatever the broker of the streams.

    Raises ``TypeError`` if nothing is named, ``InvalidChannel`` and ``BrokerUnavailable``.
    """
    _revoke(REVOKED, user, session, channel)


async def aend_streams(*, user: Any = None, session: Any = None, channel: str | None = None) -> None:
    """``end_streams`` from async code."""
    await sync_to_async(end_streams)(user=user, session=session, channel=channel)


def end_logins(user: Any) -> None:
    """End the streams of a user whose password is another. Their URLs need no refusal: Django has ended the sessions.

    All but the one in which the password was changed, if that was done in one. Its URLs go on.
    """
    _revoke(ENDED, user, None, None)


def end_session(user: Any, session: Any) -> None:
    """End the streams of a user's session that is over. Its URLs need no refusal: they are for one that is there.

    Of a session that has no name, all of the user's.
    """
    if session_ids(session):  # also those that nobody asked for whom they are
        _revoke(ENDED, None, session, None, is_over=True)
    else:
        _revoke(ENDED, user, None, None)


def end_old_key(key: str) -> None:
    """End the streams that were opened under a session's old key. What is opened later is judged anew."""
    _revoke(ENDED, None, key, None)


def _revoke(control: str, user: Any, session: Any, channel: str | None, *, is_over: bool = False) -> None:
    found = Revocation(
        user="" if user is None else _user_key(user),
        sessions=() if session is None else session_ids(session),
        channel="" if channel is None else check_channel(channel),
        is_over=is_over,
        at=time.time(),
    )
    if user is None and session is None and channel is None:
        raise TypeError("end_streams() needs a user, a session or a channel")
    if (user is not None and not found.user) or (session is not None and not found.sessions):
        raise TypeError("end_streams() needs a user who has a primary key, and a session that has one")  # not everybody
    broker("default").append([OutgoingEvent(control, "revoked", found.data())])


def _user_key(user: Any) -> str:
    """Return the primary key of a user. Raises ``TypeError`` for a name where a key is meant."""
    if user != "" and not hasattr(user, "is_authenticated") and apps.is_installed("django.contrib.auth"):
        try:
            get_user_model()._meta.pk.to_python(user)
        except ValidationError:
            raise TypeError(f"{user!r} is no primary key of a user. Pass the user, or user.pk.") from None
    return user_id(user)


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
