"""The hub: for each event loop and broker, one reader of the log, which hands every event to the streams that want it.

No stream has a queue. A stream that cannot take an event when it comes reads it later, from the replay buffer or from
the log, at its own pace.
"""

import asyncio
import contextvars
import logging
import random
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Any, Protocol

from ..brokers import Batch, Broker, LoggedEvent, new_broker
from ..concurrency.tasks import spawn_detached
from ..concurrency.turns import Turns
from ..conf import setting
from ..errors import BrokerUnavailable, InvalidEvent
from ..wire.cursor import Cursor
from ..wire.frames import END_FRAME, logged_frame
from .group import Group, Subscriber
from .log_reader import Beginning, Frames, LogReader, WriteChunk
from .replay_buffer import ReplayBuffer

__all__ = ["Hub", "LogListener", "hub", "stop_hubs"]

logger = logging.getLogger("serversent")

# A page that is reloaded leaves and comes back; the tail need not stop for it.
LINGER_SECONDS = 5.0

MAINTAIN_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 10.0

# How much a replaying stream reads at once: the bytes stay in memory until a slow client has taken them.
READ_BYTES = 64 * 1024


class LogListener(Protocol):
    """Sees every batch of the log, before its events are pushed to streams. Errors must not be raised."""

    async def on_start(self, broker: Broker, head: Cursor, recent: Batch) -> None:
        """The hub begins at ``head``; ``recent`` are the newest events before it. May raise ``BrokerUnavailable``."""

    def on_batch(self, batch: Batch) -> None:
        """New events, in order and without a gap."""

    def on_jump(self, batch: Batch, *, is_same_log: bool, was_behind: bool) -> None:
        """Events were skipped: they were pruned before they were read, or the log is another.

        ``was_behind``: the hub had not read all events of the log that it leaves.
        """

    def on_backlog(self, after: Cursor, end: int) -> None:
        """More events follow at once, up to the offset ``end``."""

    def on_stop(self) -> None:
        """The hub has stopped. Events until it starts again are not seen."""

    def on_maintenance(self) -> None:
        """About once a minute."""


class Hub:
    """Reads one broker's log for the streams of one event loop. It runs while there are any."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.listeners: list[LogListener] = []
        self.initial_turns = Turns()
        self.is_behind = False  # more events follow the cursor at once
        self._broker = new_broker(alias)
        self._buffer = ReplayBuffer(setting("REPLAY_BYTES"))
        self._cursor = Cursor("", 0)
        self._subscribers = _Subscribers()
        self._reader = self._new_reader()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping: asyncio.TimerHandle | None = None
        self._next_batch = _Announcement()

    @property
    def is_running(self) -> bool:
        return bool(self._tasks)

    @property
    def broker(self) -> Broker:
        """The broker that this hub reads from until it stops."""
        return self._broker

    @property
    def cursor(self) -> Cursor:
        """Everything up to this cursor was handed to the live streams."""
        return self._cursor

    # Starting and stopping.

    async def start(self) -> None:
        """Return when the tail runs. Join at once: an unused hub stops. Raises ``BrokerUnavailable``."""
        if self._tasks:
            return
        self._subscribers.expected += 1
        try:
            while not self._tasks:
                if self._starting is None:
                    self._starting = spawn_detached(self._start())
                starting = self._starting
                await asyncio.wait({starting})
                if not starting.cancelled():  # a stop cancels it: then start again
                    starting.result()
        finally:
            self._subscribers.expected -= 1
            self._stop_if_unused()

    async def _start(self) -> None:
        try:
            head = await self._broker.head()
            recent = await self._broker.recent(head.offset, setting("REPLAY_BYTES"))
            self._cursor = head
            self._buffer.clear(recent.after)
            self._buffer_frames(recent.events)
            for listener in self.listeners:
                await listener.on_start(self._broker, head, recent)
        except (Exception, asyncio.CancelledError):
            if self._starting is asyncio.current_task():
                self._starting = None  # the next stream tries again
            raise
        self._tasks = [spawn_detached(self._run()), spawn_detached(self._maintain())]
        self._stop_if_unused()

    def _stop_if_unused(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = None
        if self._tasks and not self._subscribers:
            loop = asyncio.get_running_loop()
            self._stopping = loop.call_later(LINGER_SECONDS, self._stop, context=contextvars.Context())

    def _stop(self) -> None:
        closing = asyncio.get_running_loop().create_task(self._close(*self._detach()))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)

    async def stop(self) -> None:
        """Stop reading, and close the broker's connections. Streams that are still open start the hub again."""
        await self._close(*self._detach())

    def _detach(self) -> tuple[list[asyncio.Task[None]], Broker]:
        """Forget the running tasks at once: a stream that joins in a later turn of the loop must start new ones."""
        self._subscribers.catch_up()  # first, while their position is the cursor
        return self._forget()

    def _forget(self) -> tuple[list[asyncio.Task[None]], Broker]:
        if self._stopping is not None:
            self._stopping.cancel()
        starting, self._stopping, self._starting = self._starting, None, None
        tasks, self._tasks = self._tasks, []
        if starting is not None and not starting.done():
            tasks = [starting, *tasks]
        broker, self._broker = self._broker, new_broker(self.alias)
        self._buffer.clear(self._cursor.offset)
        self._reader.close()
        self._reader = self._new_reader()
        self.is_behind = False
        for listener in self.listeners:
            listener.on_stop()
        self._next_batch.announce()
        return tasks, broker

    @staticmethod
    async def _close(tasks: list[asyncio.Task[None]], broker: Broker) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await broker.aclose()

    def abandon(self) -> None:
        """Close the hub's connections. Its event loop was closed, and runs nothing any more."""
        self._tasks = []
        self._broker.abandon()

    async def _run(self) -> None:
        backoff = 0.0
        while True:
            tail: Any = self._broker.tail(self._cursor)
            try:
                async for batch in tail:
                    backoff = 0.0
                    began = time.monotonic()
                    self._on_batch(batch)
                    # Under load the next batch waits for as long as this one took, and collects events meanwhile. A
                    # batch costs each stream one write, however many events it has. After a silence nothing waits.
                    await asyncio.sleep(0)  # uvloop writes at the end of the turn
                    await asyncio.sleep(time.monotonic() - began)
            except asyncio.CancelledError:
                await tail.aclose()
                if asyncio.current_task() in self._tasks:  # not by stop(): the event loop ends, and its streams with it
                    tasks, broker = self._forget()
                    await self._close([task for task in tasks if task is not asyncio.current_task()], broker)
                raise
            except Exception:
                await tail.aclose()
                backoff = min(MAX_BACKOFF_SECONDS, backoff * 2 or 0.1)
                logger.exception("The tail of broker %r failed; it starts again in %.1f s", self.alias, backoff)
                await asyncio.sleep(backoff)

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS * random.uniform(0.7, 1.3))
            for listener in self.listeners:
                listener.on_maintenance()
            try:
                await self._broker.maintain()
            except BrokerUnavailable as error:
                logger.warning("%s", error)
            except Exception:
                logger.exception("The maintenance of broker %r failed", self.alias)

    # Streams.

    def join(self, subscriber: Subscriber, channels: frozenset[str]) -> Group:
        group = self._subscribers.add(subscriber, channels)
        self._stop_if_unused()
        return group

    def leave(self, subscriber: Subscriber, group: Group) -> None:
        self._subscribers.remove(subscriber, group)
        if not self._subscribers:
            self._stop_if_unused()

    async def wait_for_batch(self) -> None:
        """Wait for the next batch of the log, or for the end of the tail."""
        await self._next_batch.wait()

    # New events. From the buffer to the last push there is no await, so that no stream sees one without the other.

    def _on_batch(self, batch: Batch) -> None:
        self._reader.drop_chunks()
        if batch.epoch != self._cursor.epoch:
            logger.warning("The log of broker %r has another epoch: its streams are reset", self.alias)
            self._jump(batch)
        elif batch.after > self._cursor.offset:
            logger.warning("The log of broker %r was pruned up to %d before it was read", self.alias, batch.after)
            self._jump(batch)
        else:
            for listener in self.listeners:
                listener.on_batch(batch)
            frames = self._buffer_frames(batch.events)
            self._cursor = batch.cursor
            self._push(batch.events, frames)
        self.is_behind = batch.head > batch.end
        if self.is_behind:
            for listener in self.listeners:
                listener.on_backlog(batch.cursor, batch.head)
        self._next_batch.announce()

    def _jump(self, batch: Batch) -> None:
        """Go on at a batch that does not follow the last one."""
        self._subscribers.catch_up()  # first, while the position of live streams is the old cursor
        is_same_log, was_behind = batch.cursor.is_of(self._cursor), self.is_behind
        self._cursor = batch.cursor
        self._buffer.clear(batch.after)
        self._reader = self._new_reader()
        self._buffer_frames(batch.events)
        for listener in self.listeners:
            listener.on_jump(batch, is_same_log=is_same_log, was_behind=was_behind)

    def _buffer_frames(self, events: Iterable[LoggedEvent]) -> Frames:
        frames = []
        for event in events:
            frame = self.frame(event)
            self._buffer.append(event.offset, event.channel, frame)
            frames.append((event.offset, frame))
        return frames

    def _push(self, events: Iterable[LoggedEvent], frames: Frames) -> None:
        closing: dict[Group, bool] = {}
        for event, (_, frame) in zip(events, frames, strict=True):
            for group in self._subscribers.of_channel(event.channel):
                closing[group] = closing.get(group, False) or event.event == "end"
                if frame is not END_FRAME:
                    group.add_frame(frame)
        for group, closes in closing.items():
            try:
                group.push()
            except Exception:  # the streams of this group come back and read the events again; other groups go on
                logger.exception("Events could not be pushed to %s", ", ".join(sorted(group.channels)))
                for subscriber in list(group.subscribers):
                    subscriber.end()
            if closes:
                group.known_open = False
                for subscriber in list(group.subscribers):
                    subscriber.end_if_closed()

    def frame(self, event: LoggedEvent) -> bytes:
        """Return the frame of an event: ``END_FRAME`` itself for the end of a channel, ``b""`` if it has none."""
        if event.event == "end":
            return END_FRAME
        try:
            return logged_frame(event.event, f"{self._cursor.epoch}-{event.offset}", event.data)
        except (InvalidEvent, TypeError, ValueError) as error:  # it was stored by SQL
            logger.error("Event %d of channel %r was left out: %s", event.offset, event.channel, error)
            return b""

    # Earlier events.

    async def newest(self) -> Cursor:
        """Return the cursor of the newest event, where a stream begins that wants no older ones.

        It is the hub's own cursor, unless more events follow that.
        """
        if self.is_behind:
            head = await self.head()
            if head.epoch == self._cursor.epoch and head.offset > self._cursor.offset:
                return head
        return self._cursor

    async def head(self) -> Cursor:
        """Return the log's head, which may be above the hub's cursor. The call may be shared with an earlier one."""
        return await self._reader.head()

    async def first(self, channels: frozenset[str], after: int, end: int) -> tuple[Frames, int]:
        """Return the first frames with ``after < offset <= end``, and the offset up to which they are complete.

        Raises ``CursorExpired``, ``BrokerUnavailable``.
        """
        buffered = self._read_buffered(channels, after)
        reaches = buffered is not None and buffered[1] >= end
        frames, complete = buffered if buffered and reaches else await self._reader.page(channels, after, end)
        return [entry for entry in frames if entry[0] <= end], complete

    async def read(self, channels: frozenset[str], after: int | Beginning) -> tuple[list[WriteChunk], int]:
        """Return the first events after an offset, and the offset up to which they are complete.

        ``after="oldest"``: from the oldest event of the log; ``"latest"``: the newest of each channel. They come from
        the replay buffer if it reaches back that far. Raises ``CursorExpired``, ``BrokerUnavailable``.
        """
        reader = self._reader  # chunks of this log are not kept by the reader of another
        found = None if after == "latest" else reader.chunks(channels, after)
        if found is None:
            frames, end = await self._read_frames(channels, after)
            found = reader.make_chunks(channels, after, frames, end)
        return found

    async def read_kept(self, channels: frozenset[str], after: int) -> tuple[list[WriteChunk], int]:
        """Return what ``read()`` returns, although events after ``after`` were pruned: those that are kept.

        Raises ``BrokerUnavailable``, and ``CursorExpired`` if a broker has no event above the floor of its channel.
        """
        return await self._reader.kept(channels, after, self._cursor.offset)

    async def _read_frames(self, channels: frozenset[str], after: int | Beginning) -> tuple[Frames, int]:
        end = self._cursor.offset
        if after == "latest":
            head = await self.head()
            end = head.offset if head.epoch == self._cursor.epoch else end
        if isinstance(after, str):
            return await self._reader.first(channels, after, end)
        return self._read_buffered(channels, after) or _first_bytes(*await self._reader.page(channels, after, end))

    def _read_buffered(self, channels: frozenset[str], after: int) -> tuple[Frames, int] | None:
        """Return frames from the replay buffer; ``None`` if it does not reach back that far."""
        frames = self._buffer.read(channels, after, READ_BYTES)
        if frames is None:
            return None
        size = sum(len(frame) for _, frame in frames)
        return frames, frames[-1][0] if size >= READ_BYTES else self._cursor.offset

    def _new_reader(self) -> LogReader:
        return LogReader(self._broker, lambda batch: [(event.offset, self.frame(event)) for event in batch.events])

    async def all_closed(self, group: Group, offset: int) -> bool:
        """Return whether every channel of a group is closed as of an offset: later events may close or open them."""
        if group.known_open:
            return False
        here = self._cursor
        if await self._reader.closed(group.channels, offset) >= group.channels:
            return True
        # The answer holds for the hub's cursor until the hub pushes the end of a channel.
        group.known_open = self._cursor.epoch == here.epoch and self._cursor.offset == offset
        return False


class _Announcement:
    """Wakes all tasks that wait for the next batch."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._future)

    def announce(self) -> None:
        future, self._future = self._future, None
        if future is not None:
            future.set_result(None)


class _Subscribers:
    """The streams of a hub, in groups, by the sets of their channels."""

    def __init__(self) -> None:
        self.expected = 0  # streams that wait for the start of the hub, to join it
        self._groups: dict[frozenset[str], Group] = {}
        self._by_channel: dict[str, set[Group]] = {}

    def __len__(self) -> int:
        return len(self._groups) + self.expected

    def of_channel(self, channel: str) -> Iterable[Group]:
        return self._by_channel.get(channel, ())

    def add(self, subscriber: Subscriber, channels: frozenset[str]) -> Group:
        group = self._groups.get(channels)
        if group is None:
            group = self._groups[channels] = Group(channels)
            for channel in channels:
                self._by_channel.setdefault(channel, set()).add(group)
        group.subscribers.add(subscriber)
        return group

    def remove(self, subscriber: Subscriber, group: Group) -> None:
        group.leave_live(subscriber)
        group.subscribers.discard(subscriber)
        if group.subscribers:
            return
        del self._groups[group.channels]
        for channel in group.channels:
            groups = self._by_channel[channel]
            groups.discard(group)
            if not groups:
                del self._by_channel[channel]

    def catch_up(self) -> None:
        """Let every stream leave the hub's cursor and go on by itself."""
        for group in list(self._groups.values()):
            group.known_open = False
            for subscriber in list(group.subscribers):
                subscriber.catch_up()


def _first_bytes(frames: Frames, end: int) -> tuple[Frames, int]:
    """Return the part of a page that one stream reads at once. The page itself is kept for other streams."""
    size = 0
    for number, (offset, frame) in enumerate(frames, 1):
        size += len(frame)
        if size >= READ_BYTES and number < len(frames):
            return frames[:number], offset
    return frames, end


_closing: set[asyncio.Task[None]] = set()
_lock = threading.Lock()  # loops of several threads share the table of hubs
_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Hub]] = weakref.WeakKeyDictionary()


async def stop_hubs() -> None:
    """Stop every hub of the running event loop, which is about to end."""
    for each in list(_hubs.get(asyncio.get_running_loop(), {}).values()):
        await each.stop()


def _hubs_of(loop: asyncio.AbstractEventLoop) -> dict[str, Hub]:
    if loop not in _hubs:
        for ended in [each for each in _hubs if each.is_closed()]:
            for abandoned in _hubs.pop(ended, {}).values():
                abandoned.abandon()
    return _hubs.setdefault(loop, {})


def hub(alias: str) -> Hub:
    """Return the running event loop's hub of a broker. Raises ``UnknownBroker``."""
    with _lock:
        hubs = _hubs_of(asyncio.get_running_loop())
    if alias not in hubs:
        hubs[alias] = Hub(alias)
    return hubs[alias]
