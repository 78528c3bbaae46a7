"""The feed of revocations: one for each event loop, from the log of the default broker.

The default broker's hub reads revocations with all other events. Where no stream of a channel keeps it running, the log
is polled twice a second, on a connection that is closed again: an open stream holds none.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from django.apps import apps

from ..brokers import Batch, Broker, LoggedEvent, broker, new_broker
from ..brokers.channel_names import CONTROL, REVOKED
from ..channels.hub import Hub, hub
from ..concurrency.tasks import spawn_detached
from ..conf import broker_settings, setting
from ..errors import BrokerUnavailable, CursorExpired, StreamRefused
from ..wire.cursor import Cursor
from .identity import Identity
from .revocations import Revocation, Revocations, parse_revocation

__all__ = ["RevocationFeed", "check_url", "revocation_feed"]

logger = logging.getLogger("serversent")

POLL_SECONDS = 0.5
OUTAGE_SECONDS = 10.0
FORGET_SECONDS = 60.0

# Revocations from before the first stream: bytes of log to scan, and the clock skew or commit delay to allow for.
RECENT_BYTES = 64 * 1024
SKEW_SECONDS = 2.0


class _Watcher(NamedTuple):
    """The open streams that revocations may match.

    ``on_revocation`` ends those that match. ``on_gap`` is called when revocations were pruned unread: it ends every
    stream that has an identity. ``since``: when the first of them was opened, of ``time.monotonic()``. ``polling``:
    the task that polls the log while no hub reads it.
    """

    on_revocation: Callable[[Revocation], None]
    on_gap: Callable[[], None]
    since: float
    polling: asyncio.Task[None]


class _Applied(NamedTuple):
    """All revocations up to ``cursor`` were applied, at ``at`` of ``time.monotonic()``."""

    cursor: Cursor
    at: float


class RevocationFeed:
    """Applies each revocation of the default broker's log to the open streams. A listener of that broker's hub."""

    def __init__(self, default: Hub) -> None:
        self.revocations = Revocations()
        self._hub = default
        self._watcher: _Watcher | None = None
        self._applied: _Applied | None = None
        self._url_task: asyncio.Task[None] | None = None  # loads the revocations that reject URLs, on the first use
        self._ahead_task: asyncio.Task[None] | None = None

    # Watching for open streams.

    def watch(self, on_revocation: Callable[[Revocation], None], on_gap: Callable[[], None]) -> None:
        """Call ``on_revocation`` and ``on_gap`` from now on. May be called again."""
        if self._watcher is None:
            self._watcher = _Watcher(on_revocation, on_gap, time.monotonic(), spawn_detached(self._poll()))

    def unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.polling.cancel()
        self._watcher = None

    def is_revoked(self, identity: Identity, channels: Collection[str]) -> bool:
        """Return whether a stream is known to be revoked."""
        return self.revocations.is_revoked(identity, channels)

    async def _poll(self) -> None:
        is_outage = False
        forgot_at = time.monotonic()
        while True:
            try:
                if not self._hub.is_running:
                    async with contextlib.aclosing(new_broker(self._hub.alias)) as log:
                        await self.load(log, await log.head())
                is_outage = False
            except Exception as error:
                if not is_outage:
                    logger.warning("Streams are not ended by a logout or end_streams() meanwhile: %r", error)
                is_outage = True
            if time.monotonic() - forgot_at > FORGET_SECONDS:
                forgot_at = time.monotonic()
                self.revocations.forget_old()
            await asyncio.sleep(OUTAGE_SECONDS if is_outage else POLL_SECONDS)

    # Listening to the hub.

    async def on_start(self, broker: Broker, head: Cursor, recent: Batch) -> None:
        await self.load(broker, head, recent if setting("REPLAY_BYTES") >= RECENT_BYTES else None)

    def on_batch(self, batch: Batch) -> None:
        self._apply(batch.events, is_new=True)
        self._applied = _Applied(batch.cursor, time.monotonic())

    def on_jump(self, batch: Batch, *, is_same_log: bool, was_behind: bool) -> None:
        self._url_task = None
        if not is_same_log:
            self._forget_log()
            if was_behind:  # revocations may be among the events that were left unread
                self._report_gap()
        # Revocations may be among the skipped events. Load them in the background; the tail continues meanwhile.
        spawn_detached(self._load_skipped(self._applied, batch.cursor))

    def on_backlog(self, after: Cursor, end: int) -> None:
        if self._ahead_task is None or self._ahead_task.done():
            self._ahead_task = spawn_detached(self._apply_ahead(after, end))

    def on_stop(self) -> None:
        self._url_task = None

    def on_maintenance(self) -> None:
        self.revocations.forget_old()

    # Loading.

    async def load(self, broker: Broker, head: Cursor, recent: Batch | None = None) -> None:
        """Apply the revocations up to the head that have not been applied yet. Raises ``BrokerUnavailable``.

        If nobody has watched since the last ones, only revocations of the last moments matter, for requests that were
        on their way.
        """
        if self._applied is not None and not self._applied.cursor.is_of(head):
            self._forget_log()
        await self._load(broker, self._applied, head, recent)
        self._applied = _Applied(head, time.monotonic())

    async def _load(self, broker: Broker, applied: _Applied | None, head: Cursor, recent: Batch | None) -> None:
        watcher = self._watcher
        if applied is None or watcher is None or watcher.since > (self._applied or applied).at:
            recent = recent or await broker.recent(head.offset, RECENT_BYTES)
            self._apply(recent.events, is_new=False)
            return
        after = applied.cursor.offset
        try:
            while after < head.offset:
                batch = await broker.read(CONTROL, after, head.offset)
                self._apply(batch.events, is_new=True)
                after = batch.end
        except CursorExpired:
            self._report_gap()

    async def _load_skipped(self, applied: _Applied | None, head: Cursor) -> None:
        while self._hub.is_running:
            try:
                await self._load(self._hub.broker, applied, head, None)
            except BrokerUnavailable as error:
                logger.warning("Revocations among skipped events are not known yet: %s", error)
                await asyncio.sleep(1)
            else:
                return

    async def _apply_ahead(self, after: Cursor, end: int) -> None:
        """Apply the revocations in a backlog before its other events: a long queue must not delay them."""
        position, broker = after.offset, self._hub.broker
        with contextlib.suppress(BrokerUnavailable, CursorExpired):  # then they are applied with the other events
            while position < end:
                batch = await broker.read(CONTROL, position, end)
                if self._hub.cursor.epoch != after.epoch:
                    return
                self._apply(batch.events, is_new=True)
                position = batch.end

    async def ensure_urls_loaded(self) -> None:
        """Return when all revocations that reject URLs are known, up to the hub's cursor.

        Raises ``BrokerUnavailable``.
        """
        if self._url_task is None:
            self._url_task = spawn_detached(self._load_urls(self._hub.cursor.offset))
        await asyncio.shield(self._url_task)

    async def _load_urls(self, end: int) -> None:
        after: int | None = None
        try:
            while after is None or after < end:
                try:
                    batch = await self._hub.broker.read({REVOKED}, after, end)
                except CursorExpired:  # pruned meanwhile
                    after = None
                else:
                    self._apply(batch.events, is_new=False)
                    after = batch.end
        except BaseException:  # the next one tries again
            self._url_task = None
            raise

    # Applying.

    def _apply(self, events: Iterable[LoggedEvent], *, is_new: bool) -> None:
        """Remember the revocations among these events, and end the streams that match."""
        for event in events:
            if event.channel not in CONTROL or (found := parse_revocation(event.offset, event.data)) is None:
                continue
            # Clocks of two hosts differ. The sender's is used only for a revocation that was not seen as it came.
            age = 0.0 if is_new else max(0.0, time.time() - found.sent_at - SKEW_SECONDS)
            seen_at = time.monotonic() - age
            if self.revocations.add(found, event.offset, event.channel, seen_at) and self._watcher is not None:
                try:
                    self._watcher.on_revocation(found)
                except Exception:
                    logger.exception("Event %d, a revocation, could not be applied", event.offset)

    def _report_gap(self) -> None:
        if self._watcher is not None:
            self._watcher.on_gap()

    def _forget_log(self) -> None:
        """Forget all revocations when the log is seen to be another: their offsets mean nothing in it.

        Only then: later there may be revocations of the new log among them.
        """
        self.revocations.clear()
        self._applied = self._url_task = None


def _has_log() -> bool:
    """Return whether there may be a log to read: streams of generators need none."""
    return "default" in broker_settings() and (apps.is_installed("serversent") or not broker("default").needs_app)


def revocation_feed() -> RevocationFeed | None:
    """Return the feed of the running event loop, or ``None`` if the project has no log to read.

    Ask for it before the default broker's hub starts.
    """
    if not _has_log():
        return None
    default = hub("default")
    for listener in default.listeners:
        if isinstance(listener, RevocationFeed):
            return listener
    feed = RevocationFeed(default)
    default.listeners.append(feed)
    return feed


async def check_url(identity: Identity, channels: Collection[str]) -> None:
    """Raise ``StreamRefused`` if a URL was revoked after it was signed, or ``BrokerUnavailable``."""
    feed, default = revocation_feed(), hub("default")
    assert feed is not None  # it was signed at an offset of that log
    await default.start()
    await feed.ensure_urls_loaded()
    is_of_this_log = identity.signed_at is not None and identity.signed_at.is_of(default.cursor)
    if not is_of_this_log or feed.revocations.rejects_url(identity, channels):
        raise StreamRefused(403, "This address is not valid any more.")
