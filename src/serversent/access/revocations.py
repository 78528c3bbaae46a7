"""Revocations: which users, sessions and channels have lost their permission, and since which offset.

A revocation is an event of one of two control channels. Every process reads it with all other events, ends the streams
that it matches, and rejects the URLs that were signed before it.
"""

import json
import logging
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ..brokers.channel_names import ENDED, REVOKED, REVOKED_SECONDS
from .identity import Identity

__all__ = ["Revocation", "Revocations", "parse_revocation"]

logger = logging.getLogger("serversent")


# How long a revocation of ENDED is kept: it ends streams whose requests were on their way, and rejects no URL.
ENDED_SECONDS = 300.0


class Revocation(NamedTuple):
    """The fields that a stream must match to be ended. An empty field matches every stream.

    ``session_ended``: no new stream of these sessions may open. ``sent_at``: Unix time at the sender.
    """

    user: str
    sessions: tuple[str, ...]
    channel: str
    session_ended: bool
    sent_at: float

    def data(self) -> str:
        """Return the data of the event. Its keys are stored in logs: they do not change."""
        return json.dumps(
            {
                "user": self.user,
                "sessions": self.sessions,
                "channel": self.channel,
                "is_over": self.session_ended,
                "at": self.sent_at,
            }
        )

    def matches(self, identity: Identity, channels: Collection[str]) -> bool:
        return (
            (not self.user or self.user == identity.user)
            and (not self.sessions or any(session in self.sessions for session in identity.sessions))
            and (not self.channel or self.channel in channels)
        )


def parse_revocation(offset: int, data: str) -> Revocation | None:
    """Return the revocation in the data of an event; ``None`` for an event that something else has put there."""
    try:
        fields = json.loads(data)
        found = Revocation(
            user=str(fields["user"]),
            sessions=tuple(map(str, fields["sessions"])),
            channel=str(fields["channel"]),
            session_ended=bool(fields["is_over"]),
            sent_at=float(fields["at"]),
        )
    except Exception as error:
        logger.error("Event %d of the log is no revocation: %r", offset, error)
        return None
    return found if found.user or found.sessions or found.channel else None


_Key = tuple[str, str, str, str]


class _Latest(NamedTuple):
    offset: int
    seen_at: float
    session_ended: bool
    forget_at: float


class Revocations:
    """The newest revocation of each user, session and channel. Times are of ``time.monotonic()``."""

    def __init__(self) -> None:
        self._latest: dict[_Key, _Latest] = {}

    def add(self, revocation: Revocation, offset: int, control: str, seen_at: float) -> bool:
        """Add a revocation. Return whether it is new and may still matter."""
        forget_at = seen_at + (REVOKED_SECONDS if control == REVOKED else ENDED_SECONDS)
        if forget_at < time.monotonic():
            return False
        entry = _Latest(offset, seen_at, revocation.session_ended, forget_at)
        keys = [(control, revocation.user, session, revocation.channel) for session in revocation.sessions or ("",)]
        older = [key for key in keys if key not in self._latest or self._latest[key].offset < offset]
        self._latest.update(dict.fromkeys(older, entry))
        return bool(older)

    def rejects_url(self, identity: Identity, channels: Collection[str]) -> bool:
        """Return whether a URL was revoked after it was signed."""
        signed_at = identity.signed_at
        return signed_at is not None and any(
            entry.offset > signed_at.offset for entry in self._matching(REVOKED, identity, channels)
        )

    def is_revoked(self, identity: Identity, channels: Collection[str]) -> bool:
        """Return whether a stream was revoked since its request came, or has an ended session or a revoked URL."""
        requested_at = identity.requested_at
        if any(e.session_ended or e.seen_at >= requested_at for e in self._matching(ENDED, identity, channels)):
            return True
        if identity.signed_at is not None:
            return self.rejects_url(identity, channels)
        return any(entry.seen_at >= requested_at for entry in self._matching(REVOKED, identity, channels))

    def _matching(self, control: str, identity: Identity, channels: Collection[str]) -> Iterator[_Latest]:
        if not self._latest:
            return
        for user in {"", identity.user}:
            for session in ("", *identity.sessions):
                for channel in ("", *channels):
                    if entry := self._latest.get((control, user, session, channel)):
                        yield entry

    def forget_old(self) -> None:
        """Drop the revocations that no longer matter."""
        now = time.monotonic()
        self._latest = {key: entry for key, entry in self._latest.items() if entry.forget_at > now}

    def clear(self) -> None:
        self._latest = {}
