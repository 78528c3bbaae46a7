"""The model: the seed's way with it, its flags, its marks, and the indexes of its queries."""

import datetime
import json

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Count
from django.test import override_settings
from django.utils import timezone

from serversent.models import Event
from serversent.notifications import send_notification
from serversent.notifications.models import Notification, check_level, validate_url
from serversent.notifications.send import resend
from serversent.notifications.unsent import _rows


def test_the_seeds_queries_run_as_written(ada, users):
    Notification.objects.create(user=ada, text="first")
    Notification(user=ada, text="second").save()
    Notification.objects.create(user=users[1], text="another's")
    Notification.objects.create(user=ada, text="old", sent=True)
    notification = Notification.objects.filter(sent=False, user=ada).first()
    assert notification.text == "first"
    notification.sent = True
    notification.save()
    assert [found.text for found in Notification.objects.filter(sent=False, user=ada)] == ["second"]
    assert Notification.objects.filter(sent=True, user=ada).count() == 2


def test_flags_and_moments_are_one(ada):
    before = timezone.now()
    made = Notification.objects.create(user=ada, text="x", sent=True)
    assert before <= made.sent_at <= timezone.now()
    assert (made.sent, made.read, made.read_at) == (True, False, None)
    moment = made.sent_at
    made.sent = True  # it is already
    assert made.sent_at == moment
    made.sent = False
    made.read = True
    made.save(update_fields=["sent", "read"])
    found = Notification.objects.get(pk=made.pk)
    assert (found.sent, found.sent_at, found.read) == (False, None, True)
    assert Notification.objects.filter(read=True, sent=False).get() == found
    found.sent_at = moment
    assert found.sent is True
    found.save()
    assert Notification.objects.get(sent=True).sent_at == moment
    given = Notification(user=ada, text="x", sent=True, sent_at=moment)
    assert given.sent_at == moment


def test_flags_of_a_partly_loaded_notification(ada):
    Notification.objects.create(user=ada, text="x", sent=True)
    for found in (Notification.objects.only("sent").get(), Notification.objects.defer("sent_at").get()):
        assert found.sent is True
    found = Notification.objects.only("text").get()
    found.read = True
    found.save()
    found = Notification.objects.get()
    assert (found.read, found.sent) == (True, True)
    found.refresh_from_db()
    assert found.read is True


def test_marking_all(ada, users):
    for user in users:
        for number in range(3):
            Notification.objects.create(user=user, text=str(number))
    mine = Notification.objects.filter(user=ada)
    assert mine.unread().mark_all_as_read() == 3
    assert mine.mark_all_as_read() == 0
    assert mine.unread().count() == 0
    moment = mine.first().read_at
    assert Notification.objects.mark_all_as_read() == 6
    assert mine.first().read_at == moment
    assert mine.mark_all_as_unread() == 3
    assert mine.unread().count() == 3
    assert Notification.objects.unsent().count() == 9


@pytest.mark.parametrize("what", ["read", "unread", "deleted"])
def test_every_page_of_the_users_is_told(ada, users, sent, what):
    for user in users[:2]:
        Notification.objects.create(user=user, text="x", read=what == "unread")
        Notification.objects.create(user=user, text="y")
    rows = Notification.objects.filter(text="x")
    ids = {row.user_id: row.pk for row in rows}
    {"read": rows.mark_all_as_read, "unread": rows.mark_all_as_unread, "deleted": rows.delete}[what]()
    unread = 2 if what == "unread" else 1
    assert sorted(sent(), key=str) == sorted(
        [
            (
                f"serversent.notifications.{user.pk}",
                "notification-state",
                {"change": what, "ids": [ids[user.pk]], "unread": unread},
            )
            for user in users[:2]
        ],
        key=str,
    )


def test_saving_a_read_notification_sends_its_state(ada, sent):
    made = Notification.objects.create(user=ada, text="x")
    made.read = True
    made.save()
    made.text = "y"
    made.save()
    found = Notification.objects.only("text").get()
    found.save()
    assert "read_at" in found.get_deferred_fields()  # not asked for
    made.read = False
    made.save(update_fields=["text"])
    made.save(update_fields=["read"])
    states = [(state["change"], state["ids"], state["unread"]) for _, _, state in sent()]
    assert states == [("read", [made.pk], 0), ("unread", [made.pk], 1)]


@pytest.mark.django_db(databases="__all__")
def test_a_named_database_is_used(database_alias):
    """And not the one that the router says."""
    elsewhere = database_alias("sqlite")
    Notification.objects.using(elsewhere).all().delete()
    user = get_user_model().objects.using(elsewhere).get_or_create(username="ada")[0]
    rows = Notification.objects.using(elsewhere)
    rows.bulk_create(Notification(user=user, text=str(number), sent=True) for number in range(4))
    get_user_model().objects.create(pk=user.pk, username="ada")
    Notification.objects.create(user_id=user.pk, text="here", sent=True)
    try:
        assert rows.mark_all_as_read() == 4
        assert resend(rows.all()) == 4
        assert rows.unsent().count() == 4
        rows.first().delete()
        found = rows.first()
        found._state.db, key = "default", found.pk
        found.delete(using=elsewhere)
        told = json.loads(Event.objects.latest("pk").data)
        assert (told["ids"], told["unread"]) == ([key], 0)
        assert rows.all().delete()[0] == 2
        assert not rows.exists()
    finally:
        rows.all().delete()
    assert Notification.objects.filter(read=False, sent=True).count() == 1


def test_a_page_is_told_the_time_with_its_offset():
    naive = datetime.datetime(2024, 4, 7, 12, 0)
    made = Notification(pk=1, text="x", created_at=naive)  # without USE_TZ
    with override_settings(TIME_ZONE="Asia/Tokyo"):
        assert made.payload()["created_at"].isoformat() == "2024-04-07T12:00:00+09:00"


def test_a_change_of_many_has_no_ids(ada, sent):
    Notification.objects.bulk_create(Notification(user=ada, text="x") for _ in range(1201))
    assert Notification.objects.filter(user=ada).mark_all_as_read() == 1201
    ((_, _, state),) = sent()
    assert state == {"change": "read", "ids": None, "unread": 0}


def test_deleting(ada, sent):
    made = [Notification.objects.create(user=ada, text="x") for _ in range(3)]
    made[0].delete()
    assert Notification.objects.filter(user=ada).delete() == (2, {"serversent_notifications.Notification": 2})
    assert [state["unread"] for _, _, state in sent()] == [2, 0]
    Notification.objects.create(user=ada, text="x")
    ada.delete()
    assert not Notification.objects.exists()


def test_a_rollback_sends_nothing(ada, sent, alias):
    from django.db import transaction

    made = send_notification(ada, "x")
    before = sent()
    with transaction.atomic(using=alias):
        Notification.objects.mark_all_as_read()
        made.delete()
        transaction.set_rollback(True, using=alias)
    assert sent() == before
    assert Notification.objects.unread().count() == 1


# What a link may be.

SAFE = [
    "",
    "/reports/5/",
    "reports/5/?a=b#c",
    "#top",
    "https://example.com/",
    "HTTP://example.com",
    "mailto:a@b.example",
]
UNSAFE = [
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    " javascript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,<script>",
    "vbscript:x",
    "file:///etc/passwd",
    "a b",
]


@pytest.mark.parametrize("url", SAFE)
def test_safe_urls(url):
    validate_url(url)


@pytest.mark.parametrize("url", UNSAFE)
def test_unsafe_urls(url):
    with pytest.raises(ValidationError):
        validate_url(url)


def test_levels():
    from django.contrib import messages

    assert [check_level(number) for number in (10, 20, 25, 30, 40)] == ["debug", "info", "success", "warning", "error"]
    assert check_level(messages.SUCCESS) == check_level("success") == "success"
    for wrong in ("fatal", "", 7):
        with pytest.raises(ValueError, match="is no level"):
            check_level(wrong)


# What the queries cost.

TABLE = Notification._meta.db_table


@pytest.fixture
def many(alias, ada, users):
    """10,000 of one user, most of them sent and read, among as many of others."""
    now = timezone.now()
    for user in (ada, users[1]):
        Notification.objects.bulk_create(
            Notification(
                user=user,
                text=f"notification {number}",
                sent_at=now,
                read_at=now if number % 10 else None,
                created_at=now - datetime.timedelta(minutes=number),
            )
            for number in range(10_000)
        )
    with connections[alias].cursor() as cursor:
        vendor = connections[alias].vendor
        cursor.execute("ANALYZE TABLE serversent_notifications_notification" if vendor == "mysql" else "ANALYZE")
        if vendor == "mysql":
            cursor.fetchall()


def plans(queryset, alias):
    """Return the rows of the plan of a query, as text."""
    sql, parameters = queryset.query.get_compiler(alias).as_sql()
    vendor = connections[alias].vendor
    with connections[alias].cursor() as cursor:
        cursor.execute(("EXPLAIN QUERY PLAN " if vendor == "sqlite" else "EXPLAIN ") + sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def scans(queryset, alias):
    """Return the steps of a plan that go through all notifications."""
    vendor, found = connections[alias].vendor, plans(queryset, alias)
    if vendor == "mysql":
        assert any(step["table"] == TABLE for step in found), found
        return [step for step in found if step["table"] == TABLE and step["key"] is None]
    text = [str(list(step.values())[-1]) for step in found]
    assert any(TABLE in step for step in text), text
    whole = {"sqlite": f"SCAN {TABLE}", "postgresql": f"Seq Scan on {TABLE}"}[vendor]
    return [step for step in text if step.strip(" ->").startswith(whole) and "INDEX" not in step]


def test_the_queries_have_an_index(ada, many, alias):
    mine = Notification.objects.filter(user=ada)
    keys = list(mine.values_list("pk", flat=True)[:100])
    parts = list(_rows(Notification, alias, ada.pk))
    queries = {
        "a page": mine.order_by("-pk")[:21],
        "what is unsent": mine.unsent().order_by("pk"),
        "what is unread": mine.unread().order_by("-pk")[:21],
        "how much is unread": mine.unread().order_by().values("user").annotate(number=Count("pk")),
        "the seed's": mine.filter(sent=False),
        "what a stream begins with": parts[0].union(*parts[1:], all=True),
        "what is marked": Notification.objects.filter(sent=False, pk__in=keys),
        "what is old": Notification.objects.filter(created_at__lt=timezone.now() - datetime.timedelta(days=6)),
    }
    for name, queryset in queries.items():
        assert not scans(queryset, alias), name
    assert scans(Notification.objects.filter(text="notification 7"), alias)  # so would the others be seen
