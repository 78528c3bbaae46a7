"""Uvicorn: one write for many responses, and a ``receive`` that may be cancelled."""

import signal
import sys
from collections.abc import Iterable
from typing import Any

from .base import Receive, Send, server_object
from .sockets import is_hung_up
from .transport import TransportAdapter

__all__ = ["UvicornAdapter", "UvicornServer", "uvicorn_cycle", "write_all"]


def uvicorn_cycle(method: Send | Receive) -> Any:
    """Return Uvicorn's ``RequestResponseCycle`` that a ``send`` or ``receive`` belongs to, or ``None``.

    It waits for an event and looks at a flag, so that a call of its ``receive`` may be cancelled and the next one still
    reports the disconnect.
    """
    cycle = server_object(method, "uvicorn.protocols.http.")
    return cycle if hasattr(cycle, "transport") else None


class UvicornAdapter(TransportAdapter):
    __slots__ = ("_cycle",)

    def __init__(self, send: Send, cycle: Any) -> None:
        super().__init__(send)
        self._cycle = cycle

    @property
    def fast_path(self) -> Any:
        # The cycle of the h11 implementation lacks the attribute: there h11 itself frames the body.
        return self._cycle if getattr(self._cycle, "chunked_encoding", False) else None

    @property
    def transport(self) -> Any:
        return self._cycle.transport

    def has_client_left(self) -> bool:
        closing: bool = self._cycle.transport.is_closing()
        return closing or (self._cycle.flow.read_paused and is_hung_up(self._cycle.transport))

    def abort(self) -> None:
        super().abort()
        self._mark_disconnected()

    def close_unfinished(self, seconds: float) -> bool:
        self._mark_disconnected()
        return super().close_unfinished(seconds)

    def _mark_disconnected(self) -> None:
        """Let the request see the disconnect. Uvicorn tells only the newest request of a connection of it."""
        self._cycle.disconnected = True
        self._cycle.message_event.set()


def write_all(cycles: Iterable[Any], body: bytes) -> list[Any]:
    """Write a piece of the body of many responses to their transports. Return those that were not written to.

    These would have to wait, or are over: ``send`` deals with them. Uvicorn's ``send`` does the same, with a coroutine,
    a message and a chunk for each response.
    """
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    skipped = []
    for cycle in cycles:
        if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete:
            skipped.append(cycle)
            continue
        try:
            cycle.transport.write(chunk)
        except Exception:
            skipped.append(cycle)  # the transport is closed, and ``send`` will raise
    return skipped


class UvicornServer:
    """Uvicorn's server, found behind its signal handler."""

    def __init__(self, handler: Any) -> None:
        self._server = server_object(handler, "uvicorn.server.")

    @property
    def is_known(self) -> bool:
        return self._server is not None

    def has_stopped_listening(self) -> bool:
        """Return whether the server stops. After ``--limit-max-requests`` there is no signal."""
        listening: Any = getattr(self._server, "servers", None)
        return bool(listening) and not any(each.is_serving() for each in listening)

    def on_signal(self, signum: int) -> None:
        """Stop on gunicorn's SIGQUIT (Ctrl-C), which its Uvicorn worker ignores: it is killed after 30 s otherwise."""
        if signum == getattr(signal, "SIGQUIT", None) and "gunicorn.arbiter" in sys.modules:
            self.stop()

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
