"""A project's tests: in ``TestCase``, in ``TransactionTestCase``, and of a live server."""

import contextlib
import socket
import time
import urllib.request

from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import Client, LiveServerTestCase, TestCase, TransactionTestCase, override_settings

from serversent import asend_event, send_event
from serversent.errors import AsyncStreamUnderWSGI
from serversent.event import EventParser
from serversent.notifications import send_notification
from serversent.testing import captured_events, open_stream

SECONDS = 20

User = get_user_model()


@override_settings(ROOT_URLCONF="tests.suite.streams")
class InATestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.ada = User.objects.create_user("ada")

    def test_an_event(self):
        with open_stream(self.client, "/news/") as stream:
            assert stream.next(SECONDS).event == "ready"
            send_event("news", {"number": 1})
            assert stream.next(SECONDS).data == '{"number": 1}'
        User.objects.create_user("the transaction is still there")
        assert User.objects.count() == 2

    def test_two_streams_at_once(self):
        with open_stream(self.client, "/news/") as one, open_stream(self.client, "/news/") as other:
            send_event("news", "x")
            for stream in (one, other):
                assert [event.data for event in stream.take(2, SECONDS)] == ["{}", "x"]
        assert User.objects.count() == 1

    def test_streams_see_the_data_of_the_test(self):
        User.objects.create_user("grace")
        with open_stream(self.client, "/users/") as stream:
            assert [event.data for event in stream.take(2, SECONDS)] == ["{}", '["ada", "grace"]']
        for path in ("/async-names/", "/sync-names/"):
            with open_stream(self.client, path) as stream:
                assert [event.data for event in stream.take(3, SECONDS)] == ["ada", "grace", "2"]
        assert User.objects.count() == 2

    def test_who_is_logged_in(self):
        with open_stream(self.client, "/mine/") as stream:
            assert stream.status == 302
        self.client.force_login(self.ada)
        with open_stream(self.client, "/mine/") as stream:
            stream.next(SECONDS)
            send_event(f"user-{self.ada.pk}", "for ada")
            assert stream.next(SECONDS).data == "for ada"

    def test_notifications(self):
        self.client.force_login(self.ada)
        send_notification(self.ada, "before")
        with open_stream(self.client, "/notifications/stream/") as stream:
            assert [event.event for event in stream.take(3, SECONDS)] == ["ready", "notification-state", "notification"]

    def test_what_is_sent(self):
        with captured_events() as events:
            send_event("news", "x", event="kind")
        assert events == [("news", "kind", "x")]

    def test_djangos_test_client_names_open_stream(self):
        with self.assertRaisesMessage(AsyncStreamUnderWSGI, "open_stream"):
            Client().get("/async-names/")

    async def test_async(self):
        await User.objects.acreate(username="hedy")
        async with open_stream(self.async_client, "/users/") as stream:
            assert [event.data for event in await stream.take(2, SECONDS)] == ["{}", '["ada", "hedy"]']
            await asend_event("users", "x")
            assert (await stream.next(SECONDS)).data == "x"
        assert await User.objects.acount() == 2


@override_settings(ROOT_URLCONF="tests.suite.streams")
class InATransactionTestCase(TransactionTestCase):
    def test_a_commit_and_a_rollback(self):
        with open_stream(self.client, "/news/") as stream:
            assert stream.next(SECONDS).event == "ready"
            with transaction.atomic():
                send_event("news", "committed")
            with contextlib.suppress(ZeroDivisionError), transaction.atomic():
                send_event("news", "rolled back")
                raise ZeroDivisionError
            send_event("news", "🎉")
            assert [event.data for event in stream.take(2, SECONDS)] == ["committed", "🎉"]

    test_the_next_test_has_a_log_of_its_own = test_a_commit_and_a_rollback


class Reader:
    """Reads a stream of a live server, by a socket that may stay open after the test."""

    def __init__(self, url, path):
        host, port = url.partition("://")[2].split(":")
        self.socket = socket.create_connection((host, int(port)), SECONDS)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self.parser, self.events = EventParser(), []

    def until(self, data):
        deadline = time.monotonic() + SECONDS
        while not any(event.data == data for event in self.events):
            assert time.monotonic() < deadline, self.events
            received = self.socket.recv(65536)
            assert received, self.events
            self.events += self.parser.feed(received)


left_open = []


def use_live_server(url, *, closes):
    """What a test of a browser does: the test and the server's threads write and send at once."""
    reader = Reader(url, "/news/")
    reader.until("{}")
    for number in range(10):
        User.objects.create_user(f"user {number}")
        send_event("news", str(number))
    reader.until("9")
    urllib.request.urlopen(f"{url}/send/").read()
    reader.until("from a view")
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        send_event("news", "rolled back")
        raise ZeroDivisionError
    with transaction.atomic():
        send_event("news", "committed")
    reader.until("committed")
    assert "rolled back" not in [event.data for event in reader.events]
    # One after the other: SQLite in memory has one connection for all threads, and Python mixes up their rows.
    names = []
    for path in ("/async-names/", "/sync-names/"):
        names.append(Reader(url, path))
        names[-1].until("11")
    if closes:
        for each in (reader, *names):
            each.socket.close()
    else:
        left_open.extend([reader, *names])


@override_settings(ROOT_URLCONF="tests.suite.streams")
class OfALiveServer(LiveServerTestCase):
    def test_streams_that_are_closed(self):
        use_live_server(self.live_server_url, closes=True)

    def test_streams_that_are_left_open(self):
        use_live_server(self.live_server_url, closes=False)
