"""Servers that are built on asyncio's transports."""

import asyncio
from typing import Any

from .base import ServerAdapter
from .sockets import queued_bytes

__all__ = ["TransportAdapter"]


class TransportAdapter(ServerAdapter):
    """An adapter that can find the transport of its connection."""

    __slots__ = ()

    supports_eager_send = True

    @property
    def transport(self) -> Any:
        """Return the connection's transport, or ``None`` if the connection has other responses, too."""
        raise NotImplementedError

    def unsent_bytes(self) -> int:
        transport = self.transport
        if transport is None or transport.is_closing():
            return 0
        size: int = transport.get_write_buffer_size()
        return size + queued_bytes(transport.get_extra_info("socket"))

    def abort(self) -> None:
        if (transport := self.transport) is not None:
            transport.abort()

    def close_unfinished(self, seconds: float) -> bool:
        transport = self.transport
        if transport is None:
            return False
        transport.close()
        asyncio.get_running_loop().call_later(seconds, self.abort)
        return True
