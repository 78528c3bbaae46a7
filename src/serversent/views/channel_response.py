"""The response to the value that a channel view has returned."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

from ..access.identity import Identity
from ..brokers import broker
from ..channels.subscription import Subscription
from ..serving.grant import Grant
from ..wire.event import END_ID
from .handoff import track_until_served
from .refusals import head_response, no_content
from .request import connection_setup, is_wsgi, last_event_id
from .response import EventStreamResponse
from .wsgi import is_runserver

__all__ = ["channel_response", "refused"]


def refused(request: HttpRequest) -> HttpResponseBase | None:
    """Return the answer to a request that cannot have a stream of channels; ``None`` if it can."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    return no_content() if last_event_id(request) == END_ID else None


def channel_response(
    request: HttpRequest,
    returned: Any,
    name: str,
    using: str,
    *,
    url_identity: Identity | None = None,
    begins_at: str = "",
) -> HttpResponseBase:
    """Return the stream of the channels that a view has returned, or the response that it has returned.

    ``begins_at``: the cursor at which a client without its own begins. ``url_identity``: for whom the URL was signed.
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
            return no_content()
        returned = Subscription(returned)
    broker(using)  # an unknown alias is an error of the view, not of the stream
    if request.method == "HEAD":
        return head_response()
    grant = Grant(
        returned,
        name=name,
        using=using,
        last_event_id=last_event_id(request),
        begins_at=begins_at,
        url_identity=url_identity,
        prepare=connection_setup(request),
    )
    is_polled = is_wsgi(request) and not is_runserver(request)
    response = EventStreamResponse(grant, prepare=grant.prepare, wsgi=is_wsgi(request), polled=is_polled)
    track_until_served(request, response)
    return response
