"""Sessions that end without a logout, users that are known late, a limit that cannot count."""

import asyncio
import gc
import logging
import time
from importlib import import_module

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import alogin, get_user_model
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import AsyncRequestFactory, Client, TransactionTestCase, override_settings
from django.urls import include, path

from serversent import channel_stream, end_streams, event_stream
from serversent.access import identity
from serversent.access.identity import identity_of
from serversent.access.sessions import ended_sessions
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
from serversent.models import Event
from serversent.serving.registry import connection_registry
from serversent.testing import open_stream
from tests.waiting import DEADLINE_SECONDS

# Where a request has a thread of its own, Django leaves its connection to SQLite in memory to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MEMORY = {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}
SETTINGS = {"BROKERS": MEMORY, "HEARTBEAT_SECONDS": 0.2, "SESSION_CHECK_SECONDS": 1}
ENGINES = ["db", "cached_db", "cache", "file"]


@channel_stream
async def mine(request):
    user = await request.auser()
    return f"user-{user.pk}"


@event_stream
async def ticks(request):
    yield (await request.auser()).pk
    await asyncio.sleep(60)


@event_stream
async def late(request):
    await asyncio.sleep(0.5)  # the headers go out before
    yield (await request.auser()).pk
    await asyncio.sleep(60)


async def log_in(request):
    user = await get_user_model().objects.aget(username=request.GET["user"])
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("welcome")


async def flush(request):
    await request.session.aflush()
    return HttpResponse("forgotten")


async def cycle(request):
    await request.session.acycle_key()
    return HttpResponse("the same, under another key")


async def page(request):
    await request.auser()
    return HttpResponse("a page")


urlpatterns = [
    path("mine/", mine),
    path("ticks/", ticks),
    path("late/", late),
    path("login/", log_in),
    path("flush/", flush),
    path("cycle/", cycle),
    path("", page),
    path("events/", include("serversent.urls")),
]


class Answer:
    """One request through the application, and its cookies."""

    def __init__(self, url, cookie):
        self.path, _, query = url.partition("?")
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": self.path,
            "query_string": query.encode(),
            "headers": [(b"host", b"testserver"), (b"cookie", cookie.encode())],
        }

    async def receive(self):
        if "asked" not in self.scope:
            self.scope["asked"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.get_running_loop().create_future()

    async def send(self, message):
        pass


async def ask(application, url, cookie):
    answer = Answer(url, cookie)
    await application(answer.scope, answer.receive, answer.send)


def cookie_of(user):
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


async def opened(stream):
    await stream.next(DEADLINE_SECONDS)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not len(connection_registry()):
            await asyncio.sleep(0.01)


async def ended(stream, seconds=DEADLINE_SECONDS):
    with pytest.raises(EOFError):
        async with asyncio.timeout(seconds):
            while True:
                await stream.next(seconds)


async def goes_on(stream, seconds):
    with pytest.raises(TimeoutError):
        await stream.next(seconds)


@pytest.fixture(params=ENGINES)
def engine(request, transactional_db, tmp_path):
    memory.clear()
    with override_settings(
        ROOT_URLCONF=__name__,
        SESSION_ENGINE=f"django.contrib.sessions.backends.{request.param}",
        SESSION_FILE_PATH=str(tmp_path),
        SERVERSENT=SETTINGS,
    ):
        yield request.param
    gc.collect()


@pytest.fixture
def users(engine):
    return [get_user_model().objects.create_user(name) for name in ("ada", "grace")]


@pytest.mark.parametrize("url", ["/mine/", "/ticks/"])
@pytest.mark.parametrize("how", ["/login/?user=grace", "/flush/", "/cycle/"])
async def test_a_session_that_ends_in_its_browser(users, url, how):
    """At once, where it happens; nothing goes on for the former user."""
    application = get_asgi_application()
    cookie = await sync_to_async(cookie_of)(users[0])
    other = await sync_to_async(cookie_of)(users[1])
    async with (
        open_stream(application, url, headers={"Cookie": cookie}) as stream,
        open_stream(application, url, headers={"Cookie": other}) as others,
    ):
        await opened(stream)
        await opened(others)
        await ask(application, how, cookie)
        await ended(stream, 5)
        await goes_on(others, 0.3)


@pytest.mark.parametrize("url", ["/mine/", "/ticks/"])
@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_a_session_that_ends_elsewhere(users, engine, url, how):
    """Found when the sessions of all open streams are looked up."""
    if url == "/ticks/" and engine != "db":
        pytest.skip("it is the same for all streams")
    if how == "expired" and engine in ("cache", "file"):
        pytest.skip("the cache forgets it by itself, a file has the time of its last change")
    application = get_asgi_application()
    cookie = await sync_to_async(cookie_of)(users[0])
    other = await sync_to_async(cookie_of)(users[1])
    key = cookie.partition("=")[2]

    def end():
        if how == "expired":
            Session.objects.filter(session_key=key).update(expire_date="2001-01-01T00:00:00Z")
        else:
            import_module(settings.SESSION_ENGINE).SessionStore(key).delete()

    async with (
        open_stream(application, url, headers={"Cookie": cookie}) as stream,
        open_stream(application, url, headers={"Cookie": other}) as others,
    ):
        await opened(stream)
        await opened(others)
        await goes_on(stream, 1.5)  # it was looked up once by now
        await sync_to_async(end)()
        await ended(stream)
        await goes_on(others, 0.3)


async def test_a_stale_cookie_is_no_reason_to_end(users):
    """A cookie that names no session: its stream is anonymous, and stays."""
    application = get_asgi_application()
    async with open_stream(application, "/ticks/", headers={"Cookie": "sessionid=madeup0000000000"}) as stream:
        await opened(stream)
        await goes_on(stream, 2.5)


async def test_requests_that_change_nothing_end_nothing(users):
    application = get_asgi_application()
    cookie = await sync_to_async(cookie_of)(users[0])
    async with open_stream(application, "/mine/", headers={"Cookie": cookie}) as stream:
        await opened(stream)
        for _ in range(3):
            await ask(application, "/", cookie)
        await goes_on(stream, 0.5)


async def test_one_query_for_all_sessions(users, engine, django_assert_num_queries):
    if engine != "db":
        pytest.skip("it is about the database")
    keys = [f"k{number}" for number in range(600)]
    real = (await sync_to_async(cookie_of)(users[0])).partition("=")[2]

    def look():
        with django_assert_num_queries(2):
            return ended_sessions([*keys, real])

    assert await sync_to_async(look)() == set(keys)


async def test_engines_that_are_asked_for_one_session_at_a_time(users, engine):
    """Not always the same hundred of them."""
    if engine != "file":
        pytest.skip("it is about other engines than these")

    def look():
        keys = [cookie_of(users[0]).partition("=")[2] for _ in range(150)]
        import_module(settings.SESSION_ENGINE).SessionStore(keys[120]).delete()
        return keys[120], set().union(*(ended_sessions(keys) for _ in range(30)))

    gone, found = await sync_to_async(look)()
    assert found == {gone}


# Users that are known late.


@pytest.fixture
def project(transactional_db):
    memory.clear()
    with override_settings(ROOT_URLCONF=__name__, SERVERSENT=SETTINGS):
        yield
    gc.collect()


@pytest.fixture
def ada(project):
    return get_user_model().objects.create_user("ada")


async def test_a_generator_that_asks_for_its_user_after_the_headers(ada):
    """Its stream is that user's all the same: it ends with the rest, and it counts."""
    application = get_asgi_application()
    cookie = await sync_to_async(cookie_of)(ada)
    with override_settings(SERVERSENT={**SETTINGS, "MAX_CONNECTIONS_PER_USER": 1}):
        async with open_stream(application, "/late/", headers={"Cookie": cookie}) as stream:
            await opened(stream)
            (connection,) = connection_registry()
            async with asyncio.timeout(DEADLINE_SECONDS):
                while connection.identity.user != str(ada.pk):
                    await asyncio.sleep(0.01)
            for url in ("/ticks/", "/mine/"):
                async with open_stream(application, url, headers={"Cookie": cookie}) as another:
                    assert another.status == 429
            await sync_to_async(end_streams)(user=ada)
            await ended(stream)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while connection_registry()._slots:
                await asyncio.sleep(0.01)


async def test_revoked_before_it_was_known_for_whom_it_is(ada):
    application = get_asgi_application()
    cookie = await sync_to_async(cookie_of)(ada)
    async with open_stream(application, "/mine/", headers={"Cookie": cookie}) as watching:
        await opened(watching)
        async with open_stream(application, "/late/", headers={"Cookie": cookie}) as stream:
            await sync_to_async(end_streams)(user=ada)  # while the generator sleeps
            await ended(watching)
            await ended(stream)


# Limits.


def test_a_limit_without_effect_is_reported(caplog, monkeypatch):
    identity._warn_no_address_once.cache_clear()
    with override_settings(SERVERSENT={"MAX_CONNECTIONS_PER_ADDRESS": 5}):
        request = AsyncRequestFactory().get("/")
        request.META["REMOTE_ADDR"] = ""
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert identity_of(request, time.monotonic()).address == ""
    said = [record.getMessage() for record in caplog.records if "limits nothing" in record.getMessage()]
    assert len(said) == 1
    assert "CLIENT_ADDRESS" in said[0]


class OfAProject(TransactionTestCase):
    """The same through Django's own client: a login writes one revocation, of the old key alone."""

    def test_a_login_ends_the_old_keys_streams(self):
        ada = get_user_model().objects.create_user("ada")
        grace = get_user_model().objects.create_user("grace")
        client = Client()
        with override_settings(ROOT_URLCONF=__name__):
            client.force_login(ada)
            assert not Event.objects.filter(channel="!ended").exists()
            client.get("/login/", {"user": grace.username})
            assert Event.objects.filter(channel="!ended").count() == 1
