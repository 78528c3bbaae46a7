"""sse-starlette as its documentation has it, with a queue for each connection."""

import asyncio
import gc

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from .publisher import publish_all

queues = set()
tasks = set()


async def stream(request):
    async def events():
        queue = asyncio.Queue()
        queues.add(queue)
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            queues.discard(queue)

    return EventSourceResponse(events(), sep="\n", ping=15)


async def send(_, data):
    for queue in queues:
        queue.put_nowait(data)


async def publish(request):
    order = {name: float(value) for name, value in request.query_params.items()}
    tasks.add(asyncio.create_task(publish_all(send, **order)))
    return Response()


async def collect(request):
    gc.collect()
    return Response()


application = Starlette(routes=[Route("/stream/", stream), Route("/publish/", publish), Route("/collect/", collect)])
