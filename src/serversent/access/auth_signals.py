"""Django's signals that end a user's streams: a logout, a changed password, and a deleted account."""

import logging
from contextlib import nullcontext
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import connections, transaction
from django.db.models.signals import post_delete, post_save

from ..brokers import broker
from .end_streams import end_logins, end_old_key, end_session, end_streams
from .identity import new_session_id
from .sessions import is_kept_by_server

__all__ = ["connect"]

logger = logging.getLogger("serversent")


def connect() -> None:
    """Listen to the signals of users, if the project has any."""
    if not apps.is_installed("django.contrib.auth"):
        return
    user_logged_in.connect(_logged_in, dispatch_uid="serversent")
    user_logged_out.connect(_logged_out, dispatch_uid="serversent")
    # The user model and its proxies alone: a receiver for every model would slow all deletions down.
    for model in apps.get_models():
        if issubclass(model, get_user_model()):
            post_save.connect(_saved, sender=model, dispatch_uid=f"serversent.{model._meta.label}")
            post_delete.connect(_deleted, sender=model, dispatch_uid=f"serversent.{model._meta.label}")


def _logged_in(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    """Name the session, while it is saved anyway: its key may change, and its streams are to be found then."""
    session = getattr(request, "session", None)
    if session is None:
        return
    new_session_id(session)
    # A login as another user flushes the session, and any login gives it another key. Streams under the old key end.
    old = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME)
    if old and old != session.session_key and is_kept_by_server(session) and not session.exists(old):
        _say(end_old_key, old)


def _logged_out(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if user is not None and session is not None:
        _say(end_session, user, session)


def _saved(sender: Any, instance: Any, created: bool, **kwargs: Any) -> None:
    if created or kwargs.get("raw"):
        return
    # set_password() leaves the new one there until it is saved; a better hash of the old one is saved without it.
    if not getattr(instance, "is_active", True):
        _say(lambda: end_streams(user=instance))
    elif getattr(instance, "_password", None) is not None:
        _say(end_logins, instance)


def _deleted(sender: Any, instance: Any, **kwargs: Any) -> None:
    _say(lambda: end_streams(user=instance))


def _say(end: Any, *args: Any) -> None:
    database = broker("default").database
    try:
        # A statement that fails would fail the whole transaction of the project.
        with transaction.atomic(database) if database and connections[database].in_atomic_block else nullcontext():
            end(*args)
    except Exception:  # a logout must not fail because of it
        logger.exception("The streams of a user could not be ended")
