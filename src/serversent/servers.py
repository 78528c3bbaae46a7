"""What ASGI does not offer and a server has all the same: backpressure on Daphne, and cutting a connection.

Everything here looks at the server's own object behind ``send``, takes only what it recognises, and does nothing for
any other server.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

__all__ = ["Message", "Send", "abort", "with_backpressure"]

Message = Mapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def with_backpressure(send: Send) -> Send:
    """Return a ``send`` that waits while the client does not read.

    Daphne's takes whatever it gets (100 MB were seen for one frozen reader); Twisted tells it to whom registers as
    the producer of the response. Other servers' wait by themselves.
    """
    request = _daphne_request(send)
    return send if request is None else _DaphneSend(send, request)


def abort(send: Send) -> None:
    """Cut the connection, and drop what the client has not read. A server that stops waits for it otherwise."""
    if isinstance(send, _DaphneSend):
        send.abort()
        return
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)  # uvicorn's cycle of one request
    if hasattr(transport, "abort"):
        transport.abort()


def _daphne_request(send: Send) -> Any:
    if isinstance(send, functools.partial) and send.args:
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

    async def __call__(self, message: Message) -> None:
        if message.get("more_body", False):
            await self._send(message)
            await self._may_write.wait()
            return
        if getattr(self._request, "channel", None) is not None:
            self._request.unregisterProducer()
        await self._send(message)

    def abort(self) -> None:
        self._channel.forceAbortClient()

    def pauseProducing(self) -> None:  # noqa: N802
        self._may_write.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._may_write.set()

    stopProducing = resumeProducing  # noqa: N815
