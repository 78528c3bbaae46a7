"""Answers instead of a stream: refusals, HEAD, and the 204 that ends a client."""

import logging
import random
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from ..errors import BrokerUnavailable, StreamRefused, TooManySyncStreams
from ..signals import send, stream_refused

__all__ = [
    "KeepsSession",
    "head_response",
    "instead_of",
    "keep_session_cookie",
    "no_content",
    "refusal",
    "set_stream_headers",
    "too_many_streams",
    "unavailable",
]

logger = logging.getLogger("serversent")


CONTENT_TYPE = "text/event-stream; charset=utf-8"

RETRY_AFTER_SECONDS = 5


def set_stream_headers(response: HttpResponseBase) -> None:
    """Set the headers that keep proxies and middleware from buffering or changing a stream, unless the view has."""
    response.headers.setdefault("Cache-Control", "no-cache, no-transform")
    response.headers.setdefault("X-Accel-Buffering", "no")
    response.headers.setdefault("Incremental", "?1")  # the same for all proxies, by the standard to come
    # GZipMiddleware leaves a response alone that has an encoding. The hand-off takes it off again.
    response.headers.setdefault("Content-Encoding", "identity")


class KeepsSession:
    """A response that never takes the session's cookie away.

    A client comes back by itself, perhaps with the cookie of a session that was just replaced, by a login or another
    password. SessionMiddleware would answer that with the removal of the cookie, which is the new session's by then.
    """

    def delete_cookie(self, key: str, *args: Any, **kwargs: Any) -> None:
        if key != settings.SESSION_COOKIE_NAME:
            super().delete_cookie(key, *args, **kwargs)  # type: ignore[misc]


def keep_session_cookie(response: HttpResponseBase) -> None:
    """Keep the cookie in another response to a client of streams: a redirect to the login, a 401."""
    cookie = response.cookies.get(settings.SESSION_COOKIE_NAME)
    if cookie is not None and not cookie.value:
        del response.cookies[settings.SESSION_COOKIE_NAME]


class _Answer(KeepsSession, HttpResponse):
    pass


def head_response() -> HttpResponse:
    """Return the answer to HEAD: the headers of a stream."""
    response = HttpResponse(content_type=CONTENT_TYPE)
    set_stream_headers(response)
    del response.headers["Content-Encoding"]
    return response


def unavailable(error: BrokerUnavailable) -> HttpResponse:
    """Return the answer to a stream whose broker cannot be used now."""
    logger.error("A stream was refused: %s", error)
    why = f" {error} (shown because DEBUG is on)" if settings.DEBUG else ""
    return refusal(StreamRefused(503, f"Events are not available now.{why}"))


def too_many_streams(error: TooManySyncStreams) -> HttpResponse:
    """Return the answer to a stream for which there is no thread."""
    logger.warning("A stream was refused: %s", error)
    return refusal(StreamRefused(503, "Too many open streams."))


def refusal(error: StreamRefused) -> HttpResponse:
    """Return the answer to a stream that may not be opened now."""
    send(stream_refused, StreamRefused, status=error.status, error=error)
    response = _Answer(f"{error}\n", status=error.status, content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    if error.status in (429, 503):
        # Spread, so that those who were refused at one time do not come back at one time.
        seconds = random.randint(RETRY_AFTER_SECONDS, 2 * RETRY_AFTER_SECONDS)
        response.headers["Retry-After"] = str(seconds)
        response.content += f"Try again in {seconds} seconds.\n".encode()
    return response


def no_content() -> HttpResponse:
    """Return 204, after which a conforming client does not come back."""
    # A cache must not give it to clients that have not reached the end.
    return _Answer(status=204, headers={"Cache-Control": "no-store"})


# Headers of a response that are about its body.
_BODY_HEADERS = {
    "content-type",
    "content-length",
    "content-encoding",
    "content-language",
    "etag",
    "incremental",
    "x-accel-buffering",
}


def instead_of(response: Any, other: HttpResponse) -> HttpResponse:
    """Return ``other``, with the cookies and headers that middleware has set on the response: CORS, security
    headers."""
    is_head = other.status_code == response.status_code
    for name, value in response.items():
        if is_head or name.lower() not in _BODY_HEADERS:
            other.headers.setdefault(name, value)
    if is_head:
        other.headers["Content-Type"] = response.headers["Content-Type"]
    other.cookies = response.cookies
    return other
