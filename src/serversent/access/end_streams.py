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
    """End the open streams of a user, a session or a channel, in every process, and refuse URLs signed before.

    ``user``: a user or a primary key. ``session``: a session (``request.session``) or its key. ``channel``: a name.
    What is named together has to hold together. Clients come back and are judged anew: by the view of their stream,
    or by a URL that is signed later. In a transaction it is done with its commit. It goes through the broker
    ``"default"``, whatever the broker of the streams.

    Raises ``TypeError`` if nothing is named, ``InvalidChannel`` and ``BrokerUnavailable``.
    """
    _revoke(REVOKED, user, session, channel)


async def aend_streams(*, user: Any = None, session: Any = None, channel: str | None = None) -> None:
    """``end_streams`` from async code."""
    await sync_to_async(end_streams)(user=user, session=session, channel=channel)


def end_logins(user: Any) -> None:
    """End the streams of a user whose password is another. Their URLs need no refusal: Django has ended the sessions.

    All but the one in which the password was changed, if that was done in one. Its URLs go on.
    """
    _revoke(ENDED, user, None, None)


def end_session(user: Any, session: Any) -> None:
    """End the streams of a user's session that is over. Its URLs need no refusal: they are for one that is there.

    Of a session that has no name, all of the user's.
    """
    if session_ids(session):  # also those that nobody asked for whom they are
        _revoke(ENDED, None, session, None, session_ended=True)
    else:
        _revoke(ENDED, user, None, None)


def end_old_key(key: str) -> None:
    """End the streams that were opened under a session's old key. What is opened later is judged anew."""
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
        raise TypeError("end_streams() needs a user who has a primary key, and a session that has one")  # not everybody
    broker("default").append([OutgoingEvent(control, "revoked", found.data())])


def _user_key(user: Any) -> str:
    """Return the primary key of a user. Raises ``TypeError`` for a name where a key is meant."""
    if user != "" and not hasattr(user, "is_authenticated") and apps.is_installed("django.contrib.auth"):
        try:
            get_user_model()._meta.pk.to_python(user)
        except ValidationError:
            raise TypeError(f"{user!r} is no primary key of a user. Pass the user, or user.pk.") from None
    return user_id(user)
