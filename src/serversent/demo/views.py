"""The demo's views: the two streams that most first pages about server-sent events show, and a shared board."""

import asyncio
import datetime
import itertools
import random
from collections.abc import AsyncGenerator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

from serversent import Subscription, channel_stream, event_stream

from .board import MAX_CHARACTERS, put_up, shell_command

EMOJIS = ["🚀", "🐎", "🌅", "🦾", "🍇"]


def index(request: HttpRequest) -> HttpResponse:
    context = {"max_characters": MAX_CHARACTERS, "shell_command": shell_command()}
    return render(request, "serversent_demo/index.html", context)


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


@channel_stream
def board(request: HttpRequest) -> Subscription:
    return Subscription("board", start="oldest")


@require_POST
def add_note(request: HttpRequest) -> HttpResponse:
    text = request.POST.get("text", "").strip()
    if not text or len(text) > MAX_CHARACTERS:
        return HttpResponse(f"A note is 1 to {MAX_CHARACTERS} characters.", status=400, content_type="text/plain")
    put_up(text)
    return HttpResponse(status=204)
