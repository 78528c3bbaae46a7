"""Async code that waits without await: its view is named, once, and the others get their turn."""

import asyncio
import ctypes
import threading
import time

import pytest
from django.http import StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from serversent import Subscription, channel_stream, event_stream
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
from serversent.concurrency import loop_monitor as blocking
from serversent.serving.registry import connection_registry
from serversent.testing import open_stream

SETTINGS = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}
SECONDS = 20

# A call of C that keeps the interpreter, whose time does not depend on the machine's speed.
compute_microseconds = ctypes.PyDLL(None).usleep


@event_stream
async def sleeping(request):
    for _ in range(int(request.GET["times"])):
        time.sleep(float(request.GET["seconds"]))
        yield "awake"
    await asyncio.sleep(60)


@event_stream
async def computing(request):
    """Keeps the interpreter, too: nothing else of the process runs during a call of C."""
    for _ in range(2):
        compute_microseconds(700_000)
        yield "done"
    await asyncio.sleep(60)


@event_stream
async def rarely_sleeping(request):
    for _ in range(2):
        yield "awake"
        await asyncio.sleep(0.5)  # until nobody watches any more
        time.sleep(1.5)
    yield "awake"
    await asyncio.sleep(60)


@event_stream
async def awaiting(request):
    await asyncio.sleep(1.2)
    while True:
        yield "awake"
        await asyncio.sleep(1.2)


async def plain(request):
    async def values():
        for _ in range(2):
            time.sleep(0.7)
            yield b"data: awake\n\n"
        await asyncio.sleep(60)

    return StreamingHttpResponse(values(), content_type="text/event-stream")


@channel_stream
async def state(request):
    async def initial():
        time.sleep(0.7)
        return "state"

    return Subscription("c", initial=initial)


urlpatterns = [
    path("sleeping/", sleeping),
    path("awaiting/", awaiting),
    path("computing/", computing),
    path("plain/", plain),
    path("rarely/", rarely_sleeping),
    path("state/", state),
]


@pytest.fixture(autouse=True)
def project(monkeypatch):
    memory.clear()
    monkeypatch.setattr(blocking, "LIMIT_SECONDS", 0.3)
    blocking._warned.clear()
    with override_settings(ROOT_URLCONF=__name__, SERVERSENT=SETTINGS, MIDDLEWARE=[]):
        yield


def said(logged):
    return [message for _, message in logged if "kept the event loop" in message]


@pytest.mark.parametrize(
    ("url", "function"),
    [
        ("/sleeping/?seconds=0.7&times=2", "sleeping"),
        ("/plain/", "plain.<locals>.values"),
        ("/state/", "state.<locals>.initial"),
        ("/computing/", "computing"),
    ],
)
async def test_a_view_that_keeps_the_loop_is_named_once(url, function, logged):
    for _ in range(2):
        async with open_stream(get_asgi_application(), url) as stream:
            await stream.take(2, SECONDS)
    assert len(said(logged)) == 1
    assert said(logged)[0].startswith(f"{function} ({__file__}, line ")
    assert "await asyncio.sleep(...)" in said(logged)[0]


def monitors():
    return [thread for thread in threading.enumerate() if thread.name == "serversent-loop-monitor"]


async def test_a_view_that_rarely_keeps_the_loop_is_named_the_second_time(monkeypatch, logged):
    """The timer of the connections is late: from then on the loop is watched."""
    monkeypatch.setattr(blocking, "QUIET_SECONDS", 0.1)
    async with open_stream(get_asgi_application(), "/rarely/") as stream:
        await stream.take(2, SECONDS)
        assert not said(logged)
        await stream.take(1, SECONDS)
        assert len(said(logged)) == 1


async def test_a_stream_that_waits_has_no_thread(monkeypatch):
    monkeypatch.setattr(blocking, "QUIET_SECONDS", 0.5)
    async with open_stream(get_asgi_application(), "/sleeping/?seconds=0&times=3") as stream:
        await stream.take(3, SECONDS)
        assert monitors()
        async with asyncio.timeout(SECONDS):
            while monitors():
                await asyncio.sleep(0.05)


async def test_waiting_is_not_keeping(logged):
    async with open_stream(get_asgi_application(), "/awaiting/") as stream:
        await stream.take(2, SECONDS)
    assert not said(logged)


async def test_others_get_their_turn_and_a_client_that_leaves_is_noticed():
    """After a slow step, though the generator itself never awaits anything; of quick ones after 64."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    async with open_stream(get_asgi_application(), "/sleeping/?seconds=0.5&times=10000") as stream:
        await stream.take(4, SECONDS)
        assert turns >= 4
        async with asyncio.timeout(SECONDS):
            stream._exchange.gone.set()
            while len(connection_registry()):
                await asyncio.sleep(0)
    counting.cancel()
