"""What ASGI does not offer and a server has all the same: backpressure on Daphne, cutting a connection, a ``send`` that
needs no task, and on uvicorn a write without a coroutine and a ``receive()`` that may be cancelled.

Everything here looks at the server's own object behind ``send``, takes only what it recognises, and does nothing for
any other server, nor with ``SERVER_SHORTCUTS`` off.
"""

import asyncio
import functools
import select
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ..conf import setting

__all__ = [
    "Message",
    "Receive",
    "Send",
    "UvicornServer",
    "abort",
    "direct_writer",
    "flush_seconds",
    "has_left",
    "is_hung_up",
    "may_receive_again",
    "runs_by_hand",
    "stop_flag",
    "unsent_bytes",
    "with_backpressure",
    "write_all",
]


try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def with_backpressure(send: Send) -> Send:
    """Return a ``send`` that waits while the client does not read.

    Daphne's takes whatever it gets (100 MB were seen for one frozen reader); Twisted tells it to whom registers as
    the producer of the response. Other servers' wait by themselves; Hypercorn's does not over HTTP/2.
    """
    request = _daphne_request(send)
    return send if request is None else _DaphneSend(send, request)


def may_receive_again(receive: Receive) -> bool:
    """Whether a call of ``receive`` may be cancelled, and the next one still tells of the disconnect.

    uvicorn's waits for an event and looks at a flag. With others a cancelled call can take the message with it.
    """
    return _uvicorn_cycle(receive) is not None


def runs_by_hand(send: Send) -> bool:
    """Whether this ``send``, found by ``with_backpressure``, is a server's own, which asks neither for its task nor for
    its context. A wrapped one may: a middleware that measures or traces.
    """
    return isinstance(send, _DaphneSend) or _server_object(send, _SERVERS) is not None


def direct_writer(send: Send) -> Any:
    """Return what ``write_all`` takes, or ``None`` where only ``send`` writes. Call it after the headers were sent."""
    cycle = _uvicorn_cycle(send)
    # Its twin for h11 has no such attribute: h11 itself frames the body.
    return cycle if getattr(cycle, "chunked_encoding", False) else None


def write_all(cycles: Iterable[Any], body: bytes) -> list[Any]:
    """Write a piece of the body of many responses to the server's transports, and return those that it was not written
    to: they would have to wait, or are over. ``send`` deals with these.

    This is what uvicorn's ``send`` does, without a coroutine, a message and a chunk for each of them.
    """
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    left = []
    for cycle in cycles:
        if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete:
            left.append(cycle)
            continue
        try:
            cycle.transport.write(chunk)
        except Exception:
            left.append(cycle)  # the transport is closed, and ``send`` will say so
    return left


def abort(send: Send) -> None:
    """Cut the connection, and drop what the client has not read. A server that stops waits for it otherwise."""
    if isinstance(send, _DaphneSend):
        send.abort()
        return
    transport = _transport(send)
    if transport is not None:
        transport.abort()
    _tell_cycle(send)


def cut(send: Send, seconds: float) -> bool:
    """Close the connection without an end of the body, once what was written is sent, which may take so long.

    ``False``: this server has no way to do that.
    """
    if isinstance(send, _DaphneSend):
        send.close()
    elif (transport := _transport(send)) is not None:
        _tell_cycle(send)
        transport.close()
    else:
        return False
    asyncio.get_running_loop().call_later(seconds, abort, send)
    return True


def _tell_cycle(send: Send) -> None:
    """Tell uvicorn's request that its connection is closed.

    uvicorn tells the newest request of a connection alone. A client that has sent another has one before it.
    """
    if (cycle := _uvicorn_cycle(send)) is not None:
        cycle.disconnected = True
        cycle.message_event.set()


def has_left(send: Send) -> bool:
    """Whether a client has gone, of which its server has not told: it looks no further than an unread request."""
    cycle = _uvicorn_cycle(send)
    if cycle is not None:
        return bool(cycle.transport.is_closing()) or (cycle.flow.read_paused and is_hung_up(cycle.transport))
    transport = _hypercorn_transport(send)
    return transport is not None and (transport.is_closing() or is_hung_up(transport))


def is_hung_up(transport: Any) -> bool:
    """Whether the other end has closed its side, also where it sent something that nobody has read."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "POLLRDHUP"):
        return False  # the writes fail in the end
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def unsent_bytes(send: Send) -> int:
    """Return how much waits for the client, in this process and in the kernel, where that is known; otherwise 0.

    It becomes less with each acknowledgement of a client that reads, however slowly.
    """
    if isinstance(send, _DaphneSend):
        return send.unsent_bytes()
    transport = _transport(send)
    if transport is None or transport.is_closing():
        return 0
    size: int = transport.get_write_buffer_size()
    return size + _queued_by_kernel(transport.get_extra_info("socket"))


def _queued_by_kernel(sock: Any) -> int:
    """Return how many bytes of a socket the other end has not acknowledged."""
    if sock is None or not hasattr(termios, "TIOCOUTQ"):
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)
    except (OSError, ValueError):
        return 0


def _transport(send: Send) -> Any:
    """Return the asyncio transport of a request, if it is known and not shared."""
    return getattr(_uvicorn_cycle(send), "transport", None) or _hypercorn_transport(send)


def flush_seconds(send: Send) -> float:
    """How long a request has to stay, after its end was sent, for a server that stops to write it to the socket.

    Daphne waits for its requests, and not for what they have written: that is lost with the reactor's next turn.
    """
    return 0.1 if isinstance(send, _DaphneSend) else 0.0


def stop_flag(send: Send) -> Callable[[], bool] | None:
    """Return what tells that this server stops, where no signal does.

    Hypercorn's workers get none: they learn of it from their parent, and cancel what is open after 3 s.
    """
    context = getattr(_server_object(send, ("hypercorn.protocol.",)), "context", None)
    is_set: Callable[[], bool] | None = getattr(getattr(context, "terminated", None), "is_set", None)
    return is_set


class UvicornServer:
    """uvicorn's server, found behind the handler of a signal: what it says of itself, and how to stop it."""

    def __init__(self, handler: Any) -> None:
        self._server = _server_object(handler, ("uvicorn.server.",))

    @property
    def is_known(self) -> bool:
        return self._server is not None

    def has_stopped_listening(self) -> bool:
        """Whether it stops, for whatever reason: after ``--limit-max-requests`` there is no signal."""
        listening: Any = getattr(self._server, "servers", None)
        return bool(listening) and not any(each.is_serving() for each in listening)

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True


_UVICORN = "uvicorn.protocols.http."
_SERVERS = (_UVICORN, "hypercorn.protocol.", "granian.")


def _server_object(method: Any, modules: tuple[str, ...]) -> Any:
    """Return the server's object whose method this is."""
    found = getattr(method, "__self__", None)
    known = f"{type(found).__module__}.".startswith(modules)
    return found if known and setting("SERVER_SHORTCUTS") else None


def _uvicorn_cycle(method: Any) -> Any:
    """Return the object of one request whose method this is."""
    cycle = _server_object(method, (_UVICORN,))
    return cycle if hasattr(cycle, "transport") else None


def _hypercorn_transport(send: Send) -> Any:
    """Return the transport below one request of HTTP/1; over HTTP/2 it is other requests' too."""
    protocol = _owner(_server_object(send, ("hypercorn.protocol.http_stream.",)))
    if type(protocol).__module__ != "hypercorn.protocol.h11":
        return None
    return getattr(getattr(_owner(protocol), "writer", None), "transport", None)


def _owner(sender: Any) -> Any:
    """Return the object that this one of Hypercorn's hands its events to."""
    return getattr(getattr(sender, "send", None), "__self__", None)


def _daphne_request(send: Send) -> Any:
    if isinstance(send, functools.partial) and send.args and setting("SERVER_SHORTCUTS"):
        request = send.args[0]
        if type(request).__module__.startswith("daphne.") and getattr(request, "channel", None) is not None:
            return request
    return None


class _DaphneSend:
    """Daphne's ``send``, as a push producer of Twisted's (twisted.internet.interfaces.IPushProducer)."""

    def __init__(self, send: Send, request: Any) -> None:
        self._send = send
        self._request = request
        self._channel = request.channel  # Twisted takes it off a request that is over
        self._may_write = asyncio.Event()
        self._may_write.set()
        request.registerProducer(self, True)
        # Twisted's HTTP/2 does not tell the producer of a connection that is lost.
        request.notifyFinish().addBoth(lambda _: self._may_write.set())

    async def __call__(self, message: Message) -> None:
        if message.get("more_body", False):
            await self._send(message)
            await self._may_write.wait()
            return
        if getattr(self._request, "channel", None) is not None:
            self._request.unregisterProducer()
        await self._send(message)

    def abort(self) -> None:
        if hasattr(self._channel, "forceAbortClient"):
            self._channel.forceAbortClient()
        elif getattr(self._request, "channel", None) is not None:
            self._abort_http2_stream()

    def close(self) -> None:
        if hasattr(self._channel, "forceAbortClient"):
            self._channel.loseConnection()
        elif getattr(self._request, "channel", None) is not None:
            self._abort_http2_stream()

    def _abort_http2_stream(self) -> None:
        """Reset the one stream of a connection, and tell its request, which Twisted does not."""
        from twisted.internet.error import ConnectionLost
        from twisted.python.failure import Failure

        self._channel.abortConnection()
        if self._request.channel is not None:
            self._request.connectionLost(Failure(ConnectionLost("The client does not read.")))  # type: ignore[no-untyped-call]

    def unsent_bytes(self) -> int:
        """Return what waits for the client, from Twisted's own buffers; over HTTP/2 of this stream alone."""
        connection = getattr(self._channel, "_conn", self._channel)
        transport: Any = getattr(connection, "transport", None)
        transport = getattr(transport, "transport", transport)  # below TLS
        if getattr(self._request, "channel", None) is None or not hasattr(transport, "dataBuffer"):
            return 0
        queues: Any = getattr(connection, "_outboundStreamQueues", {})
        queue = queues.get(getattr(self._channel, "streamID", None), ())
        size: int = sum(len(piece) for piece in queue if isinstance(piece, bytes))
        size += len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return size + _queued_by_kernel(transport)

    def pauseProducing(self) -> None:  # noqa: N802
        self._may_write.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._may_write.set()

    stopProducing = resumeProducing  # noqa: N815
