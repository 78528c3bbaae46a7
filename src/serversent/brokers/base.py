"""What every broker does, and how the settings name them. Streams and publishers know no more of a broker than this."""

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from django.core.checks import CheckMessage
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..conf import broker_settings
from ..errors import UnknownBroker
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
    """A piece of the log in offset order, in which nothing is missing with ``after < offset <= end``.

    ``epoch``: of the log that it was read from, where that was asked. ``head``: the newest offset of the log then; it
    is above ``end`` if more follows at once.
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
    """One log. An instance serves publishers of any thread; what it does for a hub belongs to one event loop."""

    durable: ClassVar[bool]  # events outlive the process
    needs_app: ClassVar[bool] = False  # it works only with "serversent" in INSTALLED_APPS

    def __init__(self, alias: str, options: Mapping[str, Any]) -> None:
        self.alias = alias
        self.options = options

    @abstractmethod
    def append(self, events: Sequence[OutgoingEvent], *, on_commit: bool = True) -> None:
        """Add events, in this order and all or none; with the caller's transaction if ``on_commit``."""

    @abstractmethod
    async def head(self) -> Cursor:
        """Return the cursor of the newest event. What is committed before the call is up to it."""

    @abstractmethod
    async def read(self, channels: Collection[str], after: int | None, end: int) -> Batch:
        """Return the events of ``channels`` with ``after < offset <= end``, or a first piece of them.

        ``after=None``: from the oldest that is kept. Raises ``CursorExpired`` when events in between were pruned.
        """

    @abstractmethod
    async def latest(self, channels: Collection[str], end: int) -> Batch:
        """Return the newest event of each channel up to an offset, in offset order. The end of a channel is none."""

    @abstractmethod
    async def recent(self, end: int, size: int) -> Batch:
        """Return the newest events up to an offset, of all channels, together about ``size`` bytes."""

    @abstractmethod
    def tail(self, after: Cursor) -> AsyncIterator[Batch]:
        """Yield all events after ``after``, as they come, for ever. Outages are waited out.

        What was pruned before it was read shows as a gap: ``after`` of a piece is larger than ``end`` of the one
        before. Another epoch means that the log was recreated, or is another.
        """

    @abstractmethod
    async def closed(self, channels: Collection[str], end: int) -> set[str]:
        """Return those of ``channels`` whose newest event up to an offset is their end."""

    @abstractmethod
    def prune(self, older_than: float | None = None, keep: int | None = None) -> int:
        """Remove events older than so many seconds, and all but the newest ``keep`` of each channel.

        ``None``: what the options say. Returns how many were removed.
        """

    @abstractmethod
    def new_epoch(self) -> str:
        """Give the log another name, so that every client starts again."""

    @abstractmethod
    def cursor(self) -> Cursor:
        """Return the head, for sync code. What is committed and has no offset yet is after it."""

    @abstractmethod
    def cursor_before(self, at: float, committed: Mapping[str, int]) -> Cursor:
        """Return where the log stood at ``at``, of ``time.monotonic()``, or a little before.

        ``committed``: what ``committed_offsets()`` returned then.
        """

    @abstractmethod
    def stats(self) -> dict[str, Any]:
        """Return figures about the log."""

    @property
    def stand_in(self) -> "Broker | None":
        """Return the broker that takes this one's place where it cannot work."""
        return None

    def check(self) -> list[CheckMessage]:
        """Return what is wrong with the configuration, as Django's system checks."""
        return []

    def check_databases(self, databases: Collection[str]) -> list[CheckMessage]:
        """The same with questions to these databases."""
        return []

    def check_deployment(self) -> list[CheckMessage]:
        """The same for production."""
        return []

    async def maintain(self) -> None:  # noqa: B027
        """Do what is due now and then. A hub calls it about once a minute."""

    async def aclose(self) -> None:  # noqa: B027
        """Give back what this instance opened."""

    def abandon(self) -> None:  # noqa: B027
        """The same where the event loop was closed before."""


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
    """Let another function take what is sent through a broker, for a test."""
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
