"""The Django app: its checks, and the signals that end the streams of who may not listen any more."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from . import signals
from .checks import TAG, check_brokers, check_databases, check_deployment, check_settings

__all__ = ["ServerSentConfig"]


class ServerSentConfig(AppConfig):
    name = "serversent"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Server-sent events"

    def ready(self) -> None:
        signals.connect()
        register(check_settings, TAG)
        register(check_brokers, TAG)
        register(check_databases, Tags.database)
        register(check_deployment, TAG, deploy=True)
