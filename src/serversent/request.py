"""What a stream asks of its request."""

from django.http import HttpRequest

__all__ = ["is_wsgi", "last_event_id"]


def is_wsgi(request: HttpRequest) -> bool:
    return not hasattr(request, "scope")


def last_event_id(request: HttpRequest) -> str:
    """Return the id that the client saw last, from the header or, where it cannot set one, the query string."""
    return request.META.get("HTTP_LAST_EVENT_ID") or request.GET.get("lastEventId") or ""
