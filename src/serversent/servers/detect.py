"""Which server sends a response."""

from .base import Send, ServerAdapter, server_object
from .daphne import DaphneAdapter, daphne_request
from .granian import GranianAdapter
from .hypercorn import HypercornAdapter
from .uvicorn import UvicornAdapter, uvicorn_cycle

__all__ = ["adapter_for"]


def adapter_for(send: Send) -> ServerAdapter:
    """Return the adapter of the server whose ``send`` this is.

    It is the plain one for servers that are not known, for a ``send`` that a middleware has wrapped, and with
    ``SERVER_SHORTCUTS`` off.
    """
    if (cycle := uvicorn_cycle(send)) is not None:
        return UvicornAdapter(send, cycle)
    if (stream := server_object(send, "hypercorn.protocol.")) is not None:
        return HypercornAdapter(send, stream)
    if (request := daphne_request(send)) is not None:
        return DaphneAdapter(send, request)
    if server_object(send, "granian.") is not None:
        return GranianAdapter(send)
    return ServerAdapter(send)
