"""System checks. Each id has its paragraph in docs/checks.md."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from serversent.errors import ServerSentError

from .models import notification_model
from .publishing import has_log

__all__ = ["check_setup"]


def check_setup(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report missing requirements of notifications, and promises that they cannot keep with this configuration."""
    found: list[CheckMessage] = []
    if not apps.is_installed("serversent"):
        found.append(
            Error(
                'The app "serversent.notifications" is installed without "serversent".',
                hint='Add "serversent" to INSTALLED_APPS: it has the log that notifications are sent through.',
                id="serversent.E020",
            )
        )
    try:
        alias = router.db_for_write(notification_model())
    except ImproperlyConfigured as error:
        return [*found, Error(str(error), id="serversent.E021")]
    try:
        is_one = has_log(alias)
    except (ImportError, ImproperlyConfigured, ServerSentError, TypeError):  # check_brokers tells of it
        return found
    if not is_one:
        found.append(
            Warning(
                f"Notifications are in the database {alias!r}, and the default broker's log is elsewhere.",
                hint="One that is sent while its user connects may come twice, and a process that dies after the "
                "commit leaves it for the next connection without a cursor. A database broker there has neither.",
                id="serversent.W020",
            )
        )
    return found
