"""The HTML of the bell and of the toasts."""

import itertools
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.forms.utils import flatatt
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from serversent.views.elements import nonce_of, script_element

from .access import name_in_url, notified_user
from .models import notification_model

__all__ = ["bell_element", "toasts_element"]


def bell_element(request: HttpRequest) -> SafeString:
    """Return the bell of the page's user, with the number of unread notifications; nothing for an anonymous user."""
    user = notified_user(request)
    if user is None:
        return SafeString("")
    numbers = request.__dict__.setdefault("_serversent_bells", itertools.count(1))
    model = notification_model()
    rows = model._default_manager.using(router.db_for_write(model))  # a replica may be late
    unread = rows.filter(user=user.pk, read=False).count()
    return _element(request, user, "bell", id=f"notification-bell-{next(numbers)}", unread=unread)


def toasts_element(request: HttpRequest, seconds: float = 8) -> SafeString:
    """Return where new notifications are shown for some seconds; 0: until they are dismissed."""
    user = notified_user(request)
    return SafeString("") if user is None else _element(request, user, "toasts", seconds=f"{seconds:g}")


def _element(request: HttpRequest, user: Any, name: str, **context: Any) -> SafeString:
    try:
        urls = {f"{part}_url": reverse(f"serversent_notifications:{view}") for part, view in _URLS.items()}
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            f"{{% notification_{name} %}} needs the URLs of notifications: "
            'path("notifications/", include("serversent.notifications.urls")).'
        ) from error
    urls["stream_url"] += name_in_url(user)
    html = render_to_string(
        f"serversent/notifications/{name}.html", {**context, **urls, "csrf_token": get_token(request)}
    )
    return format_html("{}\n{}", _files(request), SafeString(html))


_URLS = {"stream": "stream", "list": "index"}


def _files(request: HttpRequest) -> SafeString:
    """Return the tags that load the elements. A browser loads each file once, however often its tag is there."""
    style = {"rel": "stylesheet", "href": static("serversent/notifications.css")}
    script = {"type": "module", "src": static(f"serversent/notifications{'' if settings.DEBUG else '.min'}.js")}
    if nonce := nonce_of(request):
        style["nonce"] = script["nonce"] = nonce
    return format_html("<link{}>{}<script{}></script>", flatatt(style), script_element(request), flatatt(script))
