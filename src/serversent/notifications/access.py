"""Whose notifications: of the user of the request, by whatever means the project knows them."""

from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from serversent.access.identity import is_for_another, page_user, user_id, user_of
from serversent.conf import setting

__all__ = ["adopt", "has_token", "name_in_url", "notified_user"]

# A browser sends these by itself, so that they do not prove that the page made the request.
SENT_BY_BROWSERS = ("basic", "digest", "negotiate", "ntlm")


def notified_user(request: HttpRequest) -> Any:
    """Return whose notifications a request is about; ``None`` for nobody's."""
    path = setting("NOTIFICATION_USER")
    user = import_string(path)(request) if path else getattr(request, "user", None)
    is_in = user is not None and user.is_authenticated and getattr(user, "is_active", True)
    return user if is_in else None


def adopt(request: HttpRequest, user: Any) -> bool:
    """Make ``user`` the request's; ``False`` if the page that asks was rendered for another."""
    if setting("NOTIFICATION_USER"):
        # The page has a user of its own, whom the header names, and its bell may have another, whom the URL names.
        said = request.GET.get("for")
        if said and said != page_user(user_id(user)):
            return False
        if "HTTP_SERVERSENT_USER" in request.META and is_for_another(request, user_of(request)):
            return False
        request.META.pop("HTTP_SERVERSENT_USER", None)
    request.user = user
    return True


def name_in_url(user: Any) -> str:
    """Return the query that names the user whom a stream in a page is for; nothing where the page has no other."""
    return f"?for={page_user(user_id(user))}" if setting("NOTIFICATION_USER") else ""


def has_token(request: HttpRequest) -> bool:
    """Whether the request proves by itself that it is meant: no other site can make a browser send such a header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bool(setting("NOTIFICATION_USER") and token and scheme.lower() not in SENT_BY_BROWSERS)
