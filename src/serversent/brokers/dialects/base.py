"""The common part of all dialects."""

import datetime
from collections.abc import Sequence
from typing import Any, Literal

from django.core.checks import CheckMessage
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["BATCH_BYTES", "BATCH_EVENTS", "Dialect", "OffsetsNotAssigned"]

# A batch has at most so many events, and so many bytes unless its first event alone is larger.
BATCH_EVENTS = 1000
BATCH_BYTES = 4_000_000


class OffsetsNotAssigned(OperationalError):
    """Events are stored, and have no offset yet."""


class Dialect:
    """A database that no other dialect is for. The log does not work there; transactions are known from Django alone.

    ``clock``, ``ago``: SQL of the database's time now, and of so many seconds ago, which are a parameter.
    ``newest_before``: the newest event that was logged before a time of ``read_clock``. ``raise_floor``: the end of an
    INSERT of floors, which raises those that are there. ``index_hint``: lets a statement use the index of channels:
    some databases would rather go through all rows by their offset. ``event_columns``: of an event ``e``.
    ``wakeup``: how the tail learns of a commit. ``assigns_at_once``: the INSERT itself gives an event its offset.
    ``sends_in_one_call``: whether ``send_in_one_call()`` works.
    """

    clock = "CURRENT_TIMESTAMP"
    ago = ""
    read_clock = ""
    newest_before = ""
    insert_ignore = ("INSERT", " ON CONFLICT DO NOTHING")
    raise_floor = ""
    index_hint = ""
    event_columns = "e.id, e.channel, e.event, e.data"
    begin = "BEGIN"
    connect_timeout: int | None = None
    wakeup: Literal["listen", "version", "poll"] = "poll"
    poll_seconds = 0.2
    assigns_at_once = False
    sends_in_one_call = False
    uninstall: Sequence[str] = ()

    def is_supported(self, connection: BaseDatabaseWrapper) -> bool:
        """Return whether the log works on this server. May connect."""
        return True

    def is_in_memory(self, connection: BaseDatabaseWrapper) -> bool:
        """Return whether the database lives in the memory of this process."""
        return False

    def is_in_transaction(self, connection: BaseDatabaseWrapper) -> bool:
        """Return whether a statement has opened a transaction, of which Django does not know. Makes no query."""
        return not connection.autocommit

    def timeline(self, connection: BaseDatabaseWrapper) -> str:
        """Return a part of the epoch that changes when offsets may be given out again."""
        return ""

    def time_before(self, now: Any, seconds: float) -> Any:
        """Return a time for ``newest_before``: so many seconds before a time of ``read_clock``."""
        return now - datetime.timedelta(seconds=seconds)

    def first_of_each_channel(self, names: list[str], condition: str) -> tuple[str, list[Any]]:
        """Return a statement for the offsets, sizes and channels of the first events of each channel that match.

        ``condition``: SQL that follows the channel's, with its order and limit.
        """
        each = f"(SELECT id, size, channel FROM serversent_event {self.index_hint} WHERE channel = %s {condition})"
        return " UNION ALL ".join([each] * len(names)), list(names)

    def assign_offsets(self, connection: BaseDatabaseWrapper) -> None:
        """Move the committed events of the outbox into the log, in commit order, in one call. Raises ``DatabaseError``.

        Call it outside any transaction. The caller that gets the lock without waiting moves all committed rows; after
        that, with the lock given back, it looks again.
        """

    def send_in_one_call(self, connection: BaseDatabaseWrapper, event: Sequence[str]) -> None:
        """Insert an event, commit it, and assign its offset. Raises ``OffsetsNotAssigned``, with the event stored."""
        raise NotImplementedError

    def install(self, connection: BaseDatabaseWrapper) -> None:
        """Create the parts of the log beside its tables. A second call changes nothing. Raises ``DatabaseError``."""

    def is_installed(self, connection: BaseDatabaseWrapper) -> bool:
        return True

    def close(self, connection: BaseDatabaseWrapper) -> None:
        connection.close()

    def check(self, alias: str, connection: BaseDatabaseWrapper) -> list[CheckMessage]:
        """Return the faults in the configuration of the database of the broker ``alias``."""
        return []

    def check_deployment(self, alias: str, connection: BaseDatabaseWrapper) -> list[CheckMessage]:
        """Return the faults of the configuration in production."""
        return []
