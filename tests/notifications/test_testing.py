"""Notifications in a project's own tests: nothing is committed there, and everything works."""

import json

from django.contrib.auth import get_user_model
from django.test import TestCase, override_settings

from serversent.access.identity import page_user
from serversent.notifications import send_notification
from serversent.notifications.models import Notification
from serversent.testing import captured_events, open_stream


class NotificationTests(TestCase):
    def setUp(self):
        self.ada = get_user_model().objects.create_user("ada")
        self.client.force_login(self.ada)

    def test_captured_events_has_notifications(self):
        with captured_events() as events:
            send_notification(self.ada, "hello")
        self.assertEqual(len(events), 1)
        self.assertEqual(json.loads(events[0].data)["text"], "hello")
        self.assertEqual(Notification.objects.get().text, "hello")

    def test_a_stream(self):
        Notification.objects.create(user=self.ada, text="unsent")
        with open_stream(self.client, "/notifications/stream/") as stream:
            self.assertEqual([event.event for event in stream.take(2)], ["ready", "notification-state"])
            self.assertEqual(json.loads(stream.next().data)["text"], "unsent")
            send_notification(self.ada, "live")
            self.assertEqual(json.loads(stream.next().data)["text"], "live")
            Notification.objects.filter(text="live").mark_all_as_read()
            self.assertEqual(json.loads(stream.next().data)["unread"], 1)
        self.assertEqual(list(Notification.objects.order_by("pk").values_list("sent", flat=True)), [True, True])

    @override_settings(SERVERSENT={"NOTIFICATION_USER": f"{__name__}.ada_whoever_asks"})
    def test_a_page_of_another_user_than_its_bell(self):
        grace = get_user_model().objects.create_user("grace")
        self.client.force_login(grace)
        send_notification(self.ada, "hers")
        headers = {"Serversent-User": page_user(str(grace.pk))}
        url = f"/notifications/stream/?for={page_user(str(self.ada.pk))}"
        with open_stream(self.client, url, headers=headers) as stream:
            self.assertEqual([event.event for event in stream.take(2)], ["ready", "notification-state"])
            self.assertEqual(json.loads(stream.next().data)["text"], "hers")


def ada_whoever_asks(request):
    return get_user_model().objects.get(username="ada")
