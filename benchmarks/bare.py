"""No Django and no package: an ASGI application that writes the same bytes to uvicorn's transports, in a bare loop."""

import asyncio
import gc
import urllib.parse

from .publisher import publish_all

transports = set()
tasks = set()


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/event-stream")]
    if scope["path"] != "/stream/":
        if scope["path"] == "/publish/":
            query = urllib.parse.parse_qsl(scope["query_string"].decode())
            tasks.add(asyncio.create_task(publish_all(write_all, **{name: float(value) for name, value in query})))
        else:
            gc.collect()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b": stream\n", "more_body": True})
    transport = send.__self__.transport
    transports.add(transport)
    try:
        await receive()
        await receive()
    finally:
        transports.discard(transport)


async def write_all(_, data):
    body = b"id: abcdef-1000\ndata: %s\n\n" % data.encode()
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    for transport in transports:
        transport.write(chunk)
