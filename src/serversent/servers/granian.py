"""Granian: it offers nothing beyond ASGI, but its ``send`` needs no task."""

from .base import ServerAdapter

__all__ = ["GranianAdapter"]


class GranianAdapter(ServerAdapter):
    __slots__ = ()

    supports_eager_send = True
