"""The hand-off of one request: a stream is kept while Django works, armed once its headers are sent, then served."""

import asyncio
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any

from django.http import HttpRequest

from ..access.identity import Identity, identity_of, is_for_another, known_user
from ..conf import setting
from ..errors import ANOTHERS_PAGE, StreamRefused
from ..servers.adapters import Message, Receive, Send, may_receive_again
from ..serving.connection import Connection, Ends
from ..serving.generator_stream import StreamDriver
from ..serving.registry import Place, open_connections
from ..serving.shutdown import drain_on_stop
from ..serving.source import Driver
from .response import EventStreamResponse

__all__ = ["Handoff", "check_place", "handoff_of", "keep_until_served"]


_SCOPE_KEY = "serversent.handoff"


class Handoff:
    """Holds what must outlive Django's part of one request: the server's channel back, and the stream.

    ``receive`` stands before the server's. The call that waits for the disconnect is made once and never cancelled,
    unless the server is known to bear it: Django cancels the one that it makes, some servers report a disconnect
    once only, and one reports a false disconnect to a call that is made after a cancelled one.
    """

    __slots__ = (
        "_body",
        "_body_received",
        "_closed",
        "_disconnect",
        "_driver",
        "_ends",
        "_kept",
        "_may_receive_again",
        "_opening",
        "_places",
        "_receive",
        "_request",
        "_retries",
        "_since",
        "connections",
        "identity",
    )

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._may_receive_again = may_receive_again(receive)
        self._body_received = False
        self._body: Callable[[], None] | None = None  # closes the request's body, if it has one
        self._request: weakref.ref[HttpRequest] | None = None  # set while a generator may still ask for its user
        self._disconnect: asyncio.Future[Message] | None = None
        self._kept: list[EventStreamResponse] = []
        self._driver: Driver | None = None
        self._opening: bytes | None = None  # set once the stream is armed
        self._retries = False
        self._ends: Ends = "always"
        self._closed = False  # the server gave up on the request, and Django's work on it may still go on
        self._since = time.monotonic()
        self.connections = open_connections()
        self._places: list[Place] = []  # taken, to be given back
        self.identity: Identity | None = None

    def scope(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        return {**scope, _SCOPE_KEY: self}

    async def receive(self) -> Message:
        if not self._body_received:
            message = await self._receive()
            self._body_received = not message.get("more_body", False)
            return message
        return await self._gone()

    def _gone(self) -> Awaitable[Message]:
        """Return what waits for the disconnect. It may be cancelled, and asked for again."""
        if self._may_receive_again:
            return self._receive()
        if self._disconnect is None:
            self._disconnect = asyncio.ensure_future(self._receive())
        return asyncio.shield(self._disconnect)

    def keep_body(self, body: IO[bytes]) -> None:
        """Let a body live as long as the stream, which may read it. Django closes it with the request."""
        body.seek(0, 2)
        is_empty = not body.tell()
        body.seek(0)
        if not is_empty:
            self._body = body.close
            body.close = self._request_is_over  # type: ignore[method-assign]

    def _request_is_over(self) -> None:
        if self._opening is None:
            self._close_body()

    def take_body(self) -> tuple[Callable[[], None], ...]:
        """Return what closes the body, to be called when the stream's generator is closed."""
        body, self._body = self._body, None
        return () if body is None else (body,)

    def unserved(self) -> EventStreamResponse | None:
        """Return the response of ours that is not served, if it is one: a middleware may have put it into another."""
        return self._kept[0] if len(self._kept) == 1 and not self._kept[0].is_detached else None

    def _close_body(self) -> None:
        close, self._body = self._body, None
        if close is not None:
            close()

    def keep(self, response: EventStreamResponse) -> None:
        """Close the response's stream at the end, should it not be served: replaced, raised over, client gone."""
        response.is_kept = True
        if self._closed:
            response.close_stream()
        else:
            self._kept.append(response)

    def take_place(self, request: HttpRequest, signed: Identity | None) -> None:
        """Take a place for a stream. Raises ``StreamRefused``."""
        self.identity = signed or identity_of(request, self._since)
        if signed is None and not self.identity.user and isinstance(self._driver, StreamDriver):
            self._request = weakref.ref(request)
        if is_for_another(request, self.identity.user):
            raise StreamRefused(401, ANOTHERS_PAGE)
        if not self._closed:
            self._places = self.connections.take_place(self.identity)

    def identify(self) -> Identity | None:
        """Return who listens, if the generator has asked for its user since the stream began. Takes their places.

        Raises ``StreamRefused``.
        """
        request = None if self._request is None else self._request()
        if request is None:
            self._request = None
            return None
        if not known_user(request):
            return None
        self._request = None
        self.identity = identity = identity_of(request, self._since)
        self.connections.give_back(self._places)
        self._places = []
        self._places = self.connections.take_place(identity)
        return identity

    def take(self, driver: Driver) -> None:
        """Own a stream from here on: it is closed with the request unless it is armed and served."""
        self._driver = driver
        if self._closed:
            driver.cancel()

    def arm(self, opening: bytes, *, retries: bool, ends: Ends) -> None:
        """Serve the stream when Django is done with the request. Its headers are sent.

        ``retries``: whether it may say when its client should come back. ``ends``: when its body ends properly.
        """
        self._opening = opening
        self._retries = retries
        self._ends = ends

    async def connection(self, send: Send) -> Connection | None:
        """Return what serves the armed stream, if there is one. Nothing of the request lives on in it."""
        if self._driver is None or self._opening is None or self.identity is None:
            return None
        await self._close_kept()
        drain_on_stop(send)
        identify = self.identify if self._request is not None else None
        return Connection(
            send,
            self._gone,
            self._driver,
            self._opening,
            self.identity,
            retries=self._retries,
            ends=self._ends,
            identify=identify,
        )

    async def close(self) -> None:
        """Leave nothing behind, wherever the request ended."""
        self._closed = True
        self.connections.give_back(self._places)
        self._places = []
        if self._disconnect is not None:
            self._disconnect.cancel()
        await self._close_kept()
        if self._driver is not None:
            self._driver.cancel()
            await self._driver.wait_closed(setting("DRAIN_SECONDS"))
        self._close_body()

    async def _close_kept(self) -> None:
        kept, self._kept = self._kept, []
        for response in kept:
            await response.aclose_stream()


def handoff_of(request: HttpRequest) -> Handoff | None:
    """Return the hand-off of a request; ``None`` where another application serves it."""
    scope: dict[str, Any] = getattr(request, "scope", {})
    return scope.get(_SCOPE_KEY)


def check_place(request: HttpRequest) -> None:
    """Raise ``StreamRefused`` if there is no place for a stream of this request. May be called from any thread."""
    handoff = handoff_of(request)
    if handoff is not None:
        handoff.connections.check_place(identity_of(request, 0.0))


def keep_until_served(request: HttpRequest, response: EventStreamResponse) -> None:
    handoff = handoff_of(request)
    if handoff is not None:
        handoff.keep(response)
