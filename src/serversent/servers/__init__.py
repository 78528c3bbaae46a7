"""What does an ASGI server offer beyond ASGI?

Backpressure, direct writes, cutting a connection: each is found on the server's own objects, and left out where it is
not there.

- ``adapters``: Uvicorn, Hypercorn, Daphne and Granian
"""

__all__: list[str] = []
