"""The memory broker: one process, nothing on disk. For tests, and for events that need not outlive the process."""

import asyncio
import bisect
import contextlib
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ..errors import CursorExpired
from ..wire.cursor import Cursor
from .base import PAGE_BYTES, Batch, Broker, LoggedEvent, OutgoingEvent
from .channel_names import REVOKED, REVOKED_SECONDS
from .transactions import after_commit, awaited_transaction

__all__ = ["MemoryBroker", "begin_at", "clear"]

DEFAULT_KEEP = 1000
NEWEST = 1000
MAX_FLOORS = 10_000


class _Log:
    """The log of one alias. Every method is atomic."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.epoch = f"m{secrets.token_hex(4)}"
        self.head = 0
        self.channels: dict[str, deque[tuple[float, LoggedEvent]]] = {}
        # The newest events of all channels, without a gap: a tail need not look through each channel.
        self.newest: deque[LoggedEvent] = deque(maxlen=NEWEST)
        self.floors: dict[str, int] = {}  # in the order in which they were raised
        self.floor = 0  # of all channels whose floors were folded into it
        self.wakes: set[Callable[[], None]] = set()

    def raise_floor(self, channel: str, offset: int) -> None:
        """Note that the events of a channel are gone up to an offset."""
        self.floors.pop(channel, None)
        self.floors[channel] = offset
        if len(self.floors) > MAX_FLOORS:  # channels that were used once do not pile up
            self.floor = max(self.floor, self.floors.pop(next(iter(self.floors))))

    def floor_of(self, channels: Collection[str]) -> int:
        return max([self.floor, *(self.floors.get(channel, 0) for channel in channels)])


_logs: dict[str, _Log] = {}


def clear() -> None:
    """Begin every log of this process anew."""
    _logs.clear()


def begin_at(alias: str, cursor: Cursor) -> None:
    """Go on where another log stood."""
    log = _logs.setdefault(alias, _Log())
    log.epoch, log.head = cursor.epoch, cursor.offset


class MemoryBroker(Broker):
    """Options: ``keep``, the events kept of each channel (1000); ``retention_seconds``, how long (86,400)."""

    durable = False

    @property
    def _log(self) -> _Log:
        if self.alias not in _logs:
            _logs.setdefault(self.alias, _Log())
        return _logs[self.alias]

    def append(self, events: Sequence[OutgoingEvent], *, on_commit: bool = True) -> None:
        alias = awaited_transaction(events) if on_commit else None
        if alias is None:
            self._append(events)
        else:
            after_commit(lambda: self._append(events), using=alias, broker=self.alias)

    def _append(self, events: Sequence[OutgoingEvent]) -> None:
        log, now = self._log, time.monotonic()
        keep = self.options.get("keep", DEFAULT_KEEP)
        with log.lock:
            for event in events:
                log.head += 1
                kept = log.channels.setdefault(event.channel, deque())
                logged = LoggedEvent(log.head, *event)
                kept.append((now, logged))
                log.newest.append(logged)
                if len(kept) > keep and event.channel != REVOKED:
                    log.raise_floor(event.channel, kept.popleft()[1].offset)
            wakes = list(log.wakes)
        for wake in wakes:
            wake()

    async def head(self) -> Cursor:
        return self.cursor()

    def cursor(self) -> Cursor:
        log = self._log
        with log.lock:
            return Cursor(log.epoch, log.head)

    def cursor_before(self, at: float, committed: Mapping[str, int]) -> Cursor:
        log = self._log
        with log.lock:
            newer = [event.offset for kept in log.channels.values() for sent, event in kept if sent > at]
            return Cursor(log.epoch, min(newer, default=log.head + 1) - 1)

    async def read(self, channels: Collection[str], after: int | None, end: int) -> Batch:
        log = self._log
        with log.lock:
            floor = log.floor_of(channels)
            if after is not None and floor > after:
                raise CursorExpired(after, floor)
            start = after or 0
            found = sorted(event for channel in channels for event in _newer(log.channels.get(channel), start))
            return _piece([event for event in found if event.offset <= end], start, end, log.epoch)

    async def latest(self, channels: Collection[str], end: int) -> Batch:
        log = self._log
        with log.lock:
            newest = [_newest(log.channels.get(channel), end, other_than="end") for channel in channels]
            return Batch(sorted(event for event in newest if event is not None), 0, end, log.epoch)

    async def recent(self, end: int, size: int) -> Batch:
        log = self._log
        with log.lock:
            found = sorted((event for kept in log.channels.values() for _, event in kept), reverse=True)
            after = log.floor_of(log.floors)
        chosen: list[LoggedEvent] = []
        for event in found:
            if event.offset <= after:
                break
            if event.offset <= end:
                chosen.append(event)
                size -= len(event.data)
                if size < 0:
                    after = event.offset - 1
                    break
        return Batch(chosen[::-1], after, end, log.epoch)

    async def tail(self, after: Cursor) -> AsyncIterator[Batch]:
        log, loop = self._log, asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(woken.set)

        log.wakes.add(wake)
        try:
            while True:
                woken.clear()
                piece = self._after(after)
                if piece.cursor == after:
                    await woken.wait()
                else:
                    after = piece.cursor
                    yield piece
        finally:
            log.wakes.discard(wake)

    def _after(self, cursor: Cursor) -> Batch:
        log = self._log
        with log.lock:
            if cursor.epoch != log.epoch:
                return Batch([], log.head, log.head, log.epoch, log.head)
            if cursor.offset >= log.head:
                return Batch([], cursor.offset, log.head, log.epoch, log.head)
            first = log.newest[0].offset if log.newest else log.head + 1
            if cursor.offset >= first - 1:
                newer = list(itertools.islice(log.newest, cursor.offset + 1 - first, None))
                return _piece(newer, cursor.offset, log.head, log.epoch)._replace(head=log.head)
            after = max(cursor.offset, log.floor_of(log.floors))
            found = sorted(event for kept in log.channels.values() for event in _newer(kept, after))
            return _piece(found, after, log.head, log.epoch)._replace(head=log.head)

    async def closed(self, channels: Collection[str], end: int) -> set[str]:
        log = self._log
        with log.lock:
            return {channel for channel in channels if _ends(log.channels.get(channel), end)}

    async def maintain(self) -> None:
        self.prune()

    def prune(self, older_than: float | None = None, keep: int | None = None) -> int:
        log, removed = self._log, 0
        seconds = self.options.get("retention_seconds", 86_400) if older_than is None else older_than
        keep = self.options.get("keep", DEFAULT_KEEP) if keep is None else keep
        with log.lock:
            log.newest.clear()
            for channel, kept in list(log.channels.items()):
                is_kept = channel == REVOKED
                oldest = time.monotonic() - (REVOKED_SECONDS if is_kept else seconds)
                while kept and ((len(kept) > keep and not is_kept) or kept[0][0] < oldest):
                    log.raise_floor(channel, kept.popleft()[1].offset)
                    removed += 1
                if not kept:
                    del log.channels[channel]
        return removed

    def new_epoch(self) -> str:
        log = self._log
        with log.lock:
            log.epoch = f"m{secrets.token_hex(4)}"
            wakes = list(log.wakes)
        for wake in wakes:
            wake()
        return log.epoch

    def stats(self) -> dict[str, Any]:
        log = self._log
        with log.lock:
            return {
                "epoch": log.epoch,
                "head": log.head,
                "events": sum(len(kept) for kept in log.channels.values()),
                "channels": len(log.channels),
            }


def _newer(kept: deque[tuple[float, LoggedEvent]] | None, offset: int) -> Iterator[LoggedEvent]:
    """Yield the events of a channel after an offset."""
    if kept:
        start = bisect.bisect_right(kept, offset, key=lambda entry: entry[1].offset)
        yield from (event for _, event in itertools.islice(kept, start, None))


def _newest(kept: deque[tuple[float, LoggedEvent]] | None, end: int, other_than: str = "") -> LoggedEvent | None:
    """Return the newest event that a channel keeps, up to an offset."""
    found = (event for _, event in reversed(kept or ()) if event.offset <= end and event.event != other_than)
    return next(found, None)


def _ends(kept: deque[tuple[float, LoggedEvent]] | None, end: int) -> bool:
    newest = _newest(kept, end)
    return newest is not None and newest.event == "end"


def _piece(events: list[LoggedEvent], after: int, end: int, epoch: str) -> Batch:
    size = 0
    for number, event in enumerate(events):
        if size > PAGE_BYTES:
            return Batch(events[:number], after, events[number - 1].offset, epoch)
        size += len(event.data)
    return Batch(events, after, end, epoch)
