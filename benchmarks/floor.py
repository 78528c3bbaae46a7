"""The floor: no Django and no package, an ASGI application that writes the same bytes to uvicorn's transports.

What is left is the loop, and the kernel's write to each socket.
"""

import asyncio
import gc
import time
import urllib.parse

transports = set()
tasks = set()


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"text/event-stream")]
    if scope["path"] != "/stream/":
        if scope["path"] == "/publish/":
            query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
            tasks.add(asyncio.create_task(publish(int(query["events"]), float(query["interval"]))))
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


async def publish(events, interval):
    loop = asyncio.get_running_loop()
    due = loop.time()
    for number in range(events):
        body = b"id: abcdef-%d\ndata: %d\n\n" % (number, time.monotonic_ns())
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        for transport in transports:
            transport.write(chunk)
        due += interval
        await asyncio.sleep(due - loop.time())
