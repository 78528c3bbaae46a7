"""The signals about streams, as an app of a project receives them."""

import asyncio
import functools
import logging

import pytest
from django.http import Http404
from django.test import override_settings
from django.urls import path

from serversent import channel_stream, event_stream, send_event, signals
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
from serversent.serving.registry import connection_registry
from serversent.testing import open_stream
from tests.waiting import DEADLINE_SECONDS

MEMORY = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}


@channel_stream
def news(request):
    return "news"


@event_stream
async def one(request):
    yield "one"


@event_stream
async def failing(request):
    yield "one"
    raise ValueError("after an event")


@event_stream
async def lingering(request):
    left, released = lingering.events
    try:
        yield "one"
        await asyncio.Event().wait()
    finally:
        left.set()
        await released.wait()


@channel_stream
def missing(request):
    raise Http404


urlpatterns = [path(f"{view.__name__}/", view) for view in (news, one, failing, lingering, missing)]


@pytest.fixture(autouse=True)
def project():
    memory.clear()
    with override_settings(ROOT_URLCONF=__name__, SERVERSENT=MEMORY, MIDDLEWARE=[]):
        yield


@pytest.fixture
def received():
    """Collect what is sent by each signal, as ``(name, arguments)``."""
    found = []
    receivers = {each: functools.partial(collect, found, each) for each in signals.__all__}
    for each, receive in receivers.items():
        getattr(signals, each).connect(receive)
    yield found
    for each, receive in receivers.items():
        getattr(signals, each).disconnect(receive)


def collect(found, which, sender, signal, **arguments):
    found.append((which, arguments))


async def until(condition):
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def named(received, name):
    return [arguments for found, arguments in received if found == name]


async def test_a_client_that_leaves(received):
    async with open_stream(get_asgi_application(), "/news/") as stream:
        await stream.next()
        (opened,) = named(received, "stream_opened")
        assert (opened["name"], set(opened["channels"]), opened["user"]) == ("tests.test_signals.news", {"news"}, "")
        assert not named(received, "stream_closed")
    await until(lambda: named(received, "stream_closed"))
    (closed,) = named(received, "stream_closed")
    assert (closed["name"], closed["reason"]) == ("tests.test_signals.news", "client")
    assert closed["seconds"] >= 0


@pytest.mark.parametrize(("name", "reason"), [("one", "complete"), ("failing", "failed")])
async def test_a_generator_that_ends(received, name, reason):
    async with open_stream(get_asgi_application(), f"/{name}/") as stream:
        await stream.next()
        await until(lambda: named(received, "stream_closed"))
    (closed,) = named(received, "stream_closed")
    assert (closed["name"], closed["reason"], set(closed["channels"])) == (f"tests.test_signals.{name}", reason, set())


async def test_the_first_reason_is_told(received):
    """The client leaves, the view takes a while to end, and the server stops meanwhile."""
    left, released = asyncio.Event(), asyncio.Event()
    lingering.events = left, released

    async def stop_server():
        await left.wait()
        connection_registry().drain()
        released.set()

    stopping = asyncio.create_task(stop_server())
    async with open_stream(get_asgi_application(), "/lingering/") as stream:
        await stream.next()
    await stopping
    await until(lambda: named(received, "stream_closed"))
    assert named(received, "stream_closed")[0]["reason"] == "client"


async def test_events_that_were_written(received):
    """Once for all live streams: tests/channels/test_hub.py. Here each waits for its own `send`."""
    application = get_asgi_application()
    async with open_stream(application, "/news/") as first, open_stream(application, "/news/") as second:
        await first.next()
        await second.next()
        received.clear()
        send_event("news", "hello")
        assert (await first.next()).data == (await second.next()).data == "hello"
        await until(lambda: len(named(received, "events_written")) == 2)
        written, _ = named(received, "events_written")
        assert written["channels"] == {"news"}
        assert [event.data for event in written["events"]] == ["hello"]
        assert b"data: hello" in written["events"].frames


async def test_a_refusal(received):
    with override_settings(SERVERSENT={**MEMORY, "MAX_CONNECTIONS": 0}):
        async with open_stream(get_asgi_application(), "/news/") as stream:
            assert stream.status == 503
    (refused,) = named(received, "stream_refused")
    assert (refused["status"], refused["error"].status) == (503, 503)
    assert not named(received, "stream_opened")


async def test_an_answer_of_the_view_is_no_refusal(received):
    async with open_stream(get_asgi_application(), "/missing/") as stream:
        assert stream.status == 404
    assert received == []


def fail(sender, **arguments):
    raise ValueError("a bug")


async def fail_async(sender, **arguments):
    """Django cannot call it from the event loop: it raises a RuntimeError."""


@pytest.mark.parametrize("fail", [fail, fail_async])
async def test_an_error_of_a_receiver_reaches_no_stream(fail, caplog, monkeypatch):
    application = get_asgi_application()  # configures the loggers
    for logger in ("serversent", "django"):
        monkeypatch.setattr(logging.getLogger(logger), "propagate", True)
    for name in signals.__all__:
        getattr(signals, name).connect(fail)
    try:
        async with open_stream(application, "/news/") as stream:
            await stream.next()
            for text in ("hello", "again"):
                send_event("news", text)
                assert (await stream.next()).data == text
        async with open_stream(application, "/one/") as stream:
            assert (await stream.next()).data == "one"
            assert (await stream.next()).event == "end"
    finally:
        for name in signals.__all__:
            getattr(signals, name).disconnect(fail)
    assert ("they must be sync functions" if fail is fail_async else "a bug") in caplog.text
