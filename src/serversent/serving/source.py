"""The source of one stream's frames, as a connection sees it."""

import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from ..conf import setting
from ..wire.frames import comment_frame, retry_frame
from .failures import Outcome

__all__ = ["Driver", "Write", "opening_frame"]


def opening_frame(*, of_channels: bool, url_expires_at: float | None = None) -> bytes:
    """What a stream begins with: a comment, so that proxies pass the headers on, and the reconnection time.

    The comment tells the browser client when to take silence for the end, whether the stream has cursors, and for how
    long its signed URL is valid, if it has one. ``url_expires_at``: as ``time.time()`` counts.
    """
    valid = "" if url_expires_at is None else f", valid for {max(0, int(url_expires_at - time.time()))} s"
    kind = "stream of channels" if of_channels else "stream"
    comment = comment_frame(f"{kind}, heartbeat {setting('HEARTBEAT_SECONDS'):g} s{valid}")
    return comment + retry_frame(setting("RETRY_MILLISECONDS"))


# Writes a frame. What it returns, if anything, is awaited before the next: the client's pace.
Write = Callable[[bytes], Awaitable[None] | None]


HEARTBEAT_FRAME = comment_frame("hb")


class Driver(Protocol):
    """What makes the frames of one stream."""

    name: str

    @property
    def outcome(self) -> "Outcome":
        """How the stream ended, as far as it depends on its view."""

    @property
    def channels(self) -> Collection[str]:
        """The channels of the stream, if it is one of channels."""

    def attach(self, write: Write, on_end: Callable[[Any], object], direct: Any = None) -> None:
        """Send what there is, and all that comes, through ``write``; call ``on_end`` when that is over.

        ``direct``: what ``servers.write_all`` takes, to be used instead of ``write`` where many streams get the same.
        """

    def writes(self) -> int:
        """Return how often something was written past ``write``."""

    def heartbeat(self) -> bytes:
        """Return what is sent after a silence."""

    def cancel(self) -> None:
        """Stop. May be called in any state, also twice."""

    async def wait_closed(self, seconds: float) -> None:
        """Wait until nothing of it runs any more, at most so long."""
