"""System checks."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error

from .conf import problems

__all__ = ["check_settings"]

_IDS = {"dict": "serversent.E001", "key": "serversent.E002", "value": "serversent.E003"}


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each key of ``SERVERSENT`` that is unknown or has a wrong value."""
    return [Error(text, hint="See the settings in docs/reference.md.", id=_IDS[kind]) for kind, text in problems()]
