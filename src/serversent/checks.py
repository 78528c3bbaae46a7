"""System checks. Each id has its paragraph in docs/checks.md."""

import ast
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.staticfiles.storage import HashedFilesMixin, StaticFilesStorage, staticfiles_storage
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from .brokers import Broker, new_broker
from .conf import broker_settings, problems
from .errors import ServerSentError

__all__ = [
    "TAG",
    "check_asgi_application",
    "check_brokers",
    "check_databases",
    "check_deployment",
    "check_settings",
    "check_urls",
]

TAG = "serversent"  # manage.py check --tag serversent

_IDS = {"dict": "serversent.E001", "key": "serversent.E002", "value": "serversent.E003"}


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report each key of ``SERVERSENT`` that is unknown or has a wrong value."""
    return [Error(text, hint="See the settings in docs/reference.md.", id=_IDS[kind]) for kind, text in problems()]


def check_brokers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report brokers that cannot be made, and the checks of each broker."""
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
    """Report faults that matter in production alone: ``check --deploy``."""
    return [*_static_files(), *(message for broker in _brokers() for message in broker.check_deployment())]


# The script of the client.
SCRIPT = "serversent/serversent.min.js"


def _static_files() -> list[CheckMessage]:
    """Report files of the browser client that no server can deliver: a page without its script stays empty."""
    if not apps.is_installed("django.contrib.staticfiles"):
        return []
    hint = "See docs/howto-static.md."
    if not settings.STATIC_ROOT and isinstance(staticfiles_storage, StaticFilesStorage):
        text = "STATIC_ROOT is not set: nobody delivers the scripts of {% sse_script %} and {% event_stream %}."
        return [Warning(text, hint=hint, id="serversent.W010")]
    try:
        name = staticfiles_storage.stored_name(SCRIPT) if _has_manifest() else SCRIPT  # type: ignore[attr-defined]
        is_there = staticfiles_storage.exists(name)
    except ValueError:  # it is not in the manifest
        is_there = False
    except Exception:  # a storage elsewhere that cannot be asked here
        return []
    if is_there:
        return []
    text = f"The static file {SCRIPT} is not collected yet. Run manage.py collectstatic before the server starts."
    return [Warning(text, hint=hint, id="serversent.W011")]


def _has_manifest() -> bool:
    return isinstance(staticfiles_storage, HashedFilesMixin)


def check_asgi_application(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Report an ``asgi.py`` with Django's own application. It is read and not imported."""
    module, _, _ = str(getattr(settings, "ASGI_APPLICATION", None) or "").rpartition(".")
    try:
        spec = importlib.util.find_spec(module) if module else None
        source = Path(spec.origin).read_text() if spec is not None and spec.origin else ""
    except (ImportError, OSError, ValueError):
        return []
    if "django.core.asgi" not in _imports(source) or "serversent.asgi" in _imports(source):
        return []
    text = f"{module} uses Django's own ASGI application, under which each stream holds its request."
    hint = "There, write: from serversent.asgi import get_asgi_application"
    return [Warning(text, hint=hint, id="serversent.W005")]


def _imports(source: str) -> set[str]:
    """Return the modules that the code of a module imports from."""
    try:
        found = ast.walk(ast.parse(source))
    except SyntaxError:
        return set()
    return {node.module for node in found if isinstance(node, ast.ImportFrom) and node.module}


def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Tell that no path leads to signed streams. Views of one's own need none."""
    try:
        reverse("serversent:stream")
    except NoReverseMatch:
        text = "No path leads to signed streams: {% sse_url %} and {% event_stream %} with channels do not work."
        hint = 'Add path("events/", include("serversent.urls")) to the ROOT_URLCONF, or silence this if you need none.'
        return [Info(text, hint=hint, id="serversent.I001")]
    except Exception:  # an error of the URLconf, which Django's own check reports
        return []
    return []


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
