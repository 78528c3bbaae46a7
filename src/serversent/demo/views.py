"""The demo's views: the two streams that most first pages about server-sent events show."""

import asyncio
import datetime
import itertools
import random
from collections.abc import AsyncGenerator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from serversent import event_stream

EMOJIS = ["🚀", "🐎", "🌅", "🦾", "🍇"]


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "serversent_demo/index.html")


@event_stream
async def stream(request: HttpRequest) -> AsyncGenerator[str]:
    for number in itertools.count():
        yield f"{random.choice(EMOJIS)} {number}"
        await asyncio.sleep(1)


@event_stream
async def time(request: HttpRequest) -> AsyncGenerator[str]:
    while True:
        yield f"The server time is: {datetime.datetime.now()}"
        await asyncio.sleep(1)
