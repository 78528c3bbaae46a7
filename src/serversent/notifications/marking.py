"""Notifications that were written to a stream are marked as sent: in batches, in a thread of its own."""

import atexit
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Collection, Iterable
from typing import Any

from django.db import connections, router
from django.utils import timezone

from serversent.channels.group import WrittenEvents
from serversent.concurrency.tasks import test_executor
from serversent.event import EventParser
from serversent.signals import events_written

from .events import NOTIFICATION, is_channel_of_user, key_of
from .models import notification_model

__all__ = ["SentMarker", "connect", "mark_sent", "marker", "wait_for_pending"]

logger = logging.getLogger("serversent")

# How long written notifications wait for more, so that one query marks all of them.
INTERVAL_SECONDS = 0.25
RETRY_SECONDS = 5.0
IDLE_SECONDS = 5.0
EXIT_SECONDS = 2.0
# How long a new stream waits for pending marks. A long transaction may hold them up.
MARK_WAIT_SECONDS = 0.5
BATCH = 1000

# The bytes that wait while the database is away. More are dropped: clients without a cursor get these notifications
# again.
MAX_BYTES = 16 * 1024 * 1024


class SentMarker:
    """Sets ``sent_at`` of notifications, one query for each batch. Its thread is there only while there is work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._written: dict[bytes, None] = {}  # an ordered set: the frames that many tabs got are here once
        self._size = 0
        self._added = self._marked = 0  # how many were ever added, and up to which all are marked
        self._has_work = threading.Event()
        self._is_awaited = threading.Event()
        self._is_running = False

    def add(self, written: bytes) -> None:
        """Mark the notifications among these events soon. Waits for nothing."""
        with self._changed:
            if written in self._written or self._size > MAX_BYTES:
                return
            self._written[written] = None
            self._size += len(written)
            self._added += 1
            starts = not self._is_running
            self._is_running = True
        self._has_work.set()
        if starts:
            try:
                threading.Thread(target=self._run, name="serversent-notifications", daemon=True).start()
            except RuntimeError as error:  # the system has no more threads; the next one tries again
                self._is_running = False
                logger.warning("Notifications are marked as sent later: %s", error)

    def wait_for_pending(self, seconds: float) -> None:
        """Wait until everything that was added before is marked, but at most so long."""
        with self._changed:
            upto = self._added
            if self._marked < upto:
                self._is_awaited.set()
                self._changed.wait_for(lambda: self._marked >= upto, seconds)

    def flush(self) -> None:
        """Mark all waiting notifications, on this thread's connection. Raises ``DatabaseError``."""
        with self._changed:
            written, upto = self._written, self._added
            self._written, self._size = {}, 0
        try:
            mark_sent(keys_of(written))
        except BaseException:
            with self._changed:
                self._written = written | self._written
                self._size = sum(map(len, self._written))
            raise
        with self._changed:
            self._marked = upto
            self._changed.notify_all()

    def _run(self) -> None:
        while self._has_work.wait(IDLE_SECONDS) or not self._may_end():
            self._is_awaited.wait(INTERVAL_SECONDS)
            self._has_work.clear()
            self._is_awaited.clear()
            try:
                self.flush()
            except Exception as error:
                logger.warning("Notifications could not be marked as sent. It is tried again: %s", error)
                connections.close_all()
                time.sleep(RETRY_SECONDS)
        connections.close_all()

    def _may_end(self) -> bool:
        with self._changed:
            self._is_running = bool(self._written)
            return not self._is_running


def keys_of(written: Iterable[bytes]) -> list[int]:
    """Return the primary keys of the notifications in some events, as they are on the wire."""
    events = (event for frames in written for event in EventParser().feed(frames))
    keys = {key_of(event.data) for event in events if event.event == NOTIFICATION}
    return sorted(key for key in keys if key is not None)


def mark_sent(keys: list[int]) -> None:
    """Set ``sent_at`` where it is not set, one query for each thousand. Raises ``DatabaseError``."""
    model = notification_model()
    rows = model._base_manager.using(router.db_for_write(model)).filter(sent=False)
    for start in range(0, len(keys), BATCH):
        rows.filter(pk__in=keys[start : start + BATCH]).update(sent_at=timezone.now())


marker = SentMarker()


def wait_for_pending() -> None:
    """Give pending ``sent_at`` updates a moment to finish, before unsent notifications are queried."""
    if test_executor.get() is None:
        marker.wait_for_pending(MARK_WAIT_SECONDS)


@functools.cache
def connect() -> None:
    """Mark the notifications that this process writes to streams of one user's channel.

    For processes that serve notifications: ``manage.py serversent listen`` only looks at them.
    """
    events_written.connect(_on_events_written, dispatch_uid="serversent.notifications")


def _on_events_written(sender: Any, channels: Collection[str], events: WrittenEvents, **kwargs: Any) -> None:
    # With other channels beside it, an event of another channel could look like a notification.
    if len(channels) != 1 or not is_channel_of_user(*channels):
        return
    executor = test_executor.get()
    if executor is None:
        marker.add(events.frames)
    else:  # a test of a project: in its transaction, of which another thread would see nothing
        with contextlib.suppress(RuntimeError):  # the test is over
            executor.submit(mark_sent, keys_of([events.frames]))


def _at_exit() -> None:
    with contextlib.suppress(Exception):
        marker.wait_for_pending(EXIT_SECONDS)


atexit.register(_at_exit)
