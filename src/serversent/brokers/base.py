"""The contract of a broker, and how the settings name brokers."""

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from asgiref.sync import async_to_sync
from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..conf import broker_settings
from ..errors import CursorExpired, UnknownBroker
from ..wire.cursor import Cursor

__all__ = ["Batch", "Broker", "LoggedEvent", "OutgoingEvent", "broker", "new_broker", "override_broker"]

# How much data one read returns, in bytes, unless a single event is larger.
PAGE_BYTES = 256 * 1024


class OutgoingEvent(NamedTuple):
    """An event that is sent: validated, its data serialised."""

    channel: str
    event: str
    data: str


class LoggedEvent(NamedTuple):
    """An event that has its place in the log."""

    offset: int
    channel: str
    event: str
    data: str


class Batch(NamedTuple):
    """Events in offset order: all that a read was for with ``after < offset <= end``.

    ``epoch``: of the log, in the batches of ``tail()``. ``head``: the newest offset of the log then, in the same; it is
    above ``end`` if more events follow at once.
    """

    events: Sequence[LoggedEvent]
    after: int
    end: int
    epoch: str = ""
    head: int = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.end)


class Broker(ABC):
    """One log. An instance serves publishers of any thread. Its async methods belong to the event loop of one hub.

    docs/howto-broker.md has the contract and an example; ``serversent.testing.broker_contract`` has its tests. A broker
    has to implement the seven abstract methods. The others have defaults, which read the log by ``read()``.

    ``durable``: events outlive the process. ``needs_app``: it works only with "serversent" in ``INSTALLED_APPS``.
    ``database``: the alias of the database whose table ``serversent_event`` is the log, for the ``DatabaseBroker``. An
    event that is sent in a transaction there is part of it.
    """

    durable: ClassVar[bool]
    needs_app: ClassVar[bool] = False
    database: str | None = None

    def __init__(self, alias: str, options: Mapping[str, Any]) -> None:
        self.alias = alias
        self.options = options

    @abstractmethod
    def append(self, events: Sequence[OutgoingEvent], *, on_commit: bool = True) -> None:
        """Add events, in this order and all or none; with the caller's transaction if ``on_commit``.

        Raises ``BrokerUnavailable``.
        """

    @abstractmethod
    async def head(self) -> Cursor:
        """Return the cursor of the newest event. Events that are committed before the call are not after it."""

    @abstractmethod
    async def read(self, channels: Collection[str], after: int | None, end: int) -> Batch:
        """Return the events of ``channels`` with ``after < offset <= end``, or the first of them.

        ``after=None``: from the oldest event of the log. Raises ``CursorExpired`` if events in between were pruned.
        """

    @abstractmethod
    def tail(self, after: Cursor) -> AsyncIterator[Batch]:
        """Yield all events after ``after``, of all channels, as they come, for ever. Outages are waited out.

        If events were pruned before they were read, there is a gap: ``after`` of a batch is larger than ``end`` of the
        one before. Another epoch means that the log was created anew, or is another one.
        """

    @abstractmethod
    def prune(self, older_than: float | None = None, keep: int | None = None) -> int:
        """Remove events that are older than so many seconds, and all but the newest ``keep`` of each channel.

        ``None``: as the options say. Events of the channel ``REVOKED`` are kept for ``REVOKED_SECONDS``, whatever the
        arguments. Returns how many events were removed.
        """

    @abstractmethod
    def new_epoch(self) -> str:
        """Give the log another epoch, so that every client starts again. Return it."""

    @abstractmethod
    def cursor_before(self, at: float, committed: Mapping[str, int]) -> Cursor:
        """Return the head at ``at``, a time of ``time.monotonic()`` in the last minutes, or a cursor a little before.

        ``committed``: the result of ``committed_offsets()`` then.
        """

    async def latest(self, channels: Collection[str], end: int) -> Batch:
        """Return the newest event of each channel up to an offset, in offset order. Ends of channels do not count."""
        newest = {event.channel: event async for event in self._all(channels, end) if event.event != "end"}
        return Batch(sorted(newest.values()), 0, end)

    async def recent(self, end: int, size: int) -> Batch:
        """Return the newest events up to an offset, of all channels, together about ``size`` bytes.

        A hub begins with them in its memory. By default there are none.
        """
        return Batch([], end, end)

    async def closed(self, channels: Collection[str], end: int) -> set[str]:
        """Return those of ``channels`` whose newest event up to an offset is their end."""
        newest = {event.channel: event.event async for event in self._all(channels, end)}
        return {channel for channel, kind in newest.items() if kind == "end"}

    async def _all(self, channels: Collection[str], end: int) -> AsyncIterator[LoggedEvent]:
        for channel in channels:  # one by one: the floor of one says nothing about the events of another
            after: int | None = None
            while after is None or after < end:
                try:
                    batch = await self.read([channel], after, end)
                except CursorExpired:  # the channel was pruned between two reads
                    after = None
                    continue
                for event in batch.events:
                    yield event
                after = batch.end

    def cursor(self) -> Cursor:
        """Return the head, for sync code. Events that are committed and have no offset yet are after it."""
        return async_to_sync(self.head)()

    def stats(self) -> dict[str, Any]:
        """Return figures about the log, for ``manage.py serversent stats``."""
        head = self.cursor()
        return {"epoch": head.epoch, "head": head.offset}

    @property
    def stand_in(self) -> "Broker | None":
        """Return the broker that replaces this one where it cannot work: in a test, for instance."""
        return None

    def check(self) -> list[CheckMessage]:
        """Return the faults of the configuration, as Django's system checks."""
        return []

    def check_databases(self, databases: Collection[str]) -> list[CheckMessage]:
        """Return the faults that only a query of these databases shows."""
        return []

    def check_deployment(self) -> list[CheckMessage]:
        """Return the faults of the configuration in production."""
        return []

    async def maintain(self) -> None:  # noqa: B027
        """Do regular work, such as pruning. A hub calls it about once a minute."""

    async def aclose(self) -> None:  # noqa: B027
        """Close the connections of this instance."""

    def abandon(self) -> None:  # noqa: B027
        """Close the connections of this instance, after its event loop was closed."""


def new_broker(alias: str) -> Broker:
    """Make an instance of the broker that the settings call ``alias``. Raises ``UnknownBroker``."""
    made = _make_broker(alias)
    return made.stand_in or made


def _make_broker(alias: str) -> Broker:
    configured = broker_settings()
    if alias not in configured:
        raise UnknownBroker(alias, configured)
    broker_class = import_string(configured[alias]["BACKEND"])
    made: Broker = broker_class(alias, configured[alias].get("OPTIONS", {}))
    return made


def broker(alias: str = "default") -> Broker:
    """Return the process's broker ``alias``, for publishing."""
    found = _broker(alias)
    return found.stand_in or found


@functools.cache
def _broker(alias: str) -> Broker:
    return _make_broker(alias)


@contextlib.contextmanager
def override_broker(alias: str, append: Callable[..., None]) -> Iterator[None]:
    """Let another function take the events that are sent through a broker, for a test."""
    found = broker(alias)
    found.append = append  # type: ignore[method-assign]
    try:
        yield
    finally:
        del found.append


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "SERVERSENT":
        _broker.cache_clear()


setting_changed.connect(_forget)
