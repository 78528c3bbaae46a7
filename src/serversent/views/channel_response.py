"""What a channel view has returned becomes a response."""

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

from ..access.identity import Identity
from ..brokers import broker
from ..channels.subscription import Subscription
from ..wire.event import END_ID
from .handoff import keep_until_served
from .refusals import do_not_come_back, headers_alone
from .request import connection_setup, is_wsgi, last_event_id
from .response import EventStreamResponse
from .wsgi import is_runserver

__all__ = ["channel_response", "refused"]


def refused(request: HttpRequest) -> HttpResponseBase | None:
    """Return the answer to a request that no stream of channels is for, whatever its view says."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return do_not_come_back() if last_event_id(request) == END_ID else None


def channel_response(
    request: HttpRequest,
    returned: Any,
    name: str,
    using: str,
    *,
    signed: Identity | None = None,
    begins_at: str = "",
    on_written: Callable[[bytes], None] | None = None,
) -> HttpResponseBase:
    """Return the stream of what a channel view has returned, or the response that this is.

    ``begins_at``: a cursor for who has none. ``on_written``: is told of what was written to any stream of the same
    channels, in their event loop, once or more often.
    """
    if isinstance(returned, HttpResponseBase):
        return returned
    if not isinstance(returned, Subscription):
        if returned is None or isinstance(returned, (bytes, dict)) or not isinstance(returned, (str, Iterable)):
            raise TypeError(
                f"{name} returned {type(returned).__name__}; a @channel_stream view returns the name of a channel, "
                "several, a Subscription or a response"
            )
        if not isinstance(returned, str) and not (returned := list(returned)):
            return do_not_come_back()
        returned = Subscription(returned)
    broker(using)  # an unknown alias is an error of the view, not of the stream
    if request.method == "HEAD":
        return headers_alone()
    response = EventStreamResponse(
        returned,
        name=name,
        using=using,
        last_event_id=last_event_id(request),
        begins_at=begins_at,
        signed=signed,
        on_written=on_written,
        prepare=connection_setup(request),
        wsgi=is_wsgi(request),
        polled=is_wsgi(request) and not is_runserver(request),
    )
    keep_until_served(request, response)
    return response
