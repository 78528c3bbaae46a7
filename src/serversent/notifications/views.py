"""The views of notifications: the stream, the list, and changes. Each view reaches those of its user alone."""

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import BadRequest
from django.db import router
from django.http import HttpRequest, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from serversent.channels.subscription import Subscription
from serversent.errors import WRONG_USER, StreamRefused
from serversent.views.channel_response import channel_response, refused
from serversent.views.decorators import EveryDatabase
from serversent.views.refusals import refusal
from serversent.views.request import last_event_id

from . import marking
from .access import has_token, notified_user, set_request_user
from .events import channel_of
from .models import NotificationQuerySet, notification_model
from .unsent import Unsent

__all__ = ["count", "delete", "index", "read", "read_all", "stream"]

PAGE = 20
MAX_PAGE = 100

View = Callable[..., HttpResponseBase]


def _for_user(*methods: str) -> Callable[[View], View]:
    """Admit authenticated users, by the project's own authentication, with these methods."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method not in methods:
                return HttpResponseNotAllowed(methods)
            user = notified_user(request)
            if user is None:
                # Never a redirect: an EventSource would follow it to the page with the login.
                return JsonResponse({"detail": _("Log in to see your notifications.")}, status=403)
            if not set_request_user(request, user):
                return refusal(StreamRefused(401, WRONG_USER))
            try:
                return view(request, *args, **kwargs)
            except BadRequest as error:
                return JsonResponse({"detail": str(error)}, status=400)

        checked = csrf_protect(answer)

        @functools.wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return (answer if has_token(request) else checked)(request, *args, **kwargs)

        found: Any = csrf_exempt(wrapper)  # it is checked here, for all but those with a token
        found.login_required = False  # said by ourselves, not by a redirect of LoginRequiredMiddleware
        return found  # type: ignore[no-any-return]

    return decorate


def _mine(request: HttpRequest) -> NotificationQuerySet:
    model = notification_model()
    # Not from a replica, which may lag: a page asks for notifications that it has just seen an event of.
    rows = model._default_manager.using(router.db_for_write(model))
    found: NotificationQuerySet = rows.filter(user=request.user.pk)
    return found


def _unread(request: HttpRequest) -> int:
    return _mine(request).unread().count()


@_for_user("GET", "HEAD")
def stream(request: HttpRequest) -> HttpResponseBase:
    """Stream a user's notifications: the unsent ones, oldest first, then new ones.

    A client with a cursor gets only what it missed.
    """
    if answer := refused(request):
        return answer
    marking.connect()
    unsent, begins_at = Unsent(request.user.pk), ""
    if not last_event_id(request):
        marking.wait_for_pending()  # otherwise what this process has just written would be written again
        begins_at = str(unsent.read_now())
    return channel_response(
        request,
        Subscription(channel_of(request.user.pk), initial=unsent.initial()),
        "serversent.notifications.stream",
        "default",
        begins_at=begins_at,
    )


stream._non_atomic_requests = EveryDatabase()  # type: ignore[attr-defined]


@never_cache
@_for_user("GET", "HEAD")
def index(request: HttpRequest) -> HttpResponseBase:
    """List notifications, the newest first: as JSON, or as a page for a browser.

    ``?before=ID`` and ``?limit=N`` of at most 100: the page that begins below. ``?unread=1``: only unread ones.
    """
    before, limit = _number(request, "before"), min(_number(request, "limit") or PAGE, MAX_PAGE)
    rows = _mine(request).order_by("-pk")
    if request.GET.get("unread") == "1":
        rows = rows.unread()
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: limit + 1])
    notifications, next_url = found[:limit], ""
    if len(found) > limit:
        query = {**request.GET.dict(), "before": str(notifications[-1].pk)}
        next_url = f"{request.path}?{urlencode(query)}"
    answer: HttpResponseBase
    if _wants_page(request):
        context = {"notifications": notifications, "next_url": next_url, "unread": _unread(request)}
        answer = render(request, "serversent/notifications/list.html", context)
    else:
        items = [notification.payload() for notification in notifications]
        answer = JsonResponse({"notifications": items, "unread": _unread(request), "next": next_url or None})
    patch_vary_headers(answer, ["Accept"])
    return answer


@never_cache
@_for_user("GET", "HEAD")
def count(request: HttpRequest) -> HttpResponseBase:
    """Return the number of unread notifications."""
    return JsonResponse({"unread": _unread(request)})


@_for_user("POST")
def read(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Mark one notification as read."""
    get_object_or_404(_mine(request), pk=pk)
    _mine(request).filter(pk=pk).mark_all_as_read()
    return _done(request)


@_for_user("POST")
def read_all(request: HttpRequest) -> HttpResponseBase:
    """Mark all as read: with ``upto``, an id, those that were there when the page was shown."""
    rows = _mine(request)
    if (upto := _number(request, "upto")) is not None:
        rows = rows.filter(pk__lte=upto)
    rows.mark_all_as_read()
    return _done(request)


@_for_user("POST")
def delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Delete one notification."""
    get_object_or_404(_mine(request), pk=pk).delete()
    return _done(request)


def _done(request: HttpRequest) -> HttpResponseBase:
    if _wants_page(request):  # a form of the page, without JavaScript
        return HttpResponseRedirect(reverse("serversent_notifications:index"), status=303)
    return JsonResponse({"unread": _unread(request)})


def _wants_page(request: HttpRequest) -> bool:
    return request.get_preferred_type(["application/json", "text/html"]) == "text/html"


def _number(request: HttpRequest, name: str) -> int | None:
    """Return a number of the query or the form; ``None`` if it is not there. Raises ``BadRequest`` for other text."""
    value = (request.POST if request.method == "POST" else request.GET).get(name, "")
    if not value:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise BadRequest(f"{name} must be a whole number, without separators")
    return int(value)
