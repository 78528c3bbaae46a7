"""Signed URLs: a list of channels for one user or session, so that everybody who may see a page may open its stream."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib.auth import SESSION_KEY
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.crypto import salted_hmac

from ..access.identity import Identity, identity_of, new_session_id, session_ids, user_of
from ..brokers import broker
from ..brokers.channel_names import REVOKED_SECONDS, check_channels
from ..channels.subscription import Start, check_start
from ..concurrency.sync_code import for_sync_code
from ..errors import InvalidSubscription, StreamRefused
from ..wire.cursor import Cursor
from .page_cursor import page_cursor

__all__ = ["Signed", "read_signed", "renewed_url", "sse_url"]


SALT = "serversent.signed"

# nginx takes a request line of 8 kB.
MAX_TOKEN_CHARACTERS = 7000


class Signed(NamedTuple):
    """The grant of a signed URL: the channels, the listener, and where the stream begins."""

    channels: Sequence[str]
    using: str
    start: Start
    expires_at: float
    cursor: str
    identity: Identity


@for_sync_code("sync_to_async(sse_url)(request, ...)")
def sse_url(
    request: HttpRequest,
    *channels: str,
    expires: float = 3600,
    cursor: Cursor | str | None = None,
    start: Start = "now",
    public: bool = False,
    using: str = "default",
) -> str:
    """Return a URL whose stream has these channels, for the request's user and session alone.

    ``expires``: for how many seconds it is valid, 30 days at most; a stream that is open then ends, and the browser
    client renews its URL. ``cursor``: where its stream begins, as ``serversent.cursor()`` returned it; without it, the
    log's head when the request began. ``start``: ``"latest"`` to begin with the newest event of each channel,
    ``"oldest"`` to begin with all kept events. ``public``: for everybody, so that the page may be cached: neither the
    user nor the session is looked at. ``using``: the broker. A revocation after the cursor was taken, or else after the
    URL was signed, rejects it.

    What follows ``#`` is not sent: by it the browser client knows that two pages have the same list of channels.

    An anonymous session is begun if there is none. Raises ``InvalidChannel`` and ``InvalidSubscription``.
    """
    if not 0 < expires <= REVOKED_SECONDS:
        raise InvalidSubscription(
            "expires", f"must be more than 0 and at most {REVOKED_SECONDS} seconds, not {expires}"
        )
    check_start(start)
    at = _log_at(request)
    if isinstance(cursor, Cursor) and cursor.is_of(at):  # taken before the view looked up who may
        at = min(at, cursor, key=lambda each: each.offset)
    if cursor is None and start != "oldest":  # "latest" grants no older events
        cursor = page_cursor(request, using)
    user, sessions = ("", []) if public else _listener(request)
    now = int(time.time())
    return _url(
        {
            "channels": sorted(check_channels(channels)),
            "using": using,
            "public": public,
            "user": user,
            "sessions": sessions,
            "signed": now,
            "seconds": expires,
            "expires": int(now + expires),
            "start": start,
            "cursor": "" if cursor is None else str(cursor),
            "at": str(at),
        }
    )


def renewed_url(request: HttpRequest, token: str) -> tuple[str, Signed]:
    """Return a URL of the same grant that is valid as long again, for the listener it was signed for; and the grant.

    The caller has to ask whether it was revoked. Raises ``StreamRefused`` for an invalid token, for another listener,
    and for a URL that was signed 30 days ago: the log keeps no older revocations.
    """
    found = _loaded(token)
    last = found.get("signed", 0) + REVOKED_SECONDS
    if last <= time.time():
        raise StreamRefused(403, "This address is too old. Reload the page that it is from.")
    if found["user"] and not user_of(request):
        raise StreamRefused(401, "Log in again.")
    _check_listener(request, found)
    return _url({**found, "expires": int(min(last, time.time() + found["seconds"]))}), _signed(request, found)


def read_signed(request: HttpRequest) -> Signed:
    """Return the grant of the request's URL. Raises ``StreamRefused`` unless it is for this request still."""
    found = _loaded(request.GET.get("token", ""))
    if found["expires"] <= time.time():
        raise StreamRefused(403, "This address has expired. Reload the page that it is from.")
    _check_listener(request, found)
    return _signed(request, found)


def _signed(request: HttpRequest, found: Mapping[str, Any]) -> Signed:
    now, public = identity_of(request, time.monotonic()), found.get("public")
    identity = Identity(
        user="" if public else found["user"] or now.user,
        sessions=() if public else tuple({*found["sessions"], *now.sessions}),
        address=now.address,
        requested_at=now.requested_at,
        signed_at=Cursor.parse(found["at"]),
        session_key="" if public else now.session_key,
    )
    return Signed(
        found["channels"], found["using"], found.get("start", "now"), found["expires"], found["cursor"], identity
    )


def _url(grant: dict[str, Any]) -> str:
    token = signing.dumps(grant, salt=SALT, compress=True)
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise InvalidSubscription(
            "channels", "make a URL that is too long for some servers. Name fewer, or write a @channel_stream view"
        )
    named = "\n".join([grant["using"], *grant["channels"]])
    key = salted_hmac(SALT, named, algorithm="sha256").hexdigest()[:12]
    return f"{_path()}?{urlencode({'token': token})}#sse-{'public-' if grant.get('public') else ''}{key}"


def _loaded(token: str) -> dict[str, Any]:
    """Return the grant of a token. Raises ``StreamRefused`` for one that was not signed here."""
    try:
        found: dict[str, Any] | None = signing.loads(token, salt=SALT) if len(token) <= MAX_TOKEN_CHARACTERS else None
    except signing.BadSignature:
        found = None
    if found is None:
        raise StreamRefused(403, "This address is not valid.")
    return found


def _listener(request: HttpRequest) -> tuple[str, list[str]]:
    """Return the user and the names of the session that a URL is signed for. An anonymous session is begun."""
    user, session = user_of(request), getattr(request, "session", None)
    if session is None and not user:
        raise InvalidSubscription("request", "has neither a user nor a session that a URL could be signed for")
    if user and session is not None and session.get(SESSION_KEY) != user:
        session = None  # a user authenticated by a header may come back without a session
    if session is None:
        return user, []
    new_session_id(session)
    return user, list(session_ids(session))


def _check_listener(request: HttpRequest, grant: Mapping[str, Any]) -> None:
    if not grant.get("public") and not _is_for(request, grant["user"], grant["sessions"]):
        raise StreamRefused(403, "This address is for another session. Reload the page that it is from.")


def _is_for(request: HttpRequest, user: str, sessions: Sequence[str]) -> bool:
    if user and user != user_of(request):
        return False
    if not sessions:
        return bool(user)
    session = getattr(request, "session", None)
    if session is None:
        return False
    session.get("")  # loads it: a key that a client has made up becomes none
    return not set(sessions).isdisjoint(session_ids(session))


def _log_at(request: HttpRequest) -> Cursor:
    """Return the log's head, asked for once in a request. A later revocation is after it."""
    found: Cursor | None = request.__dict__.get("_serversent_log_at")
    if found is None:
        found = broker("default").cursor()
        request._serversent_log_at = found  # type: ignore[attr-defined]
    return found


def _path() -> str:
    try:
        return reverse("serversent:stream")
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            'No path leads to signed streams. Add path("events/", include("serversent.urls")) to the ROOT_URLCONF.'
        ) from error
