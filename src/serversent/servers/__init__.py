"""Which abilities does an ASGI server have beyond ASGI?

Backpressure, direct writes, cutting a connection: each is found on the server's own objects, and left out where it is
not there.

- ``detect``: which server sends a response
- ``base``: the adapter of a server that is not known
- ``transport``: servers that are built on asyncio's transports
- ``uvicorn``: one write for many responses, a ``receive`` that may be cancelled
- ``hypercorn``: its transport, and whether the worker stops
- ``daphne``: backpressure, by Twisted's flow control
- ``granian``: a ``send`` that needs no task
- ``sockets``: questions to the kernel about a client's socket
"""

__all__: list[str] = []
