"""Questions about the request of a stream."""

from collections.abc import Callable

from django.http import HttpRequest
from django.utils.module_loading import import_string

from ..conf import setting
from ..errors import InvalidSetup

__all__ = ["connection_setup", "is_wsgi", "last_event_id"]


def is_wsgi(request: HttpRequest) -> bool:
    return not hasattr(request, "scope")


def last_event_id(request: HttpRequest) -> str:
    """Return the id of the client's last event, from the header or, if it cannot set headers, the query string."""
    return request.META.get("HTTP_LAST_EVENT_ID") or request.GET.get("lastEventId") or ""


def connection_setup(request: HttpRequest) -> Callable[[], object] | None:
    """Return the function that prepares the database connections of a stream, which are not the request's own.

    A stream runs on threads of its own. If a middleware has set a tenant or a role on the request's connection,
    ``SERVERSENT["PREPARE_CONNECTIONS"]`` has to set it on theirs.
    """
    path = setting("PREPARE_CONNECTIONS")
    if path is None:
        return None
    prepare: Callable[[], object] | None = import_string(path)(request)
    if prepare is not None and not callable(prepare):
        raise InvalidSetup(path, prepare)
    return prepare
