"""The demo's views: the two streams that most first pages about server-sent events show, and a shared board."""

import asyncio
import datetime
import itertools
import math
import random
import time
from collections.abc import AsyncGenerator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from serversent import Subscription, channel_stream, end_streams, event_stream
from serversent.serving.registry import connection_registry

from .board import MAX_CHARACTERS, put_up
from .shell import shell_command

CUT_SECONDS = 5
is_cut_until = 0.0

EMOJIS = ["🚀", "🐎", "🌅", "🦾", "🍇"]


def index(request: HttpRequest) -> HttpResponse:
    context = {"max_characters": MAX_CHARACTERS, "shell_command": shell_command("--send", "Hello from a shell")}
    return render(request, "serversent_demo/index.html", context)


@event_stream
async def stream(request: HttpRequest) -> AsyncGenerator[str]:
    for number in itertools.count():
        yield f"{random.choice(EMOJIS)} {number}"
        await asyncio.sleep(1)


@event_stream
async def clock(request: HttpRequest) -> AsyncGenerator[str]:
    while True:
        yield f"The server time is: {datetime.datetime.now()}"
        await asyncio.sleep(1)


def tab(request: HttpRequest) -> HttpResponse:
    return render(request, "serversent_demo/tab.html")


@channel_stream
def board(request: HttpRequest) -> Subscription | HttpResponse:
    if (seconds := is_cut_until - time.monotonic()) > 0:
        return HttpResponse(status=503, headers={"Retry-After": str(math.ceil(seconds))})
    return Subscription("board", start="oldest")


@require_POST
def add_note(request: HttpRequest) -> HttpResponse:
    text = request.POST.get("text", "").strip()
    if not text or len(text) > MAX_CHARACTERS:
        return HttpResponse(f"A note is 1 to {MAX_CHARACTERS} characters.", status=400, content_type="text/plain")
    put_up(text)
    return done(request)


@require_POST
def cut(request: HttpRequest) -> HttpResponse:
    """End the board's streams, and refuse them for a while, as an outage does."""
    global is_cut_until
    is_cut_until = time.monotonic() + CUT_SECONDS
    end_streams(channel="board")
    return done(request)


def done(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204) if request.accepts("application/json") else redirect("index")


@event_stream
async def count(request: HttpRequest) -> AsyncGenerator[str]:
    """How many connections the board has in this process, whenever that changes."""
    last = -1
    while True:
        now = sum("board" in connection.channels for connection in connection_registry())
        if now != last:
            last = now
            yield str(now)
        await asyncio.sleep(0.25)
