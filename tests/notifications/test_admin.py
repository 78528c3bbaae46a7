"""Notifications in the admin: looked at, sent, sent to selected users, sent again."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.urls import reverse

from serversent.models import Event
from serversent.notifications import send_notification
from serversent.notifications.models import Notification

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("admin_site")]

LIST = "admin:serversent_notifications_notification_changelist"


@pytest.fixture
def users():
    return [get_user_model().objects.create_user(name) for name in ("ada", "grace", "hedy")]


def sent():
    rows = Event.objects.filter(event="notification").order_by("pk")
    return [(channel, json.loads(data)["text"]) for channel, data in rows.values_list("channel", "data")]


def test_the_list(staff, users, django_assert_max_num_queries):
    for number in range(20):
        send_notification(users, f"<b>{number}</b> " + "x" * 100, level="warning")
    Notification.objects.filter(user=users[0]).mark_all_as_read()
    with django_assert_max_num_queries(8):
        page = staff.get(reverse(LIST)).content.decode()
    assert "&lt;b&gt;19&lt;/b&gt; " + "x" * 50 in page
    assert "x" * 90 not in page
    assert staff.get(reverse(LIST), {"q": "ada"}).content.decode().count("grace") == 0
    for query, count in (({"read_at__isempty": "1"}, 40), ({"sent_at__isempty": "0"}, 0), ({"level": "warning"}, 60)):
        assert staff.get(reverse(LIST), query).context["cl"].result_count == count


def test_a_notification_is_sent_when_it_is_added(staff, users):
    form = {"user": users[0].pk, "text": "from the admin", "level": "info", "url": "/a/"}
    add = reverse("admin:serversent_notifications_notification_add")
    assert staff.post(add, {**form, "url": "javascript:alert(1)"}).status_code == 200
    assert sent() == []
    assert staff.post(add, form).status_code == 302
    assert sent() == [(f"serversent.notifications.{users[0].pk}", "from the admin")]
    assert Notification.objects.get().user == users[0]


def test_a_notification_is_not_sent_again_when_it_is_changed(staff, users):
    made = send_notification(users[0], "before")
    change = reverse("admin:serversent_notifications_notification_change", args=[made.pk])
    assert staff.post(change, {"user": users[1].pk, "text": "after", "level": "info"}).status_code == 302
    assert (Notification.objects.get().text, Notification.objects.get().user) == ("after", users[0])
    assert [text for _, text in sent()] == ["before"]


def test_sending_to_selected_users(staff, users):
    url = reverse("admin:auth_user_changelist")
    keys = [user.pk for user in users[:2]]
    asked = {"action": "send_to_selected_users", "_selected_action": keys, "select_across": "0"}
    page = staff.post(url, asked)
    assert "To 2 users." in page.content.decode()
    assert sent() == []
    page = staff.post(url, {**asked, "send": "Send", "text": "x", "level": "info", "url": "javascript:alert(1)"})
    assert "may begin with" in page.content.decode()
    assert sent() == []
    answer = staff.post(url, {**asked, "send": "Send", "text": "to two", "level": "success", "url": ""}, follow=True)
    assert "The notification was sent to 2 users." in answer.content.decode()
    assert sent() == [(f"serversent.notifications.{key}", "to two") for key in keys]
    assert {row.level for row in Notification.objects.all()} == {"success"}


def test_sending_to_the_users_of_a_queryset(staff):
    users = get_user_model().objects
    users.bulk_create(get_user_model()(username=f"many-{number}") for number in range(150))
    asked = {"action": "send_to_selected_users", "_selected_action": [users.last().pk], "select_across": "1"}
    url = reverse("admin:auth_user_changelist") + "?q=many"
    page = staff.post(url, asked)
    assert "To 150 users." in page.content.decode()
    assert '<input type="hidden" name="select_across" value="1">' in page.content.decode()
    staff.post(url, {**asked, "send": "Send", "text": "to all", "level": "info"})
    assert Notification.objects.count() == 150


def test_sending_needs_the_permission_to_add(client, users):
    clerk = get_user_model().objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["view_user", "change_user"]))
    client.force_login(clerk)
    asked = {"action": "send_to_selected_users", "_selected_action": [users[0].pk], "send": "Send", "text": "x"}
    assert client.post(reverse("admin:auth_user_changelist"), {**asked, "level": "info"}).status_code == 403
    assert client.get(reverse(LIST)).status_code == 403
    assert not Notification.objects.exists()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("send_again", "2 notifications were sent."),
        ("mark_as_read", "2 notifications were marked."),
        ("mark_as_unread", "1 notification was marked."),
        ("delete_selected", "Successfully deleted 2 notifications."),
    ],
)
def test_actions(staff, users, action, words):
    for number in range(3):
        send_notification(users[0], str(number))
    Notification.objects.filter(text="2").mark_all_as_read()
    if action == "mark_as_read":
        Notification.objects.filter(text="2").mark_all_as_unread()
    Notification.objects.update(sent_at="2024-01-01T00:00Z")
    before = Event.objects.count()
    keys = list(Notification.objects.exclude(text="1").values_list("pk", flat=True))
    asked = {"action": action, "_selected_action": keys, "post": "yes"}
    assert words in staff.post(reverse(LIST), asked, follow=True).content.decode()
    told = Event.objects.order_by("pk")[before:]
    assert [event.event for event in told] == (
        ["notification", "notification", "notification-state"] if action == "send_again" else ["notification-state"]
    )
    assert Notification.objects.unsent().count() == (2 if action == "send_again" else 0)
