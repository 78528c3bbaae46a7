"""What was taken back: who may not listen any more to what, since which place in the log.

A revocation is an event of a channel of our own. Every hub reads it with all others, ends the streams that it means,
and refuses the URLs that were signed before it.
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


# What ends streams, and says nothing of URLs, matters to requests that were on their way.
ENDED_SECONDS = 300.0


class Revocation(NamedTuple):
    """``user`` and ``channel`` are empty, and ``sessions`` is, where they do not matter.

    ``is_over``: the sessions are, nothing of them may be opened any more. ``at``: when it was said, in seconds, by the
    clock of who said it.
    """

    user: str
    sessions: tuple[str, ...]
    channel: str
    is_over: bool
    at: float

    def data(self) -> str:
        return json.dumps(self._asdict())

    def means(self, identity: Identity, channels: Collection[str]) -> bool:
        return (
            (not self.user or self.user == identity.user)
            and (not self.sessions or any(session in self.sessions for session in identity.sessions))
            and (not self.channel or self.channel in channels)
        )


def parse_revocation(offset: int, data: str) -> Revocation | None:
    """Return the revocation that ``data`` writes. ``None`` for what was put into the log by somebody else."""
    try:
        user, sessions, channel, is_over, at = (json.loads(data)[name] for name in Revocation._fields)
        found = Revocation(str(user), tuple(map(str, sessions)), str(channel), bool(is_over), float(at))
    except Exception as error:
        logger.error("Event %d of the log is no revocation: %r", offset, error)
        return None
    return found if found.user or found.sessions or found.channel else None


_Key = tuple[str, str, str, str]


class _Latest(NamedTuple):
    offset: int
    time: float
    is_over: bool
    forget_at: float


class Revocations:
    """The newest revocation of each kind, by whom it means."""

    def __init__(self) -> None:
        self._latest: dict[_Key, _Latest] = {}

    def add(self, revocation: Revocation, offset: int, control: str, seen: float) -> bool:
        """Note one, seen at a time of ``time.monotonic()``. Says whether it is new, and may still matter."""
        forget_at = seen + (REVOKED_SECONDS if control == REVOKED else ENDED_SECONDS)
        if forget_at < time.monotonic():
            return False
        entry = _Latest(offset, seen, revocation.is_over, forget_at)
        keys = [(control, revocation.user, session, revocation.channel) for session in revocation.sessions or ("",)]
        older = [key for key in keys if key not in self._latest or self._latest[key].offset < offset]
        self._latest.update(dict.fromkeys(older, entry))
        return bool(older)

    def refuses(self, identity: Identity, channels: Collection[str]) -> bool:
        """Whether a signed URL was taken back since it was signed."""
        signed = identity.signed
        return signed is not None and any(
            entry.offset > signed.offset for entry in self._of(REVOKED, identity, channels)
        )

    def ends(self, identity: Identity, channels: Collection[str]) -> bool:
        """Whether what this request may do was taken back while it was on its way."""
        if any(entry.is_over or entry.time >= identity.since for entry in self._of(ENDED, identity, channels)):
            return True
        if identity.signed is not None:
            return self.refuses(identity, channels)
        return any(entry.time >= identity.since for entry in self._of(REVOKED, identity, channels))

    def _of(self, control: str, identity: Identity, channels: Collection[str]) -> Iterator[_Latest]:
        if not self._latest:
            return
        for user in {"", identity.user}:
            for session in ("", *identity.sessions):
                for channel in ("", *channels):
                    if entry := self._latest.get((control, user, session, channel)):
                        yield entry

    def forget(self) -> None:
        """Drop what cannot matter any more."""
        now = time.monotonic()
        self._latest = {key: entry for key, entry in self._latest.items() if entry.forget_at > now}

    def clear(self) -> None:
        self._latest = {}
