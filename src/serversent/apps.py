"""The Django app: its checks, and the signals by which a logout or a changed password ends streams."""

from typing import Any

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db import connections, router
from django.db.models.signals import post_migrate

from .access import auth_signals
from .brokers import memory
from .brokers.database.procedures import install_missing
from .brokers.dialects.detect import dialect_of
from .checks import (
    TAG,
    check_asgi_application,
    check_brokers,
    check_databases,
    check_deployment,
    check_settings,
    check_urls,
)
from .concurrency import live_servers
from .views import page_cursor

__all__ = ["ServerSentConfig"]


class ServerSentConfig(AppConfig):
    name = "serversent"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Server-sent events"

    def ready(self) -> None:
        auth_signals.connect()
        page_cursor.connect()
        live_servers.connect()
        post_migrate.connect(_migrated, sender=self)
        register(check_settings, TAG)
        register(check_brokers, TAG)
        register(check_asgi_application, TAG)
        register(check_urls, TAG)
        register(check_databases, Tags.database)
        register(check_deployment, TAG, deploy=True)


def _migrated(sender: Any, using: str, **kwargs: Any) -> None:
    connection: Any = connections[using]
    if "plan" in kwargs:
        # Test databases may be made without migrations (--nomigrations, TEST: {"MIGRATE": False}).
        if router.allow_migrate(using, "serversent"):
            install_missing(connection)
    elif dialect_of(connection).is_in_memory(connection):
        memory.clear()  # a flush, after a TransactionTestCase: the log in memory is cleared with the database
