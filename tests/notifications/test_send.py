"""send_notification: the row and the event are one, for one user and for ten thousand."""

import tracemalloc
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.contrib.messages import constants
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse_lazy
from django.utils.functional import SimpleLazyObject

from serversent.notifications import asend_notification, send, send_notification
from serversent.notifications.models import MAX_TEXT_CHARACTERS, Notification
from serversent.notifications.send import resend


def test_a_row_and_an_event(ada, sent):
    made = send_notification(ada, "Your report is ready", level="success", url="/reports/5/", data={"report": 5})
    row = Notification.objects.get()
    assert (row, row.user, row.text, row.level, row.url) == (made, ada, made.text, "success", "/reports/5/")
    assert (row.data, row.sent, row.read) == ({"report": 5}, False, False)
    ((channel, kind, data),) = sent()
    assert (channel, kind) == (f"serversent.notifications.{ada.pk}", "notification")
    created_at = data.pop("created_at")
    assert created_at.startswith(row.created_at.strftime("%Y-%m-%dT%H:%M:%S"))
    assert data == {
        "id": row.pk,
        "text": "Your report is ready",
        "level": "success",
        "url": "/reports/5/",
        "data": {"report": 5},
        "read": False,
    }


def test_arguments_of_send_notification(ada, sent):
    send_notification(ada.pk, "by the key")
    send_notification(SimpleLazyObject(lambda: ada), "request.user")
    send_notification(ada, "a level of messages", level=constants.WARNING)
    send_notification(ada, reverse_lazy("serversent_notifications:index"), url=reverse_lazy("serversent:stream"))
    assert [data["level"] for _, _, data in sent()] == ["info", "info", "warning", "info"]
    assert sent()[-1][2]["url"] == "/events/"
    assert Notification.objects.filter(user=ada).count() == 4


async def test_from_async_code(alias, django_db_blocker):
    ada = await sync_to_async(get_user_model().objects.create_user)("async")
    made = await asend_notification(ada, "async")
    assert (made.text, made.user_id) == ("async", ada.pk)
    assert await asend_notification([ada], "several") == 1
    await sync_to_async(lambda: connections[alias].close())()


def test_text_of_any_length(ada, sent):
    send_notification(ada, "ä" * 3_000_000)
    assert len(Notification.objects.get().text) == 3_000_000
    ((_, _, data),) = sent()
    assert len(data["text"]) == MAX_TEXT_CHARACTERS
    assert data["text"].endswith("ä…")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"level": "fatal"}, ValueError, "is no level"),
        ({"url": "javascript:alert(1)"}, ValueError, "cannot be the URL"),
        ({"url": "/" + "x" * 2000}, ValueError, "2001 characters, and may have 2000"),
        ({"text": "a\0b"}, ValueError, "NUL"),
        ({"user_or_users": AnonymousUser()}, TypeError, "a user who is saved"),
        ({"user_or_users": None}, TypeError, "a user who is saved"),
        ({"user_or_users": "ada"}, TypeError, "a user who is saved"),
        ({"user_or_users": get_user_model()(username="unsaved")}, TypeError, "a user who is saved"),
        ({"user_or_users": [AnonymousUser()]}, TypeError, "users who are saved"),
        ({"user_or_users": ["ada"]}, TypeError, "'ada' is no key of one"),
        ({"user_or_users": {"ada": 1}}, TypeError, "a user who is saved"),
        ({"category": "x"}, TypeError, "category"),
    ],
)
def test_mistakes(ada, sent, arguments, error, words):
    with pytest.raises(error, match=words):
        send_notification(**{"user_or_users": ada, "text": "x", **arguments})
    assert not Notification.objects.exists()
    assert not sent()


def test_a_user_that_does_not_exist(alias, sent):
    with pytest.raises(IntegrityError):
        send_notification([10**9], "x")
    with pytest.raises(IntegrityError):
        send_notification(10**9, "x")
    assert not sent()


@pytest.mark.parametrize("where", ["outer", "savepoint"])
def test_a_rollback_takes_both(ada, sent, alias, where):
    with transaction.atomic(using=alias):
        with transaction.atomic(using=alias):
            send_notification(ada, "rolled back")
            send_notification(get_user_model().objects.all(), "rolled back")
            transaction.set_rollback(where == "savepoint", using=alias)
        if where == "outer":
            transaction.set_rollback(True, using=alias)
    assert not Notification.objects.exists()
    assert not sent()
    send_notification(ada, "stays")
    assert [data["text"] for _, _, data in sent()] == ["stays"]


def test_everybody_gets_one_of_each_and_once(users, sent):
    first, second = Group.objects.create(name="a"), Group.objects.create(name="b")
    for user in users:
        user.groups.add(first, second)
    joined = get_user_model().objects.filter(groups__name__in=["a", "b"])
    assert joined.count() == 6
    assert send_notification(joined, "x") == 3
    assert send_notification([users[0], users[0].pk, users[1]], "y") == 2
    assert send_notification(get_user_model().objects.order_by("-pk")[:2], "z") == 2
    assert send_notification(get_user_model().objects.none(), "nobody") == 0
    assert send_notification([], "nobody") == 0
    assert send_notification((user for user in users), "generator") == 3
    assert send_notification([f"0{users[0].pk}", users[0].pk, str(users[0].pk)], "a key in three spellings") == 1
    assert len(sent()) == Notification.objects.count() == 11
    assert sent()[-1][0] == f"serversent.notifications.{users[0].pk}"
    first.delete()
    second.delete()


@pytest.fixture
def crowd(alias):
    model = get_user_model()
    model.objects.bulk_create(model(username=f"user-{uuid.uuid4()}") for _ in range(10_000))
    return model.objects.filter(username__startswith="user-")


def test_a_crowd_of_ten_thousand(crowd, sent, alias):
    """Few queries, the same number for each batch, and a memory that does not grow with the users."""
    tracemalloc.start()
    with CaptureQueriesContext(connections[alias]) as queries:
        assert send_notification(crowd, "to all") == 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    vendor = connections[alias].vendor
    # For 900 users: an insert of the rows, three of the events, and a savepoint. SQLite takes fewer rows at once.
    assert len(queries) <= {"sqlite": 150, "postgresql": 72, "mysql": 72}[vendor], len(queries)
    assert peak < 20_000_000
    events = sent()
    assert len(events) == 10_000
    assert {channel for channel, _, _ in events} == {f"serversent.notifications.{user.pk}" for user in crowd}
    assert {data["id"] for _, _, data in events} == set(Notification.objects.values_list("pk", flat=True))


def test_long_texts_to_a_crowd(crowd, sent, alias):
    """MariaDB refuses a statement of 16 MB."""
    with CaptureQueriesContext(connections[alias]) as queries:
        assert send_notification(crowd[:1000], "x" * 9_000, data=["y" * 20_000]) == 1000
    assert max(len(query["sql"]) for query in queries) < 8_000_000
    assert len(sent()) == 1000


def test_all_users_or_none(users, sent, monkeypatch):
    monkeypatch.setattr(send, "BATCH", 2)
    with pytest.raises(IntegrityError):
        send_notification([*users, 10**9], "x")
    assert not Notification.objects.exists()
    assert not sent()


def test_again(ada, sent):
    made = [send_notification(ada, str(number)) for number in range(3)]
    Notification.objects.update(sent_at=made[0].created_at)
    assert resend(Notification.objects.filter(pk__in=[made[0].pk, made[2].pk])) == 2
    events = sent()
    assert [data["text"] for _, kind, data in events if kind == "notification"] == ["0", "1", "2", "0", "2"]
    assert events[-1][1:] == ("notification-state", {"unread": 3})  # and not five
    assert list(Notification.objects.unsent().values_list("text", flat=True)) == ["0", "2"]
