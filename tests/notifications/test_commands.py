"""``manage.py serversent notify`` and ``prune-notifications``."""

import datetime
import io
import re

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from serversent.notifications import changes, send_notification
from serversent.notifications.models import Notification


def test_notify(ada, sent):
    call_command("serversent", "notify", "ada", "from a shell", "--level", "success", "--url", "/a/")
    row = Notification.objects.get()
    assert (row.user, row.text, row.level, row.url) == (ada, "from a shell", "success", "/a/")
    assert [data["text"] for _, _, data in sent()] == ["from a shell"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["notify", "nobody", "x"], "There is no user 'nobody'"),
        (["notify", "ada", "x", "--level", "fatal"], "invalid choice"),
        (["notify", "ada", "x", "--url", "javascript:alert(1)"], "cannot be the URL"),
        (["prune-notifications"], "required"),
        (["prune-notifications", "--days", "-1"], "a number of days"),
        (["prune-notifications", "--days", "x"], "invalid"),
    ],
)
def test_mistakes_are_told(ada, arguments, words):
    with pytest.raises(CommandError, match=re.escape(words)):
        call_command("serversent", *arguments)
    assert not Notification.objects.exists()


def test_pruning(ada, users, sent, monkeypatch):
    monkeypatch.setattr(changes, "BATCH", 4)
    now = timezone.now()
    for days in range(10):
        for read in (False, True):
            moment = now - datetime.timedelta(days=days, minutes=1)
            Notification.objects.create(user=ada, text=f"{days} {read}", created_at=moment, read=read)
    output = io.StringIO()
    call_command("serversent", "prune-notifications", "--days", "5", stdout=output)
    assert output.getvalue() == "5 notifications removed\n"
    assert not Notification.objects.filter(read=True, created_at__lt=now - datetime.timedelta(days=5)).exists()
    assert Notification.objects.unread().count() == 10
    assert sent() == []
    call_command("serversent", "prune-notifications", "--days", "2", "--unread", stdout=output)
    assert output.getvalue().endswith("\n11 notifications removed\n")
    assert Notification.objects.count() == 4
    assert sent()[-1][2]["unread"] == 2
    assert send_notification(ada, "goes on").pk
