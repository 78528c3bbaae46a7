"""Ending the open streams of a user, a session or a channel."""

import time
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from ..brokers import OutgoingEvent, broker
from ..brokers.channel_names import ENDED, REVOKED, check_channel
from ..concurrency.sync_code import for_sync_code
from .identity import session_ids, user_id
from .revocations import Revocation

__all__ = ["aend_streams", "end_logins", "end_old_key", "end_session", "end_streams"]


@for_sync_code("aend_streams(...)")
def end_streams(*, user: Any = None, session: Any = None, channel: str | None = None) -> None:
    """End the open streams of a user, a session or a channel, in every process, and reject URLs that were signed
    before.

    ``user``: a user or a primary key. ``session``: a session (``request.session``) or its key. ``channel``: a name. If
    you pass several, a stream must match all of them. Clients come back and are checked again: by the view of their
    stream, or by a URL that is signed later. In a transaction it happens with the commit. It goes through the broker
    ``"default"``, whatever the broker of the streams.

    Raises ``TypeError`` if no argument is passed, ``InvalidChannel`` and ``BrokerUnavailable``.
    """
    _revoke(REVOKED, user, session, channel)


async def aend_streams(*, user: Any = None, session: Any = None, channel: str | None = None) -> None:
    """``end_streams`` from async code."""
    await sync_to_async(end_streams)(user=user, session=session, channel=channel)


def end_logins(user: Any) -> None:
    """End the streams of a user whose password was changed. Signed URLs need no revocation: Django ends the sessions.

    The session in which the password was changed goes on, and so do its URLs.
    """
    _revoke(ENDED, user, None, None)


def end_session(user: Any, session: Any) -> None:
    """End the streams of a session that has ended. Its signed URLs need no revocation: they require an existing
    session.

    If the session has no id, end all streams of the user.
    """
    if session_ids(session):  # including streams whose view never looked at ``request.user``
        _revoke(ENDED, None, session, None, session_ended=True)
    else:
        _revoke(ENDED, user, None, None)


def end_old_key(key: str) -> None:
    """End the streams that were opened under a session's old key. Later streams are checked again."""
    _revoke(ENDED, None, key, None)


def _revoke(control: str, user: Any, session: Any, channel: str | None, *, session_ended: bool = False) -> None:
    found = Revocation(
        user="" if user is None else _user_key(user),
        sessions=() if session is None else session_ids(session),
        channel="" if channel is None else check_channel(channel),
        session_ended=session_ended,
        sent_at=time.time(),
    )
    if user is None and session is None and channel is None:
        raise TypeError("end_streams() needs a user, a session or a channel")
    if (user is not None and not found.user) or (session is not None and not found.sessions):
        raise TypeError("end_streams() needs a user who has a primary key, and a session that has one")
    broker("default").append([OutgoingEvent(control, "revoked", found.data())])


def _user_key(user: Any) -> str:
    """Return the primary key of a user. Raises ``TypeError`` for a name where a key is meant."""
    if user != "" and not hasattr(user, "is_authenticated") and apps.is_installed("django.contrib.auth"):
        try:
            get_user_model()._meta.pk.to_python(user)
        except ValidationError:
            raise TypeError(f"{user!r} is no primary key of a user. Pass the user, or user.pk.") from None
    return user_id(user)
