"""The Django app: nothing but the system checks needs it."""

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_settings

__all__ = ["ServerSentConfig"]


class ServerSentConfig(AppConfig):
    name = "serversent"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Server-sent events"

    def ready(self) -> None:
        register(check_settings)
