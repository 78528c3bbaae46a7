"""Hypercorn: the transport over HTTP/1.1, and whether the worker stops."""

from collections.abc import Callable
from typing import Any

from .base import Send
from .sockets import is_hung_up
from .transport import TransportAdapter

__all__ = ["HypercornAdapter"]


class HypercornAdapter(TransportAdapter):
    __slots__ = ("_stream",)

    def __init__(self, send: Send, stream: Any) -> None:
        super().__init__(send)
        self._stream = stream

    @property
    def transport(self) -> Any:
        protocol = _receiver_of(self._stream)
        if type(protocol).__module__ != "hypercorn.protocol.h11":
            return None  # over HTTP/2 the connection has other responses
        return getattr(getattr(_receiver_of(protocol), "writer", None), "transport", None)

    @property
    def is_stopping(self) -> Callable[[], bool] | None:
        # Workers get no signal. Their parent tells them to stop, and they cancel what is open after 3 s.
        context = getattr(self._stream, "context", None)
        is_set: Callable[[], bool] | None = getattr(getattr(context, "terminated", None), "is_set", None)
        return is_set

    def has_client_left(self) -> bool:
        transport = self.transport
        return transport is not None and (transport.is_closing() or is_hung_up(transport))


def _receiver_of(sender: Any) -> Any:
    """Return the object that this one of Hypercorn's sends its events to."""
    return getattr(getattr(sender, "send", None), "__self__", None)
