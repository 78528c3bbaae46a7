"""The Django app."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _

__all__ = ["NotificationsConfig"]


class NotificationsConfig(AppConfig):
    name = "serversent.notifications"
    label = "serversent_notifications"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        from . import checks

        register(checks.check_setup)
