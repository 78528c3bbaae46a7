"""The ASGI application that takes streams out of Django's request cycle.

Under plain Django a long response keeps its request, a thread and a database connection as long as it is open. Here
middleware and view run as ever; then the request is finished in the ordinary way, and the stream is served alone.
"""

import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from .concurrency.sync_iterator import ThreadedIterator
from .concurrency.tasks import in_context
from .errors import BrokerUnavailable, StreamRefused, TooManySyncStreams
from .logs import printable
from .servers.adapters import Message, Send
from .serving.channel_stream import ChannelDriver
from .serving.connection import Ends
from .serving.failures import Outcome
from .serving.generator_stream import StreamDriver
from .serving.source import HEARTBEAT_FRAME, Driver, opening_frame
from .views.elements import explain_missing_script
from .views.handoff import Handoff, handoff_of
from .views.mistakes import check_is_response, explain_missing_tags
from .views.refusals import keep_session_cookie, refusal, set_stream_headers, too_many_streams, unavailable
from .views.request import connection_setup, last_event_id
from .views.response import EventStreamResponse
from .views.static_files import is_client_file, static_files_handler

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
        if is_client_file(scope):
            await static_files_handler()(scope, receive, send)
            return
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

    def check_response(self, response: Any, callback: Any, name: str | None = None) -> None:
        if name is None:  # a view's own
            check_is_response(callback, response)
        super().check_response(response, callback, name)

    def process_exception_by_middleware(self, exception: Exception, request: HttpRequest) -> Any:
        explain_missing_tags(exception)
        return super().process_exception_by_middleware(exception, request)

    async def run_get_response(self, request: HttpRequest) -> Any:
        response: Any = await super().run_get_response(request)
        _end_streams_of_old_session(request)
        if request.headers.get("Accept") == "text/event-stream":
            keep_session_cookie(response)
        if _is_stream(response):
            response._serversent_request = request
        else:
            explain_missing_script(request, response)
        return response

    async def read_body(self, receive: Callable[[], Awaitable[Message]]) -> Any:
        body = await super().read_body(receive)
        handoff = getattr(receive, "__self__", None)
        if isinstance(handoff, Handoff):
            handoff.keep_body(body)
        return body

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
            await self._hand_off(request, response, stream, send)

    async def _hand_off(self, request: HttpRequest, response: Any, stream: "_Stream", send: Send) -> None:
        handoff = handoff_of(request)
        assert handoff is not None
        handoff.take(stream.driver)
        try:
            handoff.take_place(request, None if stream.channels is None else stream.channels.signed)
            if stream.channels is not None:
                await stream.channels.begin(last_event_id(request))
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
            where = printable(request.path)
            logger.warning("The server did not take the headers of a stream at %s: %s", where, error)
        else:
            handoff.arm(stream.opening, retries=stream.retries, ends=stream.ends)


def _end_streams_of_old_session(request: HttpRequest) -> None:
    """End the streams of a session that this request has flushed, or given another key: they are the old one's.

    Other processes learn of it when they look the sessions up.
    """
    session, handoff = getattr(request, "session", None), handoff_of(request)
    if session is None or handoff is None or not handoff.connections.has_sessions:
        return
    old = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if old and getattr(session, "session_key", old) != old:
        handoff.connections.look_at_session(old)


class _Stream(NamedTuple):
    """A stream that was taken out of its response.

    ``channels``: the driver that has to begin before the headers, if it is one of channels. ``opening`` comes first.
    ``retries``: whether its end may say when its client should come back. ``ends``: when its body ends properly.
    """

    driver: Driver
    channels: ChannelDriver | None
    opening: bytes
    retries: bool
    ends: Ends


class _WrappedDriver(StreamDriver):
    """The driver of a stream of ours that a middleware has wrapped: ``inner`` knows how that ended."""

    __slots__ = ("inner",)

    inner: Driver

    @property
    def outcome(self) -> Outcome:
        return self.inner.outcome if super().outcome == "complete" else super().outcome


def _take_stream(request: HttpRequest, response: Any) -> _Stream | HttpResponse | None:
    """Return the stream of a response, or a response instead, or ``None``: Django serves it."""
    if request.method == "HEAD":
        return _instead_of(response, HttpResponse(status=response.status_code))
    handoff = handoff_of(request)
    assert handoff is not None
    if not isinstance(response, EventStreamResponse):
        inner = handoff.unserved()
        try:
            return (
                _take_plain_stream(request, response)
                if inner is None
                else _take_wrapped_stream(request, response, inner)
            )
        except TooManySyncStreams as error:
            return _instead_of(response, too_many_streams(error))
    if not response.body_is_ours:
        return _take_wrapped_stream(request, response, response)
    driver = response.detach()
    if isinstance(driver, StreamDriver):
        taken = _take_closers(response, lambda close: close == request.close and _has_files(request))
        response.close_with(*taken, *handoff.take_body())
        return _Stream(driver, None, opening_frame(of_channels=False), retries=True, ends=_ends(request))
    opening = opening_frame(of_channels=True, url_expires_at=driver.url_expires_at)
    return _Stream(driver, driver, opening, retries=True, ends=_ends(request, driver))


def _ends(request: HttpRequest, channels: ChannelDriver | None = None, *, usually: Ends = "always") -> Ends:
    """Return when the body of a stream ends properly.

    To some clients that means that it is complete: Datastar does not come back, and others take what there is for all.
    """
    is_datastar = request.headers.get("Datastar-Request") is not None
    return "if complete" if is_datastar or not (channels is None or channels.control_events) else usually


def _take_wrapped_stream(request: HttpRequest, response: Any, ours: EventStreamResponse) -> _Stream | None:
    """Take a stream of ours out with what a middleware has put around it, which yields all that the client gets.

    The middleware has set the content of the response, or has made a response of its own around the content.
    """

    def belongs_to_stream(close: Callable[[], Any]) -> bool:
        return close != ours.close_stream and (close != request.close or _has_files(request))

    body, _ = _iterator_of(response)
    if body is None:
        return None
    inner = ours.driver
    channels = inner if isinstance(inner, ChannelDriver) else None
    is_ours = "Content-Encoding" not in response.headers  # otherwise a comment of ours would not be understood
    driver = _WrappedDriver(
        ours.detach_wrapped(body),
        name=inner.name,
        encode=_to_utf8,
        end_frame=b"",
        heartbeat=HEARTBEAT_FRAME if is_ours else b"",
        prepare=ours.prepare,
        channels=inner.channels,
        closers=(inner.cancel, *_take_closers(response, belongs_to_stream)),
    )
    driver.inner = inner
    return _Stream(driver, channels, b"", retries=is_ours, ends=_ends(request, channels))


def _take_plain_stream(request: HttpRequest, response: Any) -> _Stream | None:
    """Take somebody's own frames out of a plain response. They are sent as they are."""

    def belongs_to_stream(close: Callable[[], Any]) -> bool:
        return close != request.close or _has_files(request)

    charset = response.charset.lower()
    to_bytes = _to_utf8 if charset in ("utf-8", "utf8") else functools.partial(_to_bytes, charset)
    prepare = connection_setup(request)
    values, is_async = _iterator_of(response)
    if values is None:
        return None
    handoff = handoff_of(request)
    assert handoff is not None
    if not is_async:
        values = ThreadedIterator(values, prepare=prepare)
    taken = (*_take_closers(response, belongs_to_stream), *handoff.take_body())
    closers = _close_later(response)
    if is_async:
        closers += taken
    else:
        values.close_with(*taken)  # closed where the iterator runs, in its thread
    driver = StreamDriver(
        values,
        name=printable(request.path),
        encode=to_bytes,
        end_frame=b"",
        heartbeat=b"" if "Content-Encoding" in response.headers else HEARTBEAT_FRAME,
        prepare=prepare,
        closers=closers,
    )
    # One that fails is cut, as under plain Django.
    return _Stream(driver, None, b"", retries=False, ends=_ends(request, usually="unless failed"))


_ITERATED_BY_DJANGO = (StreamingHttpResponse.__aiter__, EventStreamResponse.__aiter__)


def _iterator_of(response: Any) -> tuple[Any, bool]:
    """Return the iterator of a response, and whether it is async; ``None`` if it has none.

    Not every response that streams is a ``StreamingHttpResponse``.
    """
    if isinstance(response, StreamingHttpResponse) and type(response).__aiter__ in _ITERATED_BY_DJANGO:
        return response._iterator, response.is_async  # type: ignore[attr-defined]
    if hasattr(response, "__aiter__"):
        return aiter(response), True
    return (iter(response), False) if hasattr(response, "__iter__") else (None, False)


def _close_later(response: Any) -> tuple[Callable[[], Any], ...]:
    """Return what closes a response whose class has a ``close()`` of its own. It belongs to the end of the stream.

    Django calls ``close()`` when the request is over: it runs what the response was given to close, and sends
    ``request_finished``. At the end of the stream the class's own part of ``close()`` follows, without the signal.
    """
    kind = type(response)
    if kind.close in (HttpResponseBase.close, EventStreamResponse.close):
        return ()

    def close_request() -> None:
        del response.close
        HttpResponseBase.close(response)
        response.__class__ = _without_signal(kind)  # type: ignore[arg-type]

    response.close = close_request
    return (lambda: response.close(),)


class _WithoutSignal(HttpResponseBase):
    def close(self) -> None:
        pass


@functools.cache
def _without_signal(kind: type[HttpResponseBase]) -> type[HttpResponseBase]:
    """Return the class with nothing above the ``close()`` of its own."""
    return type(kind.__name__, (kind, _WithoutSignal), {"__module__": kind.__module__})


def _take_closers(response: Any, belongs: Callable[[Callable[[], Any]], bool]) -> tuple[Callable[[], Any], ...]:
    """Take away from a response what must not be closed when the request is finished, but when the stream is."""
    taken = tuple(close for close in response._resource_closers if belongs(close))
    response._resource_closers = [close for close in response._resource_closers if close not in taken]
    return taken


def _has_files(request: HttpRequest) -> bool:
    """Whether the request has uploaded files, which its ``close()`` closes."""
    return bool(getattr(request, "_files", None))


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


def _instead_of(response: Any, other: HttpResponse) -> HttpResponse:
    """Answer with ``other``, and with what middleware has given the response: cookies, CORS and security headers."""
    is_head = other.status_code == response.status_code
    for name, value in response.items():
        if is_head or name.lower() not in _BODY_HEADERS:
            other.headers.setdefault(name, value)
    if is_head:
        other.headers["Content-Type"] = response.headers["Content-Type"]
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
    return response


def _is_stream(response: HttpResponseBase) -> bool:
    return response.streaming and response.headers.get("Content-Type", "").lower().startswith("text/event-stream")
