"""``serversent.testing``, as a project's tests use it: in TestCase, TransactionTestCase and pytest, sync and async."""

import asyncio
import threading

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpResponseForbidden, JsonResponse
from django.test import AsyncClient, Client, TestCase, TransactionTestCase, override_settings
from django.urls import include, path

from serversent import (
    Subscription,
    asend_event,
    channel_stream,
    close_channel,
    cursor,
    end_streams,
    event_stream,
    send_event,
    send_events,
    sse_url,
)
from serversent.asgi import get_asgi_application
from serversent.brokers import OutgoingEvent
from serversent.testing import captured_events, open_stream


@channel_stream
def news(request):
    return "news"


@channel_stream
def users(request):
    """The initial state comes from the database."""
    return Subscription("users", initial=lambda: sorted(get_user_model().objects.values_list("username", flat=True)))


@channel_stream
async def mine(request):
    user = await request.auser()
    return f"user-{user.username}" if user.is_authenticated else HttpResponseForbidden()


@event_stream
async def counter(request):
    for number in range(3):
        yield number


def page(request):
    return JsonResponse({"url": sse_url(request, "news"), "cursor": str(cursor())})


urlpatterns = [
    path("news/", news),
    path("users/", users),
    path("mine/", mine),
    path("counter/", counter),
    path("page/", page),
    path("events/", include("serversent.urls")),
]

urls = override_settings(ROOT_URLCONF=__name__)


@urls
class InATestCase(TestCase):
    def test_the_stream_of_a_page(self):
        """What a page was rendered with leads to its stream, also where the memory broker stands in for the log."""
        page = self.client.get("/page/").json()
        with open_stream(self.client, page["url"]) as stream:
            assert (stream.status, stream.next().event) == (200, "ready")
            send_event("news", "x")
            assert stream.next().data == "x"
        with open_stream(self.client, "/news/", cursor=page["cursor"]) as stream:
            assert stream.next().data == "x", "a resume, and no reset"
        end_streams(channel="news")
        with open_stream(self.client, page["url"]) as stream:
            assert stream.status == 200, "it is not committed"

    def test_end_streams_is_captured_as_no_event(self):
        with captured_events() as events:
            end_streams(channel="news")
            send_event("news", "x")
        assert [event.data for event in events] == ["x"]

    def test_a_stream_that_is_not_open(self):
        stream = open_stream(self.client, "/news/")
        assert (stream.status, stream.headers, stream.body) == (0, {}, b"")
        with pytest.raises(RuntimeError, match=r"with open_stream\("):
            stream.next()

    def test_an_event_arrives(self):
        with open_stream(self.client, "/news/") as stream:
            assert stream.status == 200
            assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert stream.next().event == "ready"
            send_event("news", {"a": 1})
            send_events([("news", "two"), ("other", "no"), {"channel": "news", "data": "three", "event": "kind"}])
            assert stream.next().data == '{"a": 1}'
            assert [(event.event, event.data) for event in stream.take(2)] == [("message", "two"), ("kind", "three")]

    def test_the_initial_state_sees_the_transaction_of_the_test(self):
        get_user_model().objects.create(username="ada")
        with open_stream(self.client, "/users/") as stream:
            assert [event.data for event in stream.take(2)] == ["{}", '["ada"]']

    def test_the_clients_session_is_sent(self):
        self.client.force_login(get_user_model().objects.create(username="grace"))
        with open_stream(self.client, "/mine/") as stream:
            assert stream.status == 200
            stream.next()
            send_event("user-grace", "hello")
            assert stream.next().data == "hello"
        with open_stream(Client(), "/mine/") as stream:
            assert stream.status == 403

    def test_a_wait_ends_with_an_explanation(self):
        with open_stream(self.client, "/news/") as stream:
            stream.next()
            with pytest.raises(TimeoutError, match="no event within 0.1 s"):
                stream.next(timeout=0.1)

    def test_an_event_that_waits_for_a_commit_is_explained(self):
        with open_stream(self.client, "/news/") as stream:
            stream.next()
            with transaction.atomic():
                send_event("news", "1")
            with pytest.raises(TimeoutError, match="TransactionTestCase"):
                stream.next(timeout=0.1)
        with open_stream(self.client, "/news/") as stream:
            stream.next()
            with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
                send_event("news", "2")
            assert stream.next().data == "2"

    def test_the_end(self):
        with open_stream(self.client, "/news/") as stream:
            stream.next()
            close_channel("news")
            assert stream.next().event == "end"
            with pytest.raises(EOFError):
                stream.next()
        with open_stream(self.client, "/counter/") as stream:
            assert [event.data for event in stream.take(4)] == ["0", "1", "2", "{}"]

    def test_a_resume(self):
        with open_stream(self.client, "/news/") as stream:
            cursor = stream.next().id
        send_event("news", "nobody listens, and there is no broker of this test's")
        with open_stream(self.client, "/news/", cursor=cursor) as stream:
            send_event("news", "listened to")
            assert stream.next().data == "listened to"

    def test_captured_events(self):
        with captured_events() as events:
            send_event("a", "1", event="kind")
            with transaction.atomic():
                send_event("a", "2")
            with pytest.raises(ValueError), transaction.atomic():
                send_event("a", "rolled back")
                raise ValueError
            with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
                send_event("b", "3")
        assert sorted(events) == [("a", "kind", "1"), ("a", "message", "2"), ("b", "message", "3")]
        assert isinstance(events[0], OutgoingEvent)

    async def test_async_tests_too(self):
        await get_user_model().objects.acreate(username="hedy")
        async with open_stream(self.async_client, "/users/") as stream:
            assert [event.data for event in await stream.take(2)] == ["{}", '["hedy"]']
            await asend_event("users", "x")
            assert (await stream.next()).data == "x"


@urls
class InATransactionTestCase(TransactionTestCase):
    def test_events_come_with_the_commit(self):
        with open_stream(self.client, "/news/") as stream:
            stream.next()
            with pytest.raises(ValueError), transaction.atomic():
                send_event("news", "rolled back")
                raise ValueError
            with transaction.atomic():
                send_event("news", "committed")
            assert stream.next().data == "committed"


@pytest.mark.django_db
@urls
def test_in_pytest():
    with open_stream(Client(), "/news/") as stream:
        stream.next()
        send_event("news", "x")
        assert stream.next().data == "x"


@pytest.mark.django_db(transaction=True)
@urls
async def test_in_async_pytest():
    async with open_stream(AsyncClient(), "/news/") as stream:
        await stream.next()
        await asend_event("news", "x")
        assert (await stream.next()).data == "x"


@pytest.mark.django_db
@urls
def test_with_the_projects_application():
    with open_stream(get_asgi_application(), "/counter/") as stream:
        assert stream.next().data == "0"


@pytest.mark.django_db
@urls
def test_nothing_is_left():
    before = threading.active_count()
    with open_stream(Client(), "/news/") as stream:
        stream.next()
    assert threading.active_count() <= before


async def test_a_response_that_never_comes_has_an_end(monkeypatch):
    monkeypatch.setattr("serversent.testing.streams.TIMEOUT_SECONDS", 0.1)

    async def application(scope, receive, send):
        await asyncio.sleep(3600)

    with pytest.raises(TimeoutError, match="no response within 0.1 s"):
        async with open_stream(application, "/"):
            pass
