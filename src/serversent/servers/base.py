"""The adapter of a server that is not known: everything goes through ASGI's ``send``."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..conf import setting

__all__ = ["Message", "Receive", "Send", "ServerAdapter", "server_object"]

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ServerAdapter:
    """Sends one response. A subclass for each server adds what that server offers beyond ASGI.

    ``supports_eager_send``: the coroutine of ``send`` uses neither its task nor its context, so that it may run without
    a task of its own up to where it first suspends. A ``send`` that a middleware has wrapped may use both.

    ``flush_seconds``: how long a request has to stay after the end of its response was sent, for a server that stops
    and would not write that end otherwise.
    """

    __slots__ = ("send",)

    supports_eager_send = False
    flush_seconds = 0.0

    def __init__(self, send: Send) -> None:
        self.send = send

    @property
    def fast_path(self) -> Any:
        """Return the argument for ``uvicorn.write_all()``, or ``None``. Ask after the headers were sent."""
        return None

    @property
    def is_stopping(self) -> Callable[[], bool] | None:
        """Return a function that tells whether the server stops, for servers that give no signal."""
        return None

    def has_client_left(self) -> bool:
        """Return whether the client has closed its connection and the server has not noticed it."""
        return False

    def unsent_bytes(self) -> int:
        """Return how many bytes wait for the client, in this process and in the kernel; 0 if that is not known.

        The number falls with each acknowledgement of a client that reads, however slowly.
        """
        return 0

    def abort(self) -> None:
        """Close the connection, and drop the bytes that the client has not read. A server that stops waits for it
        otherwise."""

    def close_unfinished(self, seconds: float) -> bool:
        """Close the connection without an end of the body, once all is written, for which it has so many seconds.

        Return ``False`` if this server has no way to do that.
        """
        return False


def server_object(method: Any, *modules: str) -> Any:
    """Return the server's object that a method belongs to, if its class is from one of these modules."""
    found = getattr(method, "__self__", None)
    known = f"{type(found).__module__}.".startswith(modules)
    return found if known and setting("SERVER_SHORTCUTS") else None
