"""The files of the browser client, where nobody else delivers them: an ASGI server in development."""

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

__all__ = ["is_client_file", "static_files_handler"]


def is_client_file(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for a static file of this package, and the project is in development."""
    if not settings.DEBUG or scope["type"] != "http" or not apps.is_installed("django.contrib.staticfiles"):
        return False
    folder = urlsplit(settings.STATIC_URL or "")
    path: str = scope["path"]
    return bool(folder.path) and not folder.netloc and path.startswith(f"{folder.path}serversent/")


@functools.cache
def static_files_handler() -> Any:
    """Return Django's application for static files, which ``runserver`` uses, too."""
    from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

    return ASGIStaticFilesHandler(ASGIHandler())
