"""A group: all open streams with the same set of channels.

New frames of these channels are joined once, and the same bytes are written to every live stream.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, Protocol

from ..servers.uvicorn import write_all
from ..signals import events_written, send
from ..wire.parser import EventParser, ReceivedEvent

__all__ = ["Group", "Subscriber", "WrittenEvents", "send_events_written"]

logger = logging.getLogger("serversent")


class Subscriber(Protocol):
    """A stream of channels that is live or catching up."""

    @property
    def fast_path(self) -> Any:
        """Return the argument for ``write_all``, or ``None``."""

    def push(self, frames: bytes) -> bool:
        """Send new frames of its channels. Called while it is live.

        Return whether they are written. If not, the stream waits for its client, and sends ``events_written`` itself.
        """

    def catch_up(self) -> None:
        """Compare its position with the hub's: the hub has another epoch, or has stopped."""

    def end_if_closed(self) -> None:
        """End its response if all its channels are closed. One of them was closed a moment ago."""

    def end(self) -> None:
        """End its response. The client comes back with its cursor."""


class Group:
    """All open streams with the same set of channels.

    ``known_open``: not all channels are closed at the hub's cursor. ``write_count``: how often live streams were
    written to, which tells a connection's timer that its client heard something.
    """

    __slots__ = ("_fast", "_new", "_slow", "channels", "known_open", "subscribers", "write_count")

    def __init__(self, channels: frozenset[str]) -> None:
        self.channels = channels
        self.subscribers: set[Subscriber] = set()
        self._fast: dict[Any, Subscriber] = {}  # live streams that are written to together, by their fast path
        self._slow: set[Subscriber] = set()  # the other live streams
        self._new: list[bytes] = []
        self.write_count = 0
        self.known_open = False

    def go_live(self, subscriber: Subscriber) -> None:
        """Push to a stream from now on. While it is live its position is the hub's cursor."""
        if subscriber.fast_path is None:
            self._slow.add(subscriber)
        else:
            self._fast[subscriber.fast_path] = subscriber

    def leave_live(self, subscriber: Subscriber) -> None:
        self._slow.discard(subscriber)
        if subscriber.fast_path is not None:
            self._fast.pop(subscriber.fast_path, None)

    def add_frame(self, frame: bytes) -> None:
        """Add a frame to the next ``push()``."""
        self._new.append(frame)

    def push(self) -> None:
        """Write the new frames to all live streams."""
        new, self._new = self._new, []
        frames = b"".join(new)
        if not frames:
            return
        self.write_count += 1
        skipped = [self._fast[each] for each in write_all(self._fast, frames)]
        are_written = len(skipped) < len(self._fast)
        for subscriber in [*skipped, *self._slow]:
            try:
                are_written |= subscriber.push(frames)
            except (Exception, asyncio.CancelledError):  # raised by the server's send, which runs without a task here
                logger.exception("An event could not be handed to a stream, which ends")
                subscriber.end()
        if are_written:
            send_events_written(self.channels, frames)


class WrittenEvents:
    """Events that were written to a stream. They are parsed when they are iterated.

    ``frames``: their bytes on the wire.
    """

    __slots__ = ("frames",)

    def __init__(self, frames: bytes) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[ReceivedEvent]:
        return iter(EventParser().feed(self.frames))


def send_events_written(channels: frozenset[str], frames: bytes) -> None:
    """Send the signal ``events_written``. An error of a receiver is logged and reaches no stream."""
    send(events_written, Group, channels=channels, events=WrittenEvents(frames))
