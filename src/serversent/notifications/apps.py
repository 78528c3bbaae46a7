"""The Django app."""

from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

__all__ = ["NotificationsConfig"]


class NotificationsConfig(AppConfig):
    name = "serversent.notifications"
    label = "serversent_notifications"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        from serversent.checks import TAG

        from . import charset, checks

        register(checks.check_setup, TAG)
        post_migrate.connect(charset.convert, sender=self)

    def add_serversent_commands(self, commands: Any) -> None:
        """Add to ``manage.py serversent``, which asks each app for this."""
        from .commands import add_commands

        add_commands(commands)
