"""``manage.py serversent notify`` and ``prune-notifications``."""

import argparse
import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from . import changes
from .models import Level, notification_model
from .send import send_notification

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Add them to those of ``manage.py serversent``."""
    notify = commands.add_parser("notify", help="send a notification to a user")
    notify.add_argument("user", help="the name that the user logs in with")
    notify.add_argument("text")
    notify.add_argument("--level", default=Level.INFO.value, choices=Level.values)
    notify.add_argument("--url", default="", help="where a click leads")
    notify.set_defaults(run=_notify)

    prune = commands.add_parser("prune-notifications", help="remove old notifications that were read")
    prune.add_argument("--days", type=_days, required=True, help="those that are older")
    prune.add_argument("--unread", action="store_true", help="also those that were not read")
    prune.set_defaults(run=_prune)


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < 100_000:
        raise argparse.ArgumentTypeError("it is a number of days")
    return days


def _notify(command: BaseCommand, options: dict[str, Any]) -> None:
    users = get_user_model()
    try:
        user = users.objects.get_by_natural_key(options["user"])
    except users.DoesNotExist as error:
        raise CommandError(f"There is no user {options['user']!r}") from error
    try:
        send_notification(user, options["text"], level=options["level"], url=options["url"])
    except (ValueError, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error


def _prune(command: BaseCommand, options: dict[str, Any]) -> None:
    before = timezone.now() - datetime.timedelta(days=options["days"])
    removed = changes.prune(notification_model(), before, unread=options["unread"])
    command.stdout.write(f"{removed} notifications removed")
