"""The hub: one reader of a broker's log for each event loop, which hands every event to all connections that want it.

There is no queue for a connection. One that cannot take an event when it comes reads it later, from the ring or from
the log, at its own pace.
"""

import asyncio
import contextlib
import contextvars
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from ..access.revocations import Revocation, Revocations, parse_revocation
from ..brokers import Broker, Events, LoggedEvent, new_broker
from ..brokers.channel_names import CONTROL, REVOKED
from ..concurrency.tasks import in_no_context
from ..concurrency.turns import Turns
from ..conf import setting
from ..errors import BrokerUnavailable, CursorExpired, InvalidEvent
from ..wire.cursor import Cursor
from ..wire.frames import END_FRAME, logged_frame
from .group import Group, Subscriber
from .log_reader import Beginning, Frames, Piece, Reads
from .replay_buffer import Ring

__all__ = ["Hub", "hub", "stop_hubs"]

logger = logging.getLogger("serversent")


# A page that is reloaded leaves and comes back; the tail need not stop for it.
LINGER_SECONDS = 5.0

MAINTAIN_SECONDS = 60.0
MAX_BACKOFF_SECONDS = 10.0

# What was taken back before anybody listened: how much of the log is looked through for it, how late the clock of who
# said it may be, or the commit.
RECENT_BYTES = 64 * 1024
SKEW_SECONDS = 2.0

# What a connection that catches up reads at once: a slow client's connection keeps it until it is written.
CHUNK_BYTES = 64 * 1024


class Hub:
    """Reads one broker for the connections of one event loop. It runs while there are any."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._broker = new_broker(alias)
        self._ring = Ring(setting("REPLAY_BYTES"))
        self._cursor = Cursor("", 0)
        self._groups: dict[frozenset[str], Group] = {}
        self._by_channel: dict[str, set[Group]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reads = self._new_reads()
        self._stopping: asyncio.TimerHandle | None = None
        self._awaited = 0  # those who wait for the start
        self.initial_turns = Turns()
        self.is_behind = False  # more events follow the cursor at once
        self._looking_ahead: asyncio.Task[None] | None = None
        self._moved: asyncio.Future[None] | None = None
        self.revocations = Revocations()
        self._heard: Cursor | None = None  # up to here all that was taken back is known to who listens
        self._heard_at = 0.0
        self.watched_since: float | None = None  # while there are streams that something may mean
        self.on_gap: Callable[[], None] | None = None  # ends the streams that something unknown may mean
        self._revoked: asyncio.Task[None] | None = None  # once those of before the start were asked for
        self.on_revocation: Callable[[Revocation], None] | None = None  # ends the streams that one means

    @property
    def is_running(self) -> bool:
        return bool(self._tasks)

    @property
    def cursor(self) -> Cursor:
        """Everything up to here was handed to the live connections."""
        return self._cursor

    # Its life.

    async def start(self) -> None:
        """Return when the tail runs. Join at once: an unused hub stops. Raises ``BrokerUnavailable``."""
        if self._tasks:
            return
        self._awaited += 1
        try:
            while not self._tasks:
                if self._starting is None:
                    self._starting = in_no_context(self._start())
                starting = self._starting
                await asyncio.wait({starting})
                if not starting.cancelled():  # by a stop; then begin again
                    starting.result()
        finally:
            self._awaited -= 1
            self._stop_if_unused()

    async def _start(self) -> None:
        try:
            head = await self._broker.head()
            recent = await self._broker.recent(head.offset, setting("REPLAY_BYTES"))
            self._cursor = head
            self._ring.clear(recent.after)
            self._hold(recent.events)
            await self.hear(self._broker, head, recent if setting("REPLAY_BYTES") >= RECENT_BYTES else None)
        except (Exception, asyncio.CancelledError):
            if self._starting is asyncio.current_task():
                self._starting = None  # the next one tries again
            raise
        self._tasks = [in_no_context(self._run()), in_no_context(self._maintain())]
        self._stop_if_unused()

    def _stop_if_unused(self) -> None:
        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = None
        if self._tasks and not self._groups and not self._awaited:
            loop = asyncio.get_running_loop()
            self._stopping = loop.call_later(LINGER_SECONDS, self._stop, context=contextvars.Context())

    def _stop(self) -> None:
        closing = asyncio.get_running_loop().create_task(self._close(*self._detach()))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)

    async def stop(self) -> None:
        """Stop reading, and give back what that took. Streams that are still there start it again."""
        await self._close(*self._detach())

    def _detach(self) -> tuple[list[asyncio.Task[None]], Broker]:
        """Forget what runs, at once: who joins a turn of the loop later must not be left with it."""
        for group in list(self._groups.values()):  # first: they are where the cursor is now
            group.is_open = False
            for subscriber in list(group.subscribers):
                subscriber.catch_up()
        return self._forget()

    def _forget(self) -> tuple[list[asyncio.Task[None]], Broker]:
        if self._stopping is not None:
            self._stopping.cancel()
        starting, self._stopping, self._starting = self._starting, None, None
        tasks, self._tasks = self._tasks, []
        if starting is not None and not starting.done():
            tasks = [starting, *tasks]
        broker, self._broker = self._broker, new_broker(self.alias)
        self._ring.clear(self._cursor.offset)
        self._reads.end()
        self._reads = self._new_reads()
        self._revoked = None  # what comes until it starts again is not read by anybody
        self.is_behind = False
        self._wake_waiting()
        return tasks, broker

    @staticmethod
    async def _close(tasks: list[asyncio.Task[None]], broker: Broker) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await broker.aclose()

    async def _run(self) -> None:
        backoff = 0.0
        while True:
            tail: Any = self._broker.tail(self._cursor)
            try:
                async for piece in tail:
                    backoff = 0.0
                    began = time.monotonic()
                    self._take(piece)
                    # Under load the next piece waits as long as this one took, grows meanwhile, and costs each
                    # stream one write, however many events are in it. After a silence nothing waits.
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
            self.revocations.forget()
            try:
                await self._broker.maintain()
            except BrokerUnavailable as error:
                logger.warning("%s", error)
            except Exception:
                logger.exception("The upkeep of broker %r failed", self.alias)

    # Who listens.

    def join(self, subscriber: Subscriber, channels: frozenset[str]) -> Group:
        group = self._groups.get(channels)
        if group is None:
            group = self._groups[channels] = Group(channels)
            for channel in channels:
                self._by_channel.setdefault(channel, set()).add(group)
        group.subscribers.add(subscriber)
        self._stop_if_unused()
        return group

    def leave(self, subscriber: Subscriber, group: Group) -> None:
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
        self._stop_if_unused()

    async def moved(self) -> None:
        """Wait for the next piece of the log, or the end of the tail."""
        if self._moved is None:
            self._moved = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._moved)

    def _wake_waiting(self) -> None:
        moved, self._moved = self._moved, None
        if moved is not None:
            moved.set_result(None)

    # What is new. From the ring to the last push there is no await, so nobody sees one without the other.

    def _take(self, piece: Events) -> None:
        self._reads.forget_joined()
        if piece.epoch != self._cursor.epoch:
            logger.warning("The log of broker %r is another now: its streams are reset", self.alias)
            self._begin_anew(piece)
        elif piece.after > self._cursor.offset:
            logger.warning("The log of broker %r was pruned up to %d before it was read", self.alias, piece.after)
            self._begin_anew(piece)
        else:
            self.revoke(piece.events, is_new=True)  # before what came with it is handed to anybody
            frames = self._hold(piece.events)
            self._cursor = self._heard = piece.cursor
            self._heard_at = time.monotonic()
            self._push(piece.events, frames)
        self.is_behind = piece.head > piece.upto
        if self.is_behind and (self._looking_ahead is None or self._looking_ahead.done()):
            self._looking_ahead = in_no_context(self._look_ahead(piece.cursor, piece.head))
        self._wake_waiting()

    def _begin_anew(self, piece: Events) -> None:
        # First, while the cursor is still the one that the live streams are at.
        for group in list(self._groups.values()):
            group.is_open = False
            for subscriber in list(group.subscribers):
                subscriber.catch_up()
        self._revoked = None
        if not piece.cursor.is_of(self._cursor):
            self._forget_revocations()
            if self.is_behind and self.on_gap is not None:  # they may be in the queue that is left out
                self.on_gap()
        self._cursor = piece.cursor
        self._ring.clear(piece.after)
        self._reads = self._new_reads()
        self._hold(piece.events)
        # Revocations may be among the skipped events. Load them in the background; the tail goes on at the new cursor.
        in_no_context(self._hear_again(self._heard, piece.cursor))

    def _hold(self, events: Iterable[LoggedEvent]) -> Frames:
        frames = []
        for event in events:
            frame = self.frame(event)
            self._ring.append(event.offset, event.channel, frame)
            frames.append((event.offset, frame))
        return frames

    def _push(self, events: Iterable[LoggedEvent], frames: Frames) -> None:
        touched: dict[Group, bool] = {}
        for event, entry in zip(events, frames, strict=True):
            for group in self._by_channel.get(event.channel, ()):
                touched[group] = touched.get(group, False) or event.event == "end"
                if entry[1] is not END_FRAME:
                    group.new.append(entry[1])
        for group, closed in touched.items():
            try:
                group.push()
            except Exception:  # the other groups must get theirs; these read theirs again
                logger.exception("Events could not be pushed to %s", ", ".join(sorted(group.channels)))
                self._end_all(group)
            if closed:
                group.is_open = False
                for subscriber in list(group.subscribers):
                    subscriber.check_closed()

    @staticmethod
    def _end_all(group: Group) -> None:
        for subscriber in list(group.subscribers):
            subscriber.end()

    def frame(self, event: LoggedEvent) -> bytes:
        """Return an event as it is sent: ``END_FRAME`` itself where a channel was closed, nothing if it cannot be."""
        if event.event == "end":
            return END_FRAME
        try:
            return logged_frame(event.event, f"{self._cursor.epoch}-{event.offset}", event.data)
        except (InvalidEvent, TypeError, ValueError) as error:  # it was stored by SQL
            logger.error("Event %d of channel %r was left out: %s", event.offset, event.channel, error)
            return b""

    # What was taken back.

    def revoke(self, events: Iterable[LoggedEvent], *, is_new: bool) -> None:
        """Note the revocations among these events, and end the streams that they mean."""
        for event in events:
            if event.channel not in CONTROL or (found := parse_revocation(event.offset, event.data)) is None:
                continue
            # Only what one process compares with itself counts as a time: clocks differ, and are set.
            age = 0.0 if is_new else max(0.0, time.time() - found.at - SKEW_SECONDS)
            seen = time.monotonic() - age
            if self.revocations.add(found, event.offset, event.channel, seen) and self.on_revocation is not None:
                try:
                    self.on_revocation(found)
                except Exception:
                    logger.exception("Event %d, a revocation, could not be applied", event.offset)

    async def hear(self, broker: Broker, head: Cursor, recent: Events | None = None) -> None:
        """Learn of what was taken back up to the head, since that was last done. Raises ``BrokerUnavailable``.

        Where nobody has watched since then, only what was said a moment ago matters: requests were on their way.
        """
        if self._heard is not None and not self._heard.is_of(head):
            self._forget_revocations()
        await self._hear(broker, self._heard, head, recent)
        self._heard, self._heard_at = head, time.monotonic()

    def _forget_revocations(self) -> None:
        """Begin anew with another log: the offsets of the revocations are not its offsets.

        Once, when the other log is seen. Later there may be revocations of the new log among them.
        """
        self.revocations.clear()
        self._heard = self._revoked = None

    async def _look_ahead(self, after: Cursor, upto: int) -> None:
        """Apply the revocations among the events that are still to come: they overtake a long queue."""
        position, broker = after.offset, self._broker
        with contextlib.suppress(BrokerUnavailable, CursorExpired):  # they come with the queue in any case
            while position < upto:
                piece = await broker.read(CONTROL, position, upto)
                if self._cursor.epoch != after.epoch:
                    return
                self.revoke(piece.events, is_new=True)
                position = piece.upto

    async def _hear(self, broker: Broker, after: Cursor | None, head: Cursor, recent: Events | None) -> None:
        if after is None or self.watched_since is None or self.watched_since > self._heard_at:
            recent = recent or await broker.recent(head.offset, RECENT_BYTES)
            self.revoke(recent.events, is_new=False)
        else:
            try:
                while after.offset < head.offset:
                    piece = await broker.read(CONTROL, after.offset, head.offset)
                    self.revoke(piece.events, is_new=True)
                    after = Cursor(head.epoch, piece.upto)
            except CursorExpired:
                if self.on_gap is not None:
                    self.on_gap()

    async def _hear_again(self, after: Cursor | None, head: Cursor) -> None:
        while self.is_running:
            try:
                await self._hear(self._broker, after, head, None)
            except BrokerUnavailable as error:
                logger.warning("What was taken back meanwhile is not known yet: %s", error)
                await asyncio.sleep(1)
            else:
                return

    async def know_revoked(self) -> None:
        """Return when all that refuses URLs is known, up to the cursor. Raises ``BrokerUnavailable``."""
        if self._revoked is None:
            self._revoked = in_no_context(self._read_revoked(self._cursor.offset))
        await asyncio.shield(self._revoked)

    async def _read_revoked(self, upto: int) -> None:
        after: int | None = None
        try:
            while after is None or after < upto:
                try:
                    piece = await self._broker.read({REVOKED}, after, upto)
                except CursorExpired:  # pruned meanwhile
                    after = None
                else:
                    self.revoke(piece.events, is_new=False)
                    after = piece.upto
        except BaseException:  # the next one tries again
            self._revoked = None
            raise

    # What was before.

    async def newest(self) -> Cursor:
        """Return the cursor of the newest event, where a stream begins that wants no older ones.

        It is the hub's own, unless the hub has a queue of events before it.
        """
        if self.is_behind:
            head = await self.head()
            if head.epoch == self._cursor.epoch and head.offset > self._cursor.offset:
                return head
        return self._cursor

    async def first(self, channels: frozenset[str], after: int, upto: int) -> tuple[Frames, int]:
        """Return the first frames above one offset and not above another, and up to where that is all.

        Raises ``CursorExpired``, ``BrokerUnavailable``.
        """
        held = self.held(channels, after)
        frames, reached = held if held and held[1] >= upto else await self._reads.page(channels, after, upto)
        return [entry for entry in frames if entry[0] <= upto], reached

    def _new_reads(self) -> Reads:
        return Reads(self._broker, lambda page: [(event.offset, self.frame(event)) for event in page.events])

    async def head(self) -> Cursor:
        """Return the log's own head, which the hub may be behind. It may have been asked for by somebody before."""
        return await self._reads.head()

    async def all_closed(self, group: Group, position: int) -> bool:
        """Whether every channel of a group is closed, as of an offset: later events may close or open them."""
        if group.is_open:
            return False
        here = self._cursor
        if await self._reads.closed(group.channels, position) >= group.channels:
            return True
        # What is known of where the hub stands holds until it pushes an end.
        group.is_open = self._cursor.epoch == here.epoch and self._cursor.offset == position
        return False

    async def read(self, channels: frozenset[str], after: int | Beginning) -> tuple[list[Piece], int]:
        """Return the first events after an offset, as they are written, and the offset up to which that is all.

        The ring is asked first. Raises ``CursorExpired``. ``after="oldest"``: from the oldest that is kept; "latest":
        the newest of each channel.
        """
        log = self._reads  # what is read of this one is not kept for another
        found = None if after == "latest" else log.joined(channels, after)
        if found is None:
            frames, upto = await self._read(channels, after)
            found = log.join(channels, after, frames, upto)
        return found

    async def _read(self, channels: frozenset[str], after: int | Beginning) -> tuple[Frames, int]:
        upto = self._cursor.offset
        if after == "latest":  # the log's own, which this hub may be behind
            head = await self.head()
            upto = head.offset if head.epoch == self._cursor.epoch else upto
        if isinstance(after, str):
            return await self._reads.first(channels, after, upto)
        return self.held(channels, after) or _first_of(*await self._reads.page(channels, after, upto))

    def held(self, channels: frozenset[str], after: int) -> tuple[Frames, int] | None:
        """Return frames from the ring alone; ``None`` if it does not reach back that far."""
        frames = self._ring.read(channels, after, CHUNK_BYTES)
        if frames is None:
            return None
        size = sum(len(frame) for _, frame in frames)
        return frames, frames[-1][0] if size >= CHUNK_BYTES else self._cursor.offset

    def abandon(self) -> None:
        """Give back what this hub opened. Its event loop was closed, and runs nothing any more."""
        self._tasks = []
        self._broker.abandon()


def _first_of(frames: Frames, upto: int) -> tuple[Frames, int]:
    """Return the part of a page that one connection reads at once. The page is kept for other connections."""
    size = 0
    for number, (offset, frame) in enumerate(frames, 1):
        size += len(frame)
        if size >= CHUNK_BYTES and number < len(frames):
            return frames[:number], offset
    return frames, upto


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
            for left in _hubs.pop(ended, {}).values():
                left.abandon()
    return _hubs.setdefault(loop, {})


def hub(alias: str) -> Hub:
    """Return the running event loop's hub of a broker. Raises ``UnknownBroker``."""
    with _lock:
        hubs = _hubs_of(asyncio.get_running_loop())
    if alias not in hubs:
        hubs[alias] = Hub(alias)
    return hubs[alias]
