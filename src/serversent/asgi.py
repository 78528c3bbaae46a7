"""The ASGI application that takes streams out of Django's request cycle.

Under plain Django a long response keeps its request, a thread and a database connection as long as it is open. Here
middleware and view run as ever; then the request is finished in the ordinary way, and the stream is served alone.
"""

import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import django
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .byhand import in_context
from .connection import opening_frame
from .driver import Driver, StreamDriver
from .errors import BrokerUnavailable, StreamRefused, TooManySyncStreams
from .handoff import Handoff, handoff_of, keep_body
from .request import last_event_id
from .response import EventStreamResponse, refusal, set_stream_headers, too_many_streams, unavailable
from .servers import Message, Send
from .subscribe import ChannelDriver
from .threads import ThreadedIterator

__all__ = ["ASGIHandler", "get_asgi_application"]


logger = logging.getLogger("serversent")


def get_asgi_application() -> "ASGIHandler":
    """Return the project's ASGI application. A drop-in for ``django.core.asgi.get_asgi_application``.

    Every response of type ``text/event-stream`` is handed off, whether or not its view knows of this package.
    """
    django.setup(set_prefix=False)
    return ASGIHandler()


class ASGIHandler(DjangoASGIHandler):
    """Django's handler, which gives a stream away as soon as its headers are sent."""

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        handoff = Handoff(receive)
        try:
            # In a context of its own: what Django and middleware put there would stay as long as the stream is open.
            await in_context(
                contextvars.copy_context(), self.run_application(handoff.scope(scope), handoff.receive, send)
            )
            if connection := await handoff.connection(send):
                await connection.serve()
        finally:
            await handoff.close()

    async def run_application(self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Django's own part, which ends with the headers where a stream was handed off."""
        await super().__call__(scope, receive, send)

    # Django calls one of these two around the view, inside all middleware.

    async def _get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return _marked(request, await super()._get_response_async(request))  # type: ignore[misc]

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        return _marked(request, super()._get_response(request))  # type: ignore[misc]

    async def run_get_response(self, request: HttpRequest) -> Any:
        response: Any = await super().run_get_response(request)
        if _is_stream(response):
            response._serversent_request = request
        return response

    async def send_response(self, response: Any, send: Send) -> None:
        request = response.__dict__.pop("_serversent_request", None)
        if response.headers.get("Content-Encoding") == "identity":
            del response.headers["Content-Encoding"]  # it was there for GZipMiddleware
        stream = None if request is None else _take_stream(request, response)
        if isinstance(stream, HttpResponse):
            await super().send_response(stream, send)
        elif stream is None:
            await super().send_response(response, send)
        else:
            driver, opening = stream
            handoff = handoff_of(request)
            assert handoff is not None
            handoff.take(driver)
            try:
                signed = driver.signed if isinstance(driver, ChannelDriver) else None
                handoff.take_place(request, signed)
                if isinstance(driver, ChannelDriver):
                    await driver.begin(last_event_id(request))
            except BrokerUnavailable as error:
                await super().send_response(_instead_of(response, unavailable(error)), send)
                return
            except StreamRefused as error:
                await super().send_response(_instead_of(response, refusal(error)), send)
                return
            headers = _headers(response)
            try:
                await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            except Exception as error:
                # Most often a client that has left. A traceback would be noise, for it the server's word is enough.
                logger.warning("The server did not take the headers of a stream at %s: %s", request.path, error)
            else:
                handoff.arm(opening)


def _take_stream(request: HttpRequest, response: Any) -> tuple[Driver, bytes] | HttpResponse | None:
    """Return the stream of a response and its opening, or a response instead, or ``None``: Django serves it."""
    if request.method == "HEAD":
        return _instead_of(response, HttpResponse(status=response.status_code, headers=dict(response.headers)))
    if not isinstance(response, EventStreamResponse):
        try:
            return _take_plain_stream(request, response), b""
        except TooManySyncStreams as error:
            return _instead_of(response, too_many_streams(error))
    if not response.body_is_ours:
        return None
    driver = response.detach()
    if isinstance(driver, StreamDriver):
        driver.close_with(*_take_closers(response, lambda close: close == request.close and _has_files(request)))
    return driver, opening_frame(of_channels=isinstance(driver, ChannelDriver))


def _take_plain_stream(request: HttpRequest, response: Any) -> StreamDriver:
    """Take somebody's own frames out of a plain response. They are sent as they are."""

    def belongs_to_stream(close: Callable[[], Any]) -> bool:
        return close != request.close or _has_files(request)

    charset = response.charset.lower()
    to_bytes = _to_utf8 if charset in ("utf-8", "utf8") else functools.partial(_to_bytes, charset)
    values = response._iterator
    closers: tuple[Callable[[], Any], ...] = ()
    if response.is_async:
        closers = _take_closers(response, belongs_to_stream)
    else:
        # These are closed where the iterator runs, in its thread.
        values = ThreadedIterator(values)
        values.close_with(*_take_closers(response, belongs_to_stream))
    return StreamDriver(values, name=request.path, encode=to_bytes, end_frame=b"", closers=closers)


def _take_closers(response: Any, belongs: Callable[[Callable[[], Any]], bool]) -> tuple[Callable[[], Any], ...]:
    """Take away from a response what must not be closed when the request is finished, but when the stream is."""
    taken = tuple(close for close in response._resource_closers if belongs(close))
    response._resource_closers = [close for close in response._resource_closers if close not in taken]
    return taken


def _has_files(request: HttpRequest) -> bool:
    """Whether the request has uploaded files, which its ``close()`` closes."""
    return bool(getattr(request, "_files", None))


def _instead_of(response: Any, other: HttpResponse) -> HttpResponse:
    other.cookies = response.cookies
    return other


def _to_bytes(charset: str, chunk: object) -> bytes:
    """What Django does with a chunk, without keeping the response for it."""
    if isinstance(chunk, str):
        return chunk.encode(charset)
    return bytes(chunk) if isinstance(chunk, (bytes, memoryview)) else str(chunk).encode(charset)


def _to_utf8(chunk: object) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else _to_bytes("utf-8", chunk)


def _headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return headers


def _marked(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if _is_stream(response):
        set_stream_headers(response)
        keep_body(request)
    return response


def _is_stream(response: HttpResponseBase) -> bool:
    return response.streaming and response.headers.get("Content-Type", "").lower().startswith("text/event-stream")
