"""The identity of a stream: its user and session, as far as the request has loaded them, and its address."""

import functools
import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from django.utils.functional import LazyObject, empty
from django.utils.module_loading import import_string

from ..conf import setting
from ..wire.cursor import Cursor
from .sessions import is_kept_by_server

__all__ = [
    "NOBODY",
    "Identity",
    "identity_of",
    "is_for_another",
    "known_user",
    "new_session_id",
    "page_user",
    "session_ids",
    "user_id",
    "user_of",
]

logger = logging.getLogger("serversent")


_SESSION_KEY = "_serversent"


@dataclass(frozen=True, slots=True)
class Identity:
    """The user, the session and the address of a request for a stream.

    ``user``: the primary key as text, or "". ``sessions``: the ids of the session. ``address``: empty unless
    connections are limited by address. ``requested_at``: when the request came, of ``time.monotonic()``. ``signed_at``:
    the log's head when the stream's URL was signed, if it was. ``session_key``: of a session that was loaded and is
    kept by the server; it is never sent or logged.
    """

    user: str
    sessions: tuple[str, ...]
    address: str
    requested_at: float
    signed_at: Cursor | None = None
    session_key: str = field(default="", repr=False)

    @property
    def is_known(self) -> bool:
        return bool(self.user or self.sessions)


NOBODY = Identity("", (), "", 0.0)


def identity_of(request: HttpRequest, requested_at: float, signed_at: Cursor | None = None) -> Identity:
    """Return the identity of a request.

    Runs no query: a user or session that neither the view nor a middleware has loaded is ignored.
    """
    session = getattr(request, "session", None)
    return Identity(
        user=known_user(request),
        sessions=() if session is None else session_ids(session),
        address=_address(request),
        requested_at=requested_at,
        signed_at=signed_at,
        session_key="" if session is None else _session_key(session),
    )


def user_id(user: Any) -> str:
    """Return the primary key of a user as text, given the user or the key; "" for an anonymous user."""
    key = getattr(user, "pk", None) if hasattr(user, "is_authenticated") else user
    return "" if key is None else str(key)


def user_of(request: HttpRequest) -> str:
    """Return the primary key of the request's user as text, loading the user if need be; "" for an anonymous user."""
    found = getattr(request, "_acached_user", None) or getattr(request, "user", None)
    return "" if found is None else user_id(found)


def page_user(user: str) -> str:
    """Return the code of a user, given the primary key, for the pages of that user. It tells nothing about them."""
    return salted_hmac("serversent.user", user, algorithm="sha256").hexdigest()[:16]


def is_for_another(request: HttpRequest, user: str) -> bool:
    """Return whether the page that asks for a stream of this user was rendered for another user."""
    said = request.META.get("HTTP_SERVERSENT_USER")
    return bool(said and user and said != page_user(user))


def known_user(request: HttpRequest) -> str:
    """Return the primary key of the request's user as text, if the user is loaded; "" otherwise."""
    user = request.__dict__.get("user")
    if isinstance(user, LazyObject) and user.__dict__.get("_wrapped", empty) is empty:
        user = getattr(request, "_acached_user", None)  # of request.auser()
    return "" if user is None else user_id(user)


def _session_key(session: Any) -> str:
    # The key of a session that is not loaded may be made up by the client.
    return (session.session_key or "") if hasattr(session, "_session_cache") and is_kept_by_server(session) else ""


def _address(request: HttpRequest) -> str:
    if setting("MAX_CONNECTIONS_PER_ADDRESS") is None:
        return ""
    path = setting("CLIENT_ADDRESS")
    find: Callable[[HttpRequest], object] = _remote_address if path is None else import_string(path)
    address = str(find(request) or "")
    if not address:
        _warn_no_address_once(path)
    return address


def _remote_address(request: HttpRequest) -> object:
    return request.META.get("REMOTE_ADDR")


@functools.cache
def _warn_no_address_once(path: str | None) -> None:
    logger.warning(
        'SERVERSENT["MAX_CONNECTIONS_PER_ADDRESS"] limits nothing: %s. Set SERVERSENT["CLIENT_ADDRESS"] to a function '
        "of the request that returns the address which the proxy passes on.",
        f"{path} returned no address"
        if path
        else "the server tells no address of its client, as over a unix socket behind a proxy",
    )


def session_ids(session: Any) -> tuple[str, ...]:
    """Return the ids of a session, which do not tell its key: other people can read the log and the URLs.

    They are a digest of its key, which a login changes, and a random id that is kept in the session, if it is loaded
    and has one.
    """
    if isinstance(session, str):
        return (_digest(session),)
    found: list[str] = []
    if session.session_key and not isinstance(session, SignedCookies):  # there the key is all the data
        found.append(_digest(session.session_key))
    # Only if it is loaded: the thread of a generator may be loading it now.
    if hasattr(session, "_session_cache") and (kept := session.get(_SESSION_KEY)):
        found.append(kept)
    return tuple(found)


def new_session_id(session: Any) -> None:
    """Give a session an id that is kept in it, unless it has one."""
    if _SESSION_KEY not in session:
        session[_SESSION_KEY] = secrets.token_urlsafe(12)


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
