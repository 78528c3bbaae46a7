"""Whose notifications: of the user of the request, by whatever means the project knows them."""

from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from serversent.conf import setting

__all__ = ["has_token", "notified_user"]

# What a browser sends by itself, and so proves nothing about who made the request.
SENT_BY_BROWSERS = ("basic", "digest", "negotiate", "ntlm")


def notified_user(request: HttpRequest) -> Any:
    """Return whose notifications a request is about; ``None`` for nobody's."""
    path = setting("NOTIFICATION_USER")
    user = import_string(path)(request) if path else getattr(request, "user", None)
    is_in = user is not None and user.is_authenticated and getattr(user, "is_active", True)
    return user if is_in else None


def has_token(request: HttpRequest) -> bool:
    """Whether the request proves by itself that it is meant: no other site can make a browser send such a header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bool(setting("NOTIFICATION_USER") and token and scheme.lower() not in SENT_BY_BROWSERS)
