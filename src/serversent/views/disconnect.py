"""The client's disconnect, which a stream waits for, and the request's body, which it may read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import IO

from ..servers.base import Message, Receive
from ..servers.uvicorn import uvicorn_cycle

__all__ = ["DisconnectWatcher", "KeptBody"]


class DisconnectWatcher:
    """Stands between Django and the server's ``receive``.

    The call that waits for the disconnect is made once and never cancelled, unless the server is known to bear that:
    Django cancels the call that it makes, some servers report a disconnect only once, and one reports a false
    disconnect to a call that is made after a cancelled one.
    """

    __slots__ = ("_disconnect", "_has_body", "_may_cancel", "_receive", "body")

    def __init__(self, receive: Receive) -> None:
        self.body: KeptBody | None = None  # set if the request has a body
        self._receive = receive
        self._may_cancel = uvicorn_cycle(receive) is not None
        self._has_body = False  # the request's body was received to its end
        self._disconnect: asyncio.Future[Message] | None = None

    async def receive(self) -> Message:
        if not self._has_body:
            message = await self._receive()
            self._has_body = not message.get("more_body", False)
            return message
        return await self.disconnected()

    def disconnected(self) -> Awaitable[Message]:
        """Return an awaitable for the disconnect. It may be cancelled and asked for again."""
        if self._may_cancel:
            return self._receive()
        if self._disconnect is None:
            self._disconnect = asyncio.ensure_future(self._receive())
        return asyncio.shield(self._disconnect)

    def hold_body(self, body: IO[bytes]) -> None:
        """Keep a body from being closed with the request, unless it is empty."""
        body.seek(0, 2)
        is_empty = not body.tell()
        body.seek(0)
        if not is_empty:
            self.body = KeptBody(body)

    def close(self) -> None:
        if self._disconnect is not None:
            self._disconnect.cancel()


class KeptBody:
    """Lets a request's body live as long as its stream, which may read it. Django closes it with the request."""

    __slots__ = ("_close", "is_kept")

    def __init__(self, body: IO[bytes]) -> None:
        self.is_kept = False  # the stream will be served
        self._close: Callable[[], None] | None = body.close
        body.close = self._close_unless_kept  # type: ignore[method-assign]

    def _close_unless_kept(self) -> None:
        if not self.is_kept:
            self.close()

    def take_closer(self) -> Callable[[], None] | None:
        """Return the function that closes the body, once. It is to be called when the stream is closed."""
        close, self._close = self._close, None
        return close

    def close(self) -> None:
        if close := self.take_closer():
            close()
