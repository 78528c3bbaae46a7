"""Views and initial states that fail after the headers: no client comes back every three seconds for ever."""

import asyncio
import re
import threading

import pytest
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from serversent import Subscription, channel_stream, event_stream, logs
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
from serversent.serving import failures
from serversent.testing import open_stream

SERVERSENT = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}
SECONDS = 20

# The views that fail late wait for it.
headers_sent = threading.Event()

ERRORS = {
    "404": Http404("no such order"),
    "403": PermissionDenied("not yours"),
    "400": BadRequest("no number"),
    "error": ZeroDivisionError("division by zero"),
}


def fail(request):
    raise ERRORS[request.GET["error"]]


@event_stream
async def late(request):
    while not headers_sent.is_set():
        await asyncio.sleep(0.01)
    fail(request)
    yield "never"


@event_stream
def late_sync(request):
    headers_sent.wait(SECONDS)
    fail(request)
    yield "never"


@event_stream
async def after_an_event(request):
    yield "first"
    fail(request)


@channel_stream
def state(request):
    def initial():
        fail(request)

    return Subscription("c", initial=initial)


@channel_stream
def state_after_a_value(request):
    def initial():
        yield "first"
        fail(request)

    return Subscription("c", initial=initial)


@channel_stream
def async_state(request):
    async def initial():
        fail(request)

    return Subscription("c", initial=initial)


async def plain(request):
    async def values():
        yield "data: first\n\n"
        fail(request)

    return StreamingHttpResponse(values(), content_type="text/event-stream")


VIEWS = [late, late_sync, after_an_event, state, state_after_a_value, async_state]
urlpatterns = [path(f"{view.__name__}/", view) for view in [*VIEWS, plain]]
names = pytest.mark.parametrize("name", [view.__name__ for view in VIEWS])


@pytest.fixture(autouse=True)
def project():
    memory.clear()
    failures._failing.clear()
    logs._logged.clear()
    with override_settings(ROOT_URLCONF=__name__, SERVERSENT=SERVERSENT, MIDDLEWARE=[], DEBUG=False):
        yield


async def body_of(url, **headers):
    headers_sent.clear()
    async with open_stream(get_asgi_application(), url, headers=headers) as stream:
        assert stream.status == 200
        headers_sent.set()
        await stream._exchange.until(lambda: stream._exchange.is_over, SECONDS, "no end")
        return stream.body.decode()


def sync_body_of(url):
    headers_sent.clear()
    answer = Client().get(url)
    headers_sent.set()
    return b"".join(answer).decode()


def retries_in(body):
    return [int(found) for found in re.findall(r"^retry: (\d+)$", body, re.MULTILINE)]


@names
@pytest.mark.parametrize("status", ["404", "403", "400"])
async def test_a_refusal_ends_the_stream_for_good(name, status, logged):
    body = await body_of(f"/{name}/?error={status}")
    assert body.endswith(f'event: end\nid: end\ndata: {{"status": {status}}}\n\n')
    assert len(logged) == 1
    level, message = logged[0]
    assert level == "WARNING"
    assert f"{name} was refused with {status} after its headers" in message
    assert str(ERRORS[status]) in message


@names
async def test_a_client_that_returns_after_a_refusal_gets_204(name):
    answer = await AsyncClient().get(f"/{name}/?error=404", headers={"Last-Event-ID": "end"})
    assert answer.status_code == 204


@names
async def test_after_an_error_clients_come_back_later_and_later(name, monkeypatch):
    body = await body_of(f"/{name}/?error=error")
    assert "event: end" not in body
    _, first = retries_in(body)
    assert 3000 <= first <= 4500
    view, (began, last) = failures._failing.popitem()
    assert name in view
    failures._failing[view] = began - 20, last
    assert 20_000 <= retries_in(await body_of(f"/{name}/?error=error"))[-1] <= 31_000
    failures._failing[view] = began - 2000, last
    assert 60_000 <= retries_in(await body_of(f"/{name}/?error=error"))[-1] <= 90_000
    failures._failing[view] = began - 2000, last - 2 * failures.MAX_RETRY_SECONDS
    assert retries_in(await body_of(f"/{name}/?error=error"))[-1] <= 4500, "it was well for a while"


@names
async def test_one_traceback_for_each_kind_of_error_and_minute(name, logged, monkeypatch):
    for _ in range(4):
        await body_of(f"/{name}/?error=error")
    await body_of(f"/{name}/?error=404")
    assert [level for level, _ in logged] == ["ERROR", "WARNING"]
    assert "ZeroDivisionError" not in logged[0][1], "in the traceback, not in the message"
    monkeypatch.setattr(logs, "SECONDS", 0.0)
    await body_of(f"/{name}/?error=error")
    assert "(4 times since this was logged last)" in logged[-1][1]


@names
async def test_in_development_the_error_is_shown(name):
    with override_settings(DEBUG=True):
        body = await body_of(f"/{name}/?error=error")
        assert ": ZeroDivisionError: division by zero (shown because DEBUG is on)\n" in body
    assert "ZeroDivisionError" not in await body_of(f"/{name}/?error=error")


async def test_frames_of_the_project_get_no_comments_or_ids(logged):
    assert await body_of("/plain/?error=404") == "data: first\n\n"
    assert [level for level, _ in logged] == ["WARNING"]


@pytest.mark.parametrize("name", ["late_sync", "state", "state_after_a_value"])
def test_on_a_wsgi_server(name, logged):
    body = sync_body_of(f"/{name}/?error=404")
    assert body.endswith('event: end\nid: end\ndata: {"status": 404}\n\n')
    body = sync_body_of(f"/{name}/?error=error")
    assert 3000 <= retries_in(body)[-1] <= 4500
    assert [level for level, message in logged if name in message] == ["WARNING", "ERROR"]
