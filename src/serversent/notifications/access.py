"""The user whose notifications a request is about, by the project's own authentication."""

from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from serversent.access.identity import is_for_another, page_user, user_id, user_of
from serversent.conf import setting

__all__ = ["has_token", "name_in_url", "notified_user", "set_request_user"]

# A browser sends these by itself, so that they do not prove that the page made the request.
SENT_BY_BROWSERS = ("basic", "digest", "negotiate", "ntlm")


def notified_user(request: HttpRequest) -> Any:
    """Return the user whose notifications a request is about; ``None`` for an anonymous request."""
    path = setting("NOTIFICATION_USER")
    user = import_string(path)(request) if path else getattr(request, "user", None)
    is_in = user is not None and user.is_authenticated and getattr(user, "is_active", True)
    return user if is_in else None


def set_request_user(request: HttpRequest, user: Any) -> bool:
    """Set the user of a request. Return ``False`` if the page that asks was rendered for another user."""
    if setting("NOTIFICATION_USER"):
        # The header names the user of the page; the URL names the user of the bell, who may be another one.
        said = request.GET.get("for")
        if said and said != page_user(user_id(user)):
            return False
        if "HTTP_SERVERSENT_USER" in request.META and is_for_another(request, user_of(request)):
            return False
        request.META.pop("HTTP_SERVERSENT_USER", None)
    request.user = user
    return True


def name_in_url(user: Any) -> str:
    """Return the query that names the user of a stream in a page; "" if that is always the page's user."""
    return f"?for={page_user(user_id(user))}" if setting("NOTIFICATION_USER") else ""


def has_token(request: HttpRequest) -> bool:
    """Return whether a request has a token in a header. No other site can make a browser send it, so it needs no CSRF
    token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bool(setting("NOTIFICATION_USER") and token and scheme.lower() not in SENT_BY_BROWSERS)
