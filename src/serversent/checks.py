"""System checks. Each id has its paragraph in docs/checks.md."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from .brokers import Broker, new_broker
from .conf import broker_settings, problems
from .errors import ServerSentError

__all__ = ["TAG", "check_brokers", "check_databases", "check_deployment", "check_settings"]

TAG = "serversent"  # manage.py check --tag serversent

_IDS = {"dict": "serversent.E001", "key": "serversent.E002", "value": "serversent.E003"}


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each key of ``SERVERSENT`` that is unknown or has a wrong value."""
    return [Error(text, hint="See the settings in docs/reference.md.", id=_IDS[kind]) for kind, text in problems()]


def check_brokers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report brokers that cannot be made, and what each has to say of its own configuration."""
    found: list[CheckMessage] = []
    for alias in _aliases():
        try:
            broker = new_broker(alias)
        except (ImportError, ImproperlyConfigured, ServerSentError, TypeError) as error:
            hint = "See the brokers in docs/reference.md."
            found.append(Error(f"The broker {alias!r} cannot be made: {error}", hint=hint, id="serversent.E004"))
            continue
        found += broker.check()
        if not broker.durable and not settings.DEBUG:
            found.append(
                Warning(
                    f"The broker {alias!r} keeps its events in the memory of one process, and DEBUG is off.",
                    hint="Events of other processes do not arrive. Use the database broker, or one process.",
                    id="serversent.W001",
                )
            )
    return found


def check_databases(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Report brokers whose tables are not there. It asks the databases, so only where they are named."""
    return [message for broker in _brokers() for message in broker.check_databases(databases or [])]


def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report what is fine at home and not in production: ``check --deploy``."""
    return [message for broker in _brokers() for message in broker.check_deployment()]


def _aliases() -> list[str]:
    try:
        return list(broker_settings())
    except ImproperlyConfigured:  # check_settings tells of it
        return []


def _brokers() -> list[Broker]:
    made = []
    for alias in _aliases():
        try:
            made.append(new_broker(alias))
        except Exception:  # noqa: S112 - check_brokers tells of it
            continue
    return made
