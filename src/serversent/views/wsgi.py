"""Streams on a WSGI server, where each open stream takes a thread of the server."""

import functools
import logging
from typing import Protocol

from django.http import HttpRequest

from ..errors import AsyncStreamUnderWSGI

__all__ = ["check_wsgi", "is_runserver"]

logger = logging.getLogger("serversent")


class _View(Protocol):
    name: str

    @property
    def is_async(self) -> bool: ...


def check_wsgi(request: HttpRequest, view: _View) -> None:
    """Refuse a stream that cannot work; log once if it works, but not well."""
    if not is_runserver(request) and view.is_async:
        raise AsyncStreamUnderWSGI(view.name, in_test=_is_test_client(request))


def _is_test_client(request: HttpRequest) -> bool:
    return hasattr(request, "_dont_enforce_csrf_checks")  # django.test.Client sets it


def is_runserver(request: HttpRequest) -> bool:
    """Return whether this is Django's own server, which has a thread for every request. If so, log once how to replace
    it."""
    found = str(request.META.get("SERVER_SOFTWARE", "")).startswith("WSGIServer")
    if found:
        _log_runserver_once()
    return found


@functools.cache
def _log_runserver_once() -> None:
    logger.warning(
        "runserver serves each open stream with a thread of its own. To serve them as in production: "
        '1. pip install "django-serversent[daphne]"  '
        '2. put "daphne" first in INSTALLED_APPS  '
        '3. set ASGI_APPLICATION = "<project>.asgi.application", with get_asgi_application from serversent.asgi.'
    )
