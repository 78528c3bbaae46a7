"""The ASGI application that takes streams out of Django's request cycle.

Under plain Django a long response keeps its request, a thread and a database connection as long as it is open. Here
middleware and view run as ever; then the request is finished in the ordinary way, and the stream is served alone.
"""

import contextvars
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .concurrency.tasks import in_context
from .errors import BrokerUnavailable, StreamRefused
from .logs import printable
from .servers.base import Message, Send
from .serving.source import StreamSource
from .views.disconnect import DisconnectWatcher
from .views.elements import explain_missing_script
from .views.extraction import body_end, extract_stream
from .views.handoff import Handoff, handoff_of
from .views.mistakes import check_is_response, explain_missing_tags
from .views.refusals import instead_of, keep_session_cookie, refusal, set_stream_headers, unavailable
from .views.request import last_event_id
from .views.static_files import is_client_file, static_files_handler

__all__ = ["ASGIHandler", "get_asgi_application"]


logger = logging.getLogger("serversent")


def get_asgi_application() -> "ASGIHandler":
    """Return the project's ASGI application. A drop-in for ``django.core.asgi.get_asgi_application``.

    Every response of type ``text/event-stream`` is handed off, whether or not its view knows of this package::

        # asgi.py
        from serversent.asgi import get_asgi_application

        application = get_asgi_application()
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
            # In a context of its own: otherwise what Django and middleware put there would stay as long as the stream.
            await in_context(
                contextvars.copy_context(),
                self.run_application(handoff.scope(scope), handoff.watcher.receive, send),
            )
            if connection := await handoff.connection(send):
                await connection.serve()
        finally:
            await handoff.close()

    async def run_application(self, scope: Any, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Run Django's part, which ends with the headers if a stream is handed off."""
        await super().__call__(scope, receive, send)

    # Django calls one of these two around the view, inside all middleware.

    async def _get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return _marked(await super()._get_response_async(request))  # type: ignore[misc]

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        return _marked(super()._get_response(request))  # type: ignore[misc]

    def check_response(self, response: Any, callback: Any, name: str | None = None) -> None:
        if name is None:  # the response of the view itself
            check_is_response(callback, response)
        super().check_response(response, callback, name)

    def process_exception_by_middleware(self, exception: Exception, request: HttpRequest) -> Any:
        explain_missing_tags(exception)
        return super().process_exception_by_middleware(exception, request)

    async def run_get_response(self, request: HttpRequest) -> Any:
        response: Any = await super().run_get_response(request)
        _check_old_session(request)
        if request.headers.get("Accept") == "text/event-stream":
            keep_session_cookie(response)
        if _is_stream(response):
            response._serversent_request = request
        else:
            explain_missing_script(request, response)
        return response

    async def read_body(self, receive: Callable[[], Awaitable[Message]]) -> Any:
        body = await super().read_body(receive)
        watcher = getattr(receive, "__self__", None)
        if isinstance(watcher, DisconnectWatcher):
            watcher.hold_body(body)
        return body

    async def send_response(self, response: Any, send: Send) -> None:
        request = response.__dict__.pop("_serversent_request", None)
        if response.headers.get("Content-Encoding") == "identity":
            del response.headers["Content-Encoding"]  # it was there for GZipMiddleware
        handoff = None if request is None else handoff_of(request)
        stream = None if handoff is None else extract_stream(request, response, handoff)
        if isinstance(stream, HttpResponse):
            await super().send_response(stream, send)
        elif stream is None or handoff is None:
            await super().send_response(response, send)
        else:
            await self._hand_off(request, response, stream, handoff, send)

    async def _hand_off(
        self, request: HttpRequest, response: Any, stream: StreamSource, handoff: Handoff, send: Send
    ) -> None:
        handoff.own_stream(stream)
        try:
            handoff.admit(request)
            await stream.begin(last_event_id(request))
        except BrokerUnavailable as error:
            await super().send_response(instead_of(response, unavailable(error)), send)
            return
        except StreamRefused as error:
            await super().send_response(instead_of(response, refusal(error)), send)
            return
        headers = _headers(response)
        try:
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        except Exception as error:
            # Most often the client has left: the server's words are enough, without a traceback.
            where = printable(request.path)
            logger.warning("The server did not take the headers of a stream at %s: %s", where, error)
        else:
            handoff.serve_after_request(body_end(request, stream))


def _check_old_session(request: HttpRequest) -> None:
    """End the streams of a session that this request has flushed, or given another key.

    Other processes find out when they look the sessions up.
    """
    session, handoff = getattr(request, "session", None), handoff_of(request)
    if session is None or handoff is None or not handoff.registry.has_sessions:
        return
    old = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if old and getattr(session, "session_key", old) != old:
        handoff.registry.check_session(old)


def _headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return headers


def _marked(response: HttpResponseBase) -> HttpResponseBase:
    if _is_stream(response):
        set_stream_headers(response)
    return response


def _is_stream(response: HttpResponseBase) -> bool:
    return response.streaming and response.headers.get("Content-Type", "").lower().startswith("text/event-stream")
