"""One matrix of what surrounds streams and of kinds of streams, each beside plain Django: same data, same headers.

And none of what is promised is lost: the request is over, the stream is its user's, it counts, it ends when it should,
and its generator is closed.
"""

import asyncio
import itertools
import types
from collections.abc import AsyncIterator

import pytest
from django.core.asgi import get_asgi_application as django_application
from django.core.signals import request_finished
from django.test import override_settings
from django.urls import path

from serversent import aend_streams, asend_event
from serversent.asgi import get_asgi_application
from serversent.serving.registry import connection_registry
from serversent.testing import open_stream
from tests import surroundings

# Plain Django says so of sync generators, which it consumes first.
pytestmark = pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")

SECONDS = 20
HERE = "tests.surroundings"
MEMORY = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}, "HEARTBEAT_SECONDS": 0.1}

MIDDLEWARE = {
    "nothing": [],
    "wrapping": [f"{HERE}.wrapping"],
    "structlog": ["django_structlog.middlewares.RequestMiddleware"],
    "locale": ["django.middleware.locale.LocaleMiddleware"],
    "override": [f"{HERE}.in_auckland"],
    "sync": [f"{HERE}.sync_only"],
    "cors": ["corsheaders.middleware.CorsMiddleware"],
    "gzip": ["django.middleware.gzip.GZipMiddleware"],
    "security": [
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    "rewrapping": [f"{HERE}.rewrapping"],
    "wrapped twice": [f"{HERE}.wrapping", "django.middleware.locale.LocaleMiddleware", f"{HERE}.wrapping"],
}
HEADERS = {"Accept-Language": "de", "Origin": "https://elsewhere.test", "Accept-Encoding": "gzip"}


_users = itertools.count(100)


@pytest.fixture(autouse=True)
def user():
    """A user of this test's: streams of one who was ended a moment ago are ended as they begin."""
    HEADERS["User"] = user = str(next(_users))
    return user


@pytest.fixture(autouse=True)
def project(request):
    surroundings.seen_by_views.clear()
    surroundings.closed.clear()
    with override_settings(
        ROOT_URLCONF=HERE,
        SERVERSENT=MEMORY,
        CORS_ALLOW_ALL_ORIGINS=True,
        INSTALLED_APPS=["serversent", "corsheaders", "django_structlog"],
    ):
        yield


@pytest.fixture(params=MIDDLEWARE)
def middleware(request):
    if request.param == "structlog":
        pytest.importorskip("django_structlog")
    with override_settings(MIDDLEWARE=[*MIDDLEWARE[request.param], f"{HERE}.known"]):
        yield request.param


async def until_user(stream):
    """Take the three events that each stream begins with. The last is its user's primary key."""
    data = []
    while HEADERS["User"] not in (data or [""])[-1]:
        data.append((await stream.next(SECONDS)).data)


async def the_connection():
    """Return the one stream that is served, as soon as Django is done with its request."""
    async with asyncio.timeout(SECONDS):
        while not len(connection_registry()):
            await asyncio.sleep(0.01)
    (connection,) = connection_registry()
    return connection


async def until_end(stream):
    with pytest.raises(EOFError):
        while True:
            await stream.next(SECONDS)


def data_of(stream, count):
    """The data of the first events, without what begins a stream of channels."""
    return [event.data for event in stream if event.event not in ("ready", "end")][:count]


async def read(application, path, count=3, **headers):
    async with open_stream(application, path, headers={**HEADERS, **headers}) as stream:
        events = [await stream.next(SECONDS)]
        while len(data_of(events, count)) < count:
            events.append(await stream.next(SECONDS))
        return stream.status, stream.headers, data_of(events, count)


def comparable(headers):
    """What is not of the moment, and not about the buffers of proxies."""
    return {name: value for name, value in headers.items() if name not in ("date", "incremental", "x-accel-buffering")}


def skip_impossible(middleware, name):
    if name == "bare" and middleware in ("gzip", "structlog", "wrapping", "wrapped twice"):
        pytest.skip("these ask for the content of a StreamingHttpResponse, under plain Django too")
    if name == "plain-own-iterator" and middleware == "rewrapping":
        pytest.skip("another response is iterated by Django, under plain Django too")


@pytest.mark.parametrize("name", surroundings.STREAMS)
async def test_the_same_as_plain_django(middleware, name, user):
    skip_impossible(middleware, name)
    # What plain Django compresses cannot be read here.
    status, headers, data = await read(django_application(), f"/{name}/", **{"Accept-Encoding": "identity"})
    view_saw = surroundings.seen_by_views[-1]
    ours = await read(get_asgi_application(), f"/{name}/")
    assert ours[0] == status == 200
    plain = comparable(headers)
    if name.startswith(("plain", "bare", "response")):
        plain.pop("content-encoding", None)
        if middleware == "gzip":
            plain.pop("vary", None)  # of what may be compressed
        # Added, unless the view has set them: nobody may buffer or change a stream.
        assert plain.pop("cache-control", "no-cache, no-transform") == comparable(ours[1])["cache-control"]
        assert plain.items() <= comparable(ours[1]).items()
        assert ours[2] == data
    else:
        plain.pop("content-encoding", None)  # "identity", which keeps the body away from GZipMiddleware
        assert comparable(ours[1]) == plain
        prefix = {"wrapping": "loud ", "rewrapping": "loud ", "wrapped twice": "loud loud "}.get(middleware, "")
        assert ours[2] == [f"{prefix}{view_saw}", f"{prefix}{view_saw}", f"{prefix}{user}"]


@pytest.mark.parametrize("name", surroundings.STREAMS)
async def test_no_promise_is_lost(middleware, name, user, logged, without_garbage_collector):
    skip_impossible(middleware, name)
    finished = []

    def note(**kwargs):
        finished.append(1)

    request_finished.connect(note)
    try:
        async with open_stream(get_asgi_application(), f"/{name}/?seconds=60", headers=HEADERS) as stream:
            await until_user(stream)
            connection = await the_connection()
            assert finished, "the request is not over"
            assert connection.identity.user == user
            if name.startswith("channel"):
                assert connection.channels == {"surrounded"}
                await asend_event("surrounded", "an event")
                while b"an event" not in stream.body:
                    await stream.next(SECONDS)
            # A heartbeat after a silence: comments are no events, so the body is looked at.
            async with asyncio.timeout(SECONDS):
                while b": hb" not in stream.body.rpartition(b"data: ")[2]:
                    await asyncio.sleep(0.05)
            await aend_streams(user=user)
            await until_end(stream)
        async with asyncio.timeout(SECONDS):
            while not name.startswith("channel") and not surroundings.closed:
                await asyncio.sleep(0.01)
    finally:
        request_finished.disconnect(note)
    assert finished == [1]
    assert surroundings.closed.count("bare") == (name == "bare")
    assert not [message for level, message in logged if level == "ERROR" or "is served by Django itself" in message]


@pytest.mark.parametrize("name", surroundings.STREAMS)
async def test_draining(middleware, name):
    skip_impossible(middleware, name)
    async with open_stream(get_asgi_application(), f"/{name}/?seconds=60", headers=HEADERS) as stream:
        await until_user(stream)
        connection = await the_connection()
        connection.drain(3)
        await until_end(stream)
        # A stream of ours tells its client when to come back, whatever is around it. Of a response that a view has made
        # by itself, nothing is known once another response is around it.
        is_ours = not name.startswith(("plain", "bare")) and (middleware, name) != ("rewrapping", "response")
        assert (b"retry: 6000\n" in stream.body) == is_ours
    assert not len(connection_registry())


@pytest.mark.parametrize("name", [*surroundings.FORMS, *surroundings.CHANNEL_FORMS])
@pytest.mark.parametrize("make", [django_application, get_asgi_application])
async def test_forms_of_views(name, make, user):
    with override_settings(MIDDLEWARE=[f"{HERE}.known"]):
        if name.startswith("channel"):
            async with open_stream(make(), f"/{name}/", headers=HEADERS) as stream:
                assert (await stream.next(SECONDS)).event == "ready"
                await asend_event("surrounded", "an event")
                assert (await stream.next(SECONDS)).data == "an event"
        else:
            status, _, data = await read(make(), f"/{name}/")
            assert (status, data[2]) == (200, user)


async def test_a_wrapper_that_asks_for_the_user_after_the_headers(user):
    """The stream is its user's from then on, as one that asks by itself: a revocation ends it."""
    with override_settings(MIDDLEWARE=[f"{HERE}.asking", f"{HERE}.known_late"]):
        async with open_stream(get_asgi_application(), "/channel-class/", headers=HEADERS) as stream:
            connection = await the_connection()
            async with asyncio.timeout(SECONDS):
                while connection.identity.user != user:
                    await asyncio.sleep(0.01)
            await aend_streams(user=user)
            await until_end(stream)


async def test_an_encoded_stream_gets_no_comments():
    """In the middle of compressed bytes they would be an error."""
    with override_settings(MIDDLEWARE=[f"{HERE}.encoding", f"{HERE}.wrapping", f"{HERE}.known"]):
        for name in ("plain-async", "decorated-async"):
            async with open_stream(get_asgi_application(), f"/{name}/?seconds=60", headers=HEADERS) as stream:
                while len(stream.body.split(b"data: ")) < 4:
                    await stream.next(SECONDS)
                (connection,) = connection_registry()
                before = len(stream.body)
                if name == "plain-async":
                    await asyncio.sleep(1)
                    assert len(stream.body) == before
                connection.drain(3)
                await until_end(stream)
                assert b"retry: 6" not in stream.body


class Posted:
    """One POST, through an application, with its body in two pieces."""

    def __init__(self, path, body, content_type="application/octet-stream"):
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"testserver"), (b"content-type", content_type.encode())],
        }
        self.messages = [
            {"type": "http.request", "body": body[: len(body) // 2], "more_body": True},
            {"type": "http.request", "body": body[len(body) // 2 :], "more_body": False},
        ]
        self.status, self.body = 0, b""

    async def receive(self):
        if self.messages:
            return self.messages.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(self, message):
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def through(self, application):
        async with asyncio.timeout(SECONDS):
            await application(self.scope, self.receive, self.send)
        return self


FORM = "application/x-www-form-urlencoded"
MANY_FIELDS = "&".join(f"field{number}=1" for number in range(1200)).encode()


@pytest.mark.parametrize("make", [django_application, get_asgi_application])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"x" * 3_000_000, "application/octet-stream"), (MANY_FIELDS, FORM), (b"not a form", "multipart/form-data")],
)
@override_settings(MIDDLEWARE=[])
async def test_a_body_is_read_only_by_the_view(make, body, content_type):
    """A body that is too large or has too many fields to be parsed is an error of those who parse it."""
    posted = await Posted("/read/", body, content_type).through(make())
    assert (posted.status, posted.body) == (200, f"data: {len(body)}\n\n".encode())
    posted = await Posted("/ignore/", body, content_type).through(make())
    assert (posted.status, posted.body) == (200, b"data: nobody asked\n\n")


@pytest.mark.parametrize("make", [django_application, get_asgi_application])
@override_settings(MIDDLEWARE=[])
async def test_a_stream_reads_its_body_when_the_request_is_over(make):
    posted = await Posted("/body/", b"x" * 5000).through(make())
    assert b"data: 5000\n" in posted.body
    posted = await Posted("/form/", b"name=Ada", FORM).through(make())
    assert b"data: Ada\n" in posted.body


@pytest.mark.parametrize("status", [429, 503, 401])
async def test_a_refusal_has_the_headers_of_middleware(status):
    """From another origin a client may otherwise not even see the status."""
    limits = {429: {"MAX_CONNECTIONS_PER_USER": 1}, 503: {"MAX_CONNECTIONS": 1}, 401: {}}[status]
    headers = {**HEADERS, **({"Serversent-User": "0123456789abcdef"} if status == 401 else {})}
    middleware = [*MIDDLEWARE["cors"], *MIDDLEWARE["security"], "django.middleware.locale.LocaleMiddleware"]
    with override_settings(SERVERSENT={**MEMORY, **limits}, MIDDLEWARE=[*middleware, f"{HERE}.known"]):
        application = get_asgi_application()
        for name in ("plain-async", "decorated-async", "channel-sync-initial"):
            async with open_stream(application, f"/{name}/?seconds=60", headers=HEADERS):
                async with asyncio.timeout(SECONDS):
                    while not len(connection_registry()):
                        await asyncio.sleep(0.01)
                async with open_stream(application, f"/{name}/?seconds=60", headers=headers) as refused:
                    assert refused.status == status
                    assert refused.headers["access-control-allow-origin"] == HEADERS["Origin"]
                    assert refused.headers["x-content-type-options"] == "nosniff"
                    assert refused.headers["x-frame-options"] == "DENY"
                    assert "accept-language" in refused.headers["vary"].lower()
                    assert refused.headers["content-type"].startswith("text/plain")
                    assert refused.headers["cache-control"] == "no-store"
                    assert not {"incremental", "x-accel-buffering"} & set(refused.headers)
                    assert ("retry-after" in refused.headers) == (status != 401)


async def test_django_modern_rest():
    """Its response is no StreamingHttpResponse, and closes what its stream needs."""
    streaming = pytest.importorskip("dmr.streaming")
    msgspec = pytest.importorskip("dmr.plugins.msgspec")
    sse = pytest.importorskip("dmr.streaming.sse")
    ended = []

    class Ticks(sse.SSEController[msgspec.MsgspecSerializer]):
        extras = streaming.Streaming(ping_seconds=None)  # our heartbeats are enough, and its ping outlives the client

        async def get(self) -> AsyncIterator[sse.SSEvent[int]]:
            async def events():
                try:
                    for number in range(3):
                        yield sse.SSEvent(number)
                    await asyncio.sleep(60)
                finally:
                    ended.append(True)

            return events()

    urls = types.ModuleType("urls")
    urls.urlpatterns = [path("ticks/", Ticks.as_view())]
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[f"{HERE}.known"]):
        async with open_stream(get_asgi_application(), "/ticks/", headers=HEADERS) as stream:
            assert [event.data for event in await stream.take(3, SECONDS)] == ["0", "1", "2"]
            connection = await the_connection()
            assert connection.identity.user == HEADERS["User"]
        async with asyncio.timeout(SECONDS):
            while not ended:
                await asyncio.sleep(0.01)
