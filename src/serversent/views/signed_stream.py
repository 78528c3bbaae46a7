"""The view behind the URLs that ``sse_url`` signs."""

import logging
import time

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..channels.subscription import Subscription
from ..errors import StreamRefused, TooManyChannels, UnknownBroker
from ..logs import printable
from .channel_response import channel_response, refused
from .refusals import refusal
from .signed_urls import read_signed

__all__ = ["signed_stream"]

logger = logging.getLogger("serversent")


def signed_stream(request: HttpRequest) -> HttpResponseBase:
    """Serve the channels of a URL that ``sse_url`` has signed, to whom it was signed for."""
    if answer := refused(request):
        return answer
    try:
        signed = read_signed(request)
    except StreamRefused as error:
        logger.info("A signed URL was refused at %s: %s", printable(request.path), error)
        return refusal(error)
    name = "serversent.signed_stream"
    try:
        seconds = max(0.0, signed.expires_at - time.time())
        subscription = Subscription(signed.channels, start=signed.start, expires=seconds)
        return channel_response(
            request, subscription, name, signed.using, url_identity=signed.identity, begins_at=signed.cursor
        )
    except (TooManyChannels, UnknownBroker) as error:  # the settings were others when it was signed
        logger.warning("The stream %s was refused: %s", name, error)
        return refusal(StreamRefused(403, "This address is not valid any more."))


# Not for LoginRequiredMiddleware: a URL may be signed for an anonymous session.
signed_stream.login_required = False  # type: ignore[attr-defined]
