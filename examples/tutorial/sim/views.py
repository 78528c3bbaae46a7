import asyncio
import datetime
import random
import time

from django.http import StreamingHttpResponse
from django.shortcuts import render


async def sse_stream(request):
    """
    Sends server-sent events to the client.
    """
    async def event_stream():
        emojis = ["🚀", "🐎", "🌅", "🦾", "🍇"]
        i = 0
        while True:
            yield f'data: {random.choice(emojis)} {i}\n\n'
            i += 1
            await asyncio.sleep(1)

    return StreamingHttpResponse(event_stream(), content_type='text/event-stream')


def index(request):
    return render(request, 'sse.html')


def updates(request):
    return render(request, 'updates.html')


def stream(request):
    def event_stream():
        while True:
            yield 'data: The server time is: %s\n\n' % datetime.datetime.now()
            time.sleep(1)
    return StreamingHttpResponse(event_stream(), content_type='text/event-stream')
