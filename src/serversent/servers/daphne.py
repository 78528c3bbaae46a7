"""Daphne: its ``send`` does not wait for the client; Twisted's flow control does."""

import asyncio
import functools
from typing import Any

from ..conf import setting
from .base import Message, Send, ServerAdapter
from .sockets import queued_bytes

__all__ = ["DaphneAdapter", "daphne_request"]


def daphne_request(send: Send) -> Any:
    """Return Daphne's request behind a ``send``, or ``None``."""
    if isinstance(send, functools.partial) and send.args and setting("SERVER_SHORTCUTS"):
        request = send.args[0]
        if type(request).__module__.startswith("daphne.") and getattr(request, "channel", None) is not None:
            return request
    return None


class DaphneAdapter(ServerAdapter):
    """A push producer of Twisted's (``twisted.internet.interfaces.IPushProducer``).

    Daphne takes whatever it gets: 100 MB were seen for one client that did not read. Twisted tells a producer when to
    wait.
    """

    __slots__ = ("_channel", "_may_write", "_request", "_send")

    supports_eager_send = True

    # Daphne waits for its requests, but not for their last bytes, which are lost with the reactor's next turn.
    flush_seconds = 0.1

    def __init__(self, send: Send, request: Any) -> None:
        super().__init__(self._send_when_allowed)
        self._send = send
        self._request = request
        self._channel = request.channel  # Twisted takes it off a request that is over
        self._may_write = asyncio.Event()
        self._may_write.set()
        request.registerProducer(self, True)
        # Twisted's HTTP/2 does not tell the producer of a lost connection.
        request.notifyFinish().addBoth(lambda _: self._may_write.set())

    async def _send_when_allowed(self, message: Message) -> None:
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

    def close_unfinished(self, seconds: float) -> bool:
        if hasattr(self._channel, "forceAbortClient"):
            self._channel.loseConnection()
        elif getattr(self._request, "channel", None) is not None:
            self._abort_http2_stream()
        asyncio.get_running_loop().call_later(seconds, self.abort)
        return True

    def _abort_http2_stream(self) -> None:
        """Reset one stream of a connection, and tell its request, which Twisted does not."""
        from twisted.internet.error import ConnectionLost
        from twisted.python.failure import Failure

        self._channel.abortConnection()
        if self._request.channel is not None:
            self._request.connectionLost(Failure(ConnectionLost("The client does not read.")))  # type: ignore[no-untyped-call]

    def unsent_bytes(self) -> int:
        # Twisted's own buffers; over HTTP/2 only those of this stream.
        connection = getattr(self._channel, "_conn", self._channel)
        transport: Any = getattr(connection, "transport", None)
        transport = getattr(transport, "transport", transport)  # below TLS
        if getattr(self._request, "channel", None) is None or not hasattr(transport, "dataBuffer"):
            return 0
        queues: Any = getattr(connection, "_outboundStreamQueues", {})
        queue = queues.get(getattr(self._channel, "streamID", None), ())
        size: int = sum(len(piece) for piece in queue if isinstance(piece, bytes))
        size += len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return size + queued_bytes(transport)

    def pauseProducing(self) -> None:  # noqa: N802
        self._may_write.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._may_write.set()

    stopProducing = resumeProducing  # noqa: N815
