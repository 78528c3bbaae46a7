"""The signals about streams, as an app of a project receives them."""

import asyncio
import functools

import pytest
from django.http import Http404
from django.test import override_settings
from django.urls import path

from serversent import channel_stream, event_stream, send_event, signals
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
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


@channel_stream
def missing(request):
    raise Http404


urlpatterns = [path(f"{view.__name__}/", view) for view in (news, one, failing, missing)]


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


async def test_an_error_of_a_receiver_reaches_no_stream():
    def fail(sender, **arguments):
        raise ValueError("a bug")

    for name in signals.__all__:
        getattr(signals, name).connect(fail)
    try:
        async with open_stream(get_asgi_application(), "/news/") as stream:
            await stream.next()
            send_event("news", "hello")
            assert (await stream.next()).data == "hello"
    finally:
        for name in signals.__all__:
            getattr(signals, name).disconnect(fail)
