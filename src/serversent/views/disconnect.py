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

    def __init__(self, receive: Receive, body: "KeptBody") -> None:
        self.body = body
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

    def close(self) -> None:
        if self._disconnect is not None:
            self._disconnect.cancel()


class KeptBody:
    """Lets a request's body live as long as its stream, which may read it. Django closes it with the request."""

    __slots__ = ("_close", "_is_kept")

    def __init__(self) -> None:
        self._close: Callable[[], None] | None = None
        self._is_kept = False

    def hold(self, body: IO[bytes]) -> None:
        """Take the place of the body's ``close()``."""
        body.seek(0, 2)
        is_empty = not body.tell()
        body.seek(0)
        if not is_empty:
            self._close = body.close
            body.close = self._close_unless_kept  # type: ignore[method-assign]

    def keep(self) -> None:
        """Keep the body when Django closes it: the stream will be served."""
        self._is_kept = True

    def _close_unless_kept(self) -> None:
        if not self._is_kept:
            self.close()

    def take_closer(self) -> tuple[Callable[[], None], ...]:
        """Return the function that closes the body, if there is one. It is to be called when the stream is closed."""
        close, self._close = self._close, None
        return () if close is None else (close,)

    def close(self) -> None:
        for close in self.take_closer():
            close()
