"""A group: all open streams with the same set of channels."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from ..servers.adapters import write_all

__all__ = ["Group", "Subscriber"]

logger = logging.getLogger("serversent")


class Subscriber(Protocol):
    """A stream of channels that is live or catching up."""

    direct: Any  # what ``write_all`` takes, if it is written to like that

    def push(self, joined: bytes) -> None:
        """Send what is new of its channels. Called while it is live."""

    def catch_up(self) -> None:
        """Look at the hub: its epoch, its position, or what it holds has changed."""

    def check_closed(self) -> None:
        """One of its channels was closed."""

    def end(self) -> None:
        """End its response; the client comes back with its cursor."""


class Group:
    """All streams with the same set of channels: what they get is joined once, and written to all that are live."""

    __slots__ = ("channels", "direct", "is_open", "live", "new", "on_written", "subscribers", "writes")

    def __init__(self, channels: frozenset[str]) -> None:
        self.channels = channels
        self.subscribers: set[Subscriber] = set()
        self.direct: dict[Any, Subscriber] = {}  # the live ones that are written to together
        self.live: set[Subscriber] = set()  # the other live ones
        self.new: list[bytes] = []
        self.writes = 0
        self.is_open = False  # it is known that not all channels are closed where the hub stands
        self.on_written: Callable[[bytes], None] | None = None  # told of what was written to one of them at least

    def go_live(self, subscriber: Subscriber) -> None:
        """Push to it from here on. Its position is the hub's, and stays so while it is live."""
        if subscriber.direct is None:
            self.live.add(subscriber)
        else:
            self.direct[subscriber.direct] = subscriber

    def leave_live(self, subscriber: Subscriber) -> None:
        self.live.discard(subscriber)
        if subscriber.direct is not None:
            self.direct.pop(subscriber.direct, None)

    def push(self) -> None:
        """Write what is new to all that are live."""
        joined = b"".join(self.new)
        self.new = []
        if not joined:
            return
        self.writes += 1
        left = [self.direct[direct] for direct in write_all(self.direct, joined)]
        for subscriber in [*left, *self.live]:
            try:
                subscriber.push(joined)
            except (Exception, asyncio.CancelledError):  # a server's, run by hand; the others must get theirs
                logger.exception("An event could not be handed to a stream, which ends")
                subscriber.end()
        if self.direct or self.live:  # whoever could not take it has left
            self.tell_written(joined)

    def tell_written(self, joined: bytes) -> None:
        """Call ``on_written``, whose errors are no stream's."""
        if self.on_written is not None:
            try:
                self.on_written(joined)
            except Exception:
                logger.exception("What was written to %s could not be handed on", ", ".join(sorted(self.channels)))
