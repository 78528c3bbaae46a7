"""The hand-off of one request: its stream is tracked while Django works, and served when Django has finished.

The steps, in their order: ``track_response`` in the view; ``own_stream`` and ``admit`` when Django sends the response;
``serve_after_request`` once the headers are sent; ``connection`` after the request; ``close`` at the very end.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest

from ..access.identity import identity_of
from ..conf import setting
from ..servers.base import Receive, Send
from ..servers.detect import adapter_for
from ..serving.connection import Connection
from ..serving.registry import connection_registry
from ..serving.shutdown import drain_on_stop
from ..serving.source import Ends, StreamSource
from .admission import Admission
from .disconnect import DisconnectWatcher
from .response import EventStreamResponse

__all__ = ["Handoff", "check_limits", "handoff_of", "track_until_served"]

_SCOPE_KEY = "serversent.handoff"


class Handoff:
    """Holds the parts of one request that outlive Django's work on it: the disconnect, the body, and the stream."""

    __slots__ = ("_admission", "_ends", "_is_closed", "_source", "_tracked", "registry", "watcher")

    def __init__(self, receive: Receive) -> None:
        self.registry = connection_registry()
        self.watcher = DisconnectWatcher(receive)
        self._admission = Admission(self.registry, time.monotonic())
        self._tracked: list[EventStreamResponse] = []
        self._source: StreamSource | None = None
        self._ends: Ends | None = None  # set once the stream is to be served
        self._is_closed = False  # the server gave up on the request, while Django still works on it

    def scope(self, scope: Mapping[str, Any]) -> dict[str, Any]:
        return {**scope, _SCOPE_KEY: self}

    def track_response(self, response: EventStreamResponse) -> None:
        """Close the response's stream at the end unless it is served: another response may replace it."""
        response.is_tracked = True
        if self._is_closed:
            response.close_stream()
        else:
            self._tracked.append(response)

    def tracked_response(self) -> EventStreamResponse | None:
        """Return the one response whose stream is not taken yet: a middleware may have put it into another one."""
        return self._tracked[0] if len(self._tracked) == 1 and not self._tracked[0].is_detached else None

    def own_stream(self, source: StreamSource) -> None:
        """Own a stream from now on: it is closed with the request unless it is served."""
        self._source = source
        if self._is_closed:
            source.cancel()

    def take_body_closer(self) -> tuple[Callable[[], None], ...]:
        """Return the function that closes the request's body, if it has one, for the end of the stream."""
        close = None if self.watcher.body is None else self.watcher.body.take_closer()
        return () if close is None else (close,)

    def admit(self, request: HttpRequest) -> None:
        """Acquire the slots of the stream. Raises ``StreamRefused``."""
        assert self._source is not None
        self._admission.admit(request, self._source)

    def serve_after_request(self, ends: Ends) -> None:
        """Serve the stream when Django has finished the request. Its headers are sent."""
        self._ends = ends
        if self.watcher.body is not None:
            self.watcher.body.is_kept = True

    async def connection(self, send: Send) -> Connection | None:
        """Return the connection that serves the stream, if there is one. Nothing of the request lives on in it."""
        identity = self._admission.identity
        if self._source is None or self._ends is None or identity is None:
            return None
        await self._close_tracked()
        server = adapter_for(send)
        drain_on_stop(server)
        identify = self._admission.identify if self._admission.may_be_identified else None
        return Connection(server, self.watcher.disconnected, self._source, identity, ends=self._ends, identify=identify)

    async def close(self) -> None:
        """Leave nothing behind, wherever the request ended."""
        self._is_closed = True
        self._admission.release()
        self.watcher.close()
        await self._close_tracked()
        if self._source is not None:
            self._source.cancel()
            await self._source.wait_closed(setting("DRAIN_SECONDS"))
        if self.watcher.body is not None:
            self.watcher.body.close()

    async def _close_tracked(self) -> None:
        tracked, self._tracked = self._tracked, []
        for response in tracked:
            await response.aclose_stream()


def handoff_of(request: HttpRequest) -> Handoff | None:
    """Return the hand-off of a request; ``None`` where another application serves it."""
    scope: dict[str, Any] = getattr(request, "scope", {})
    return scope.get(_SCOPE_KEY)


def check_limits(request: HttpRequest) -> None:
    """Raise ``StreamRefused`` if there is no slot for a stream of this request. May be called from any thread."""
    handoff = handoff_of(request)
    if handoff is not None:
        handoff.registry.check_limits(identity_of(request, 0.0))


def track_until_served(request: HttpRequest, response: EventStreamResponse) -> None:
    handoff = handoff_of(request)
    if handoff is not None:
        handoff.track_response(response)
