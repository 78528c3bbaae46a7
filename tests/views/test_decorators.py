"""``@event_stream`` below Django's test client, and what it says to wrong use."""

import asyncio
import gc
import json
import re
import subprocess
import sys
import threading

import pytest
from django.http import Http404, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings
from django.urls import path

from serversent import EventStreamResponse, Subscription, channel_stream, event_stream
from serversent.concurrency.sync_iterator import ThreadedIterator
from serversent.errors import AsyncStreamUnderWSGI
from tests.waiting import wait_for

# Finishing a request looks at the database connections that there are.
pytestmark = pytest.mark.django_db


@event_stream
async def numbers(request):
    yield 1
    yield 2


@event_stream
def sync_numbers(request):
    yield 1
    yield 2


@event_stream
async def missing(request):
    raise Http404("nothing here")
    yield


@event_stream
def sync_missing(request):
    raise Http404("nothing here")
    yield


@event_stream
async def cancelled(request):
    raise asyncio.CancelledError
    yield


urlpatterns = [
    path("numbers/", numbers),
    path("sync/", sync_numbers),
    path("missing/", missing),
    path("sync-missing/", sync_missing),
    path("cancelled/", cancelled),
]

BODY = b": stream, heartbeat 15 s\nretry: 3000\ndata: 1\n\ndata: 2\n\nevent: end\nid: end\ndata: {}\n\n"


@pytest.fixture(autouse=True)
def project():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield
    wait_for(lambda: "serversent-stream" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.parametrize("url", ["/numbers/", "/sync/"])
async def test_async_client(url):
    response = await AsyncClient().get(url)
    assert response.status_code == 200
    assert b"".join([part async for part in response.streaming_content]) == BODY


@pytest.mark.parametrize("url", ["/missing/", "/sync-missing/"])
async def test_an_exception_before_the_first_event(url):
    assert (await AsyncClient().get(url)).status_code == 404


async def test_a_generator_that_cancels_itself_ends_as_one_that_fails():
    response = await AsyncClient().get("/cancelled/")
    body = b"".join([part async for part in response.streaming_content])
    assert re.fullmatch(rb": stream, heartbeat 15 s\nretry: 3000\nevent: retry\nretry: \d+\n\n", body)


def test_client():
    response = Client().get("/sync/")
    assert response.status_code == 200
    assert b"".join(response.streaming_content) == BODY
    assert Client().get("/sync-missing/").status_code == 404
    frames = list(EventStreamResponse(iter(["x"])))
    assert frames == [b": stream, heartbeat 15 s\nretry: 3000\n", b"data: x\n\n", b"event: end\nid: end\ndata: {}\n\n"]


def test_an_async_stream_under_wsgi_is_refused_by_name():
    with pytest.raises(AsyncStreamUnderWSGI, match=r"tests.views.test_decorators.numbers is an async generator stream"):
        Client().get("/numbers/")
    with pytest.raises(AsyncStreamUnderWSGI, match="agen is an async generator stream"):
        iter(EventStreamResponse(agen()))


async def agen():
    yield 1


def test_a_function_that_never_yields_is_refused_at_once():
    with pytest.raises(TypeError, match="@event_stream needs a generator function, and .*view' never yields"):

        @event_stream
        def view(request):
            return 1


def test_methods_is_a_collection():
    with pytest.raises(TypeError, match=r"methods=\['POST'\]"):
        event_stream(methods="POST")


def test_a_call_without_a_request_is_explained():
    with pytest.raises(TypeError, match="sync_numbers was called without a request"):
        sync_numbers()


def endless_view():
    """Return a view whose generator does not end by itself, and an event that is set when it is closed."""
    closed = asyncio.Event()

    @event_stream
    async def view(request):
        try:
            while True:
                yield "x"
        finally:
            closed.set()

    return view, closed


async def test_a_lost_response_is_closed(monkeypatch):
    """Under plain Django nobody tells that a middleware has thrown a response away."""
    monkeypatch.setattr("serversent.views.response.UNATTENDED_SECONDS", 0.05)
    view, closed = endless_view()
    await view(AsyncRequestFactory().get("/"))
    async with asyncio.timeout(20):
        await closed.wait()


async def test_a_stream_that_is_dropped_half_read_is_closed(without_garbage_collector):
    """Under plain Django, in another response that a middleware has made around it, which closes neither."""
    view, closed = endless_view()
    another = StreamingHttpResponse((await view(AsyncRequestFactory().get("/"))).streaming_content)
    parts = aiter(another)
    assert b"data: x" in await anext(parts) + await anext(parts)
    del another, parts
    async with asyncio.timeout(20):
        await closed.wait()


def test_a_threaded_iterator_that_is_not_started_frees_its_place():
    with override_settings(SERVERSENT={"MAX_SYNC_STREAMS": 1}):
        for _ in range(3):
            response = sync_numbers(RequestFactory().get("/"))
            assert response.status_code == 200
            response.close()
            wait_for(lambda: "serversent-stream" not in [thread.name for thread in threading.enumerate()])
        for _ in range(3):
            response = sync_numbers(RequestFactory().get("/"))
            assert response.status_code == 200
            del response  # lost on its way, and never closed
            gc.collect()
            wait_for(lambda: "serversent-stream" not in [thread.name for thread in threading.enumerate()])
        for _ in range(3):
            ThreadedIterator(iter([])).close()
            wait_for(lambda: "serversent-stream" not in [thread.name for thread in threading.enumerate()])


def test_a_place_is_free_again_when_the_system_has_no_thread(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with override_settings(SERVERSENT={"MAX_SYNC_STREAMS": 1}):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            for _ in range(3):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    sync_numbers(RequestFactory().get("/"))
                gc.collect()
        response = sync_numbers(RequestFactory().get("/"))
        assert response.status_code == 200
        response.close()


LOST_STREAMS = """
import gc, django
from django.conf import settings
settings.configure(SERVERSENT={"MAX_SYNC_STREAMS": 100_000}); django.setup()
from django.test import RequestFactory
from serversent import EventStreamResponse, Subscription, channel_stream, event_stream

@event_stream
def fails(request):
    raise ValueError
    yield

gc.set_threshold(5)
request = RequestFactory().get("/")
for _ in range(1500):
    EventStreamResponse(iter([]))  # lost, in a cycle of its own
    try:
        fails(request)
    except ValueError:
        pass
"""


def test_the_garbage_collector_may_close_lost_streams_anywhere():
    """Also in a thread that is just starting, while the one that starts it waits."""
    environment = {"PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", LOST_STREAMS], check=True, env=environment, timeout=120)


def test_a_sync_generator_runs_on_one_thread_in_one_context():
    from contextvars import ContextVar

    variable = ContextVar("variable")

    @event_stream
    def view(request):
        token = variable.set(1)
        yield [threading.get_ident(), variable.get()]
        yield [threading.get_ident(), variable.get()]
        variable.reset(token)

    response = view(RequestFactory().get("/"))
    events = [part for part in response.streaming_content if part.startswith(b"data: [")]
    first, second = (json.loads(part.removeprefix(b"data: ")) for part in events)
    assert first == second == [first[0], 1]
    assert first[0] != threading.get_ident()


def test_an_error_while_closing_is_logged(caplog):
    @event_stream
    def view(request):
        try:
            yield 1
            yield 2
        finally:
            raise ValueError("in the clean-up")

    response = view(RequestFactory().get("/"))
    response.close()
    wait_for(lambda: "A stream's generator failed while it was closed" in caplog.text)


@pytest.mark.parametrize(("channels", "status"), [("a bad name", 400), (["a", "b", "c", "d"], 429)])
@pytest.mark.parametrize("granted", [Subscription, lambda channels: channels])
@pytest.mark.parametrize("is_async", [True, False])
async def test_channels_that_a_view_takes_from_its_client(channels, status, granted, is_async):
    """The view that makes a ``Subscription`` raises the error itself."""

    async def async_view(request):
        return granted(channels)

    def sync_view(request):
        return granted(channels)

    view = channel_stream(async_view if is_async else sync_view)
    with override_settings(SERVERSENT={"MAX_CHANNELS": 3}, DEBUG=False):
        response = await view(RequestFactory().get("/")) if is_async else view(RequestFactory().get("/"))
    assert response.status_code == status
