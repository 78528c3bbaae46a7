"""sent_at: in batches, one query each, in a thread that waits for nobody and is there only while there is work."""

import os
import subprocess
import sys
import threading
import time

import pytest
from django.db import DatabaseError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from serversent.channels.group import send_events_written
from serversent.event import ServerSentEvent as Event
from serversent.event import encode
from serversent.notifications import marking
from serversent.notifications.marking import SentMarker
from serversent.notifications.models import Notification
from tests.waiting import wait_for

SETTINGS = "tests.project.settings"


def frame(*notifications):
    """What is written of some notifications, among other things."""
    parts = [b": hb\n", encode(Event({"unread": 7, "id": 1}, event="notification-state"))]
    return b"".join(parts + [encode(Event(each.payload(), event="notification", id="a-1")) for each in notifications])


def make(ada, count):
    Notification.objects.bulk_create(Notification(user=ada, text=str(number)) for number in range(count))
    return list(Notification.objects.order_by("pk"))


def test_one_query_for_each_batch_and_none_for_each_connection(ada, alias):
    """What two hundred connections got of 2,500 notifications is three queries."""
    made = make(ada, 2_500)
    marker = SentMarker()
    marker._is_running = True  # no thread: it is flushed here
    written = [frame(*made[start : start + 100]) for start in range(0, 2_500, 100)]
    for _ in range(200):
        for each in written:
            marker.add(bytes(bytearray(each)))  # each connection's own bytes
    with CaptureQueriesContext(connections[alias]) as queries:
        marker.flush()
    assert len(queries) == 3
    assert not Notification.objects.unsent().exists()
    with CaptureQueriesContext(connections[alias]) as queries:
        marker.flush()
    assert len(queries) == 0


@pytest.mark.parametrize(
    ("channels", "is_marked"),
    [
        (["serversent.notifications.1"], True),
        (["serversent.notifications:" + "0" * 64], True),
        (["serversent.notifications.1", "chat"], False),
        (["serversent.notifications-audit"], False),
        (["chat"], False),
    ],
)
def test_only_events_of_one_users_channel_are_marked(channels, is_marked, monkeypatch):
    """Whoever may send to another channel could send an event that looks like a notification of anybody."""
    added = []
    monkeypatch.setattr(marking.marker, "add", added.append)
    marking.connect()
    send_events_written(frozenset(channels), b"event: notification\ndata: {}\n\n")
    assert bool(added) is is_marked


def test_a_process_that_serves_no_notifications_marks_none():
    """``manage.py serversent listen`` looks at events, and shows them to no user."""
    code = """
import django
from serversent.signals import events_written
django.setup()
assert not events_written.receivers
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "DJANGO_SETTINGS_MODULE": SETTINGS})


def test_the_first_moment_stays(ada):
    (made,) = make(ada, 1)
    marking.mark_sent([made.pk])
    moment = Notification.objects.get().sent_at
    marking.mark_sent([made.pk, 10**9])
    assert Notification.objects.get().sent_at == moment


def test_the_thread_marks_new_notifications_and_ends(ada, monkeypatch):
    monkeypatch.setattr(marking, "IDLE_SECONDS", 0.2)

    before = set(threading.enumerate())

    def threads():
        now = set(threading.enumerate()) - before
        return [thread for thread in now if thread.name == "serversent-notifications"]

    made, marker = make(ada, 30), SentMarker()
    for number, each in enumerate(made):
        marker.add(frame(each))
        assert len(threads()) == 1
        if number % 10 == 0:
            time.sleep(0.3)
    wait_for(lambda: not Notification.objects.unsent().exists(), "all marks")
    wait_for(lambda: not threads(), "the end of the thread")
    Notification.objects.update(sent_at=None)
    marker.add(frame(made[0]))
    wait_for(lambda: Notification.objects.filter(sent=True).count() == 1, "another thread")
    wait_for(lambda: not threads(), "the end of the thread")


def test_an_outage_is_waited_out(ada, monkeypatch, caplog):
    monkeypatch.setattr(marking, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(marking, "IDLE_SECONDS", 0.2)
    mark_sent, failures = marking.mark_sent, [DatabaseError("away"), DatabaseError("away")]

    def fail_at_first(keys):
        if failures:
            raise failures.pop()
        mark_sent(keys)

    monkeypatch.setattr(marking, "mark_sent", fail_at_first)
    first, second = make(ada, 2)
    marker = SentMarker()
    marker.add(frame(first))
    wait_for(lambda: len(failures) < 2, "a failure")
    marker.add(frame(second))
    wait_for(lambda: not Notification.objects.unsent().exists(), "both marks")
    assert caplog.text.count("could not be marked as sent") == 2
    wait_for(lambda: "serversent-notifications" not in [thread.name for thread in threading.enumerate()], "its end")


def test_a_new_stream_waits_for_pending_marks(ada, monkeypatch):
    """And no longer than they take: the thread does not wait for more then."""
    monkeypatch.setattr(marking, "INTERVAL_SECONDS", 600)
    marker, made = SentMarker(), make(ada, 3)
    for each in made:
        marker.add(frame(each))
        marker.wait_for_pending(20)
        assert Notification.objects.get(pk=each.pk).sent


def test_delayed_marks_delay_no_stream(ada, alias, users, monkeypatch):
    """Somebody's transaction may have the rows."""
    may_go_on = threading.Event()
    mark_sent = marking.mark_sent
    monkeypatch.setattr(marking, "mark_sent", lambda keys: may_go_on.wait(60) and mark_sent(keys))
    monkeypatch.setattr(marking, "marker", SentMarker())
    (made,) = make(ada, 1)
    marking.marker.add(frame(made))
    client = Client()
    client.force_login(users[1])
    began = time.monotonic()
    for _ in range(3):
        assert client.head("/notifications/stream/").status_code == 200
    took = time.monotonic() - began
    may_go_on.set()
    assert 3 * marking.MARK_WAIT_SECONDS <= took < 20
    wait_for(lambda: Notification.objects.get().sent, "the mark")


def test_waiting_bytes_are_bounded(ada, monkeypatch):
    monkeypatch.setattr(marking, "MAX_BYTES", 10_000)
    marker = SentMarker()
    marker._is_running = True
    for number in range(1000):
        marker.add(b": %d" % number + b"x" * 100)
    assert 10_000 <= sum(map(len, marker._written)) < 10_200


@pytest.mark.parametrize("data", [b"event: notification\ndata: {}\n\n", b"event: notification\ndata: x\n\n"])
def test_other_events_are_not_marked(ada, data):
    """Anybody may publish by SQL."""
    (made,) = make(ada, 1)
    marker = SentMarker()
    marker._is_running = True
    marker.add(data)
    marker.add(frame(made))
    marker.flush()
    assert Notification.objects.get().sent
