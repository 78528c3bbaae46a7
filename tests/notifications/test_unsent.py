"""What comes to who has no cursor: each notification once, whenever it was committed."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from serversent.brokers import new_broker
from serversent.brokers.database import broker as database_broker
from serversent.notifications import send_notification, unsent
from serversent.notifications.events import channel_of
from serversent.notifications.models import Notification
from serversent.notifications.unsent import Unsent


@pytest.fixture
def stream(alias):
    """Return what gives all that a stream of a user brings: its initial state, and then the log."""

    async def events(user, state, cursor):
        came = [(event.event, json.loads(event.data)) async for event in state.initial().at(cursor)]
        broker = new_broker("default")
        try:
            head = await broker.head()
            page = await broker.read([channel_of(user.pk)], cursor.offset, head.offset)
        finally:
            await broker.aclose()
            await sync_to_async(lambda: connections[alias].close())()
        return came + [(event.event, json.loads(event.data)) for event in page.events]

    def run(user, state=None, cursor=None):
        state = state or Unsent(user.pk)
        return asyncio.run(events(user, state, cursor or state.read_now()))

    return run


def texts(events):
    return [data["text"] for kind, data in events if kind == "notification"]


def unread(events):
    """Count as a page does."""
    count = None
    for kind, data in events:
        if kind == "notification-state":
            count = data["unread"]
        else:
            count += not data["read"]
    return count


def test_unsent_notifications_come_oldest_first(ada, users, stream):
    Notification.objects.create(user=ada, text="sent", sent=True)
    Notification.objects.create(user=ada, text="sent and read", sent=True, read=True)
    Notification.objects.create(user=ada, text="made by hand")
    Notification.objects.create(user=users[1], text="another's")
    for number in range(3):
        send_notification(ada, str(number))
    events = stream(ada)
    assert events[0] == ("notification-state", {"unread": 1})
    assert texts(events) == ["made by hand", "0", "1", "2"]
    assert unread(events) == Notification.objects.filter(user=ada).unread().count() == 5


def test_read_before_it_was_sent(ada, stream):
    send_notification(ada, "read")
    Notification.objects.mark_all_as_read()
    events = stream(ada)
    assert [data["read"] for kind, data in events if kind == "notification"] == [True]
    assert unread(events) == 0


def test_more_than_one_batch(ada, stream, monkeypatch):
    monkeypatch.setattr(unsent, "BATCH", 10)
    for number in range(35):
        send_notification(ada, str(number))
    assert texts(stream(ada)) == [str(number) for number in range(35)]


class Between:
    """The broker, with something that happens after the cursor was taken and before the notifications are read."""

    def __init__(self, broker, happens):
        self._broker = broker
        self._happens = happens

    def __call__(self):
        broker = self._broker()
        between = type("Between", (type(broker),), {})(broker.alias, broker.options)
        between.cursor = lambda: (broker.cursor(), self._happens())[0]
        return between


def test_sent_between_the_cursor_and_the_question(ada, users, stream, monkeypatch):
    """It is in the table, and after the cursor in the log."""

    def happens():
        send_notification(ada, "between")
        send_notification(users[1], "another's")

    send_notification(ada, "before")
    monkeypatch.setattr(unsent, "broker", Between(unsent.broker, happens))
    events = stream(ada)
    assert texts(events) == ["before", "between"]
    assert unread(events) == 2


def test_committed_and_not_numbered_yet(ada, stream, monkeypatch):
    """A process that was killed after its commit leaves the event in the outbox, where the next one finds it."""
    send_notification(ada, "before")
    monkeypatch.setattr(database_broker, "can_assign_offsets", lambda connection: False)
    send_notification(ada, "killed")
    Notification.objects.filter(text="before").mark_all_as_read()
    monkeypatch.undo()
    events = stream(ada)
    assert sorted(texts(events)) == ["before", "killed"]
    assert unread(events) == 1


@pytest.mark.parametrize("commits", [True, False])
def test_open_while_it_is_asked(ada, stream, alias, commits):
    """What is not committed yet comes by the log, or never."""
    if connections[alias].vendor == "sqlite":
        pytest.skip("who asks would wait for the writer")
    with ThreadPoolExecutor(1) as other:

        def begin():
            transaction.set_autocommit(False, using=alias)
            send_notification(ada, "open")

        def end():
            (transaction.commit if commits else transaction.rollback)(using=alias)
            connections[alias].close()

        other.submit(begin).result()
        send_notification(ada, "meanwhile")
        state = Unsent(ada.pk)
        cursor = state.read_now()
        other.submit(end).result()
    events = stream(ada, state, cursor)
    assert texts(events) == ["meanwhile", *["open"] * commits]
    assert unread(events) == 1 + commits


def test_a_stream_that_is_reset_asks_again(ada, stream, alias):
    """The log is another: what it brings is told by where that begins."""
    send_notification(ada, "unsent")
    state = Unsent(ada.pk)
    state.read_now()
    epoch = new_broker("default").new_epoch()
    send_notification(ada, "later")
    cursor = new_broker("default").cursor()
    assert cursor.epoch == epoch
    events = stream(ada, state, cursor)
    assert texts(events) == ["unsent", "later"]


def test_few_queries_whatever_the_rows(ada, alias, django_assert_num_queries):
    for number in range(30):
        send_notification(ada, str(number))
    with django_assert_num_queries({"postgresql": 4}.get(alias, 3), using=alias):
        Unsent(ada.pk).read_now()
