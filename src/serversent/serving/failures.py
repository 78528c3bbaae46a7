"""Errors of a view or of an initial state after the headers: their place in the log, and the last frames."""

import asyncio
import logging
import random
import time
import traceback

from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404

from ..conf import setting
from ..errors import StreamRefused
from ..logs import times
from ..wire.event import END_ID
from ..wire.frames import comment_frame, end_frame, id_frame, last_retry_frame

__all__ = ["debug_frame", "last_frames", "log_failure"]

logger = logging.getLogger("serversent")


# A client of a view that goes on failing comes back as late as this.
MAX_RETRY_SECONDS = 60.0

MAX_NAMES = 1000


def log_failure(name: str, error: BaseException) -> None:
    """Log an error that ended a stream, with its traceback: each kind of error once a minute."""
    count = times(f"{name} {type(error).__qualname__} {_place(error)}")
    if not count:
        return
    what = "was cancelled from within" if isinstance(error, asyncio.CancelledError) else "failed"
    more = f" ({count} times since this was logged last)" if count > 1 else ""
    status = _status(error)
    if status is None:
        logger.error("The stream %s %s%s", name, what, more, exc_info=error)
    else:
        logger.warning("The stream %s was refused with %d after its headers%s: %s", name, status, more, error)


def last_frames(name: str, error: BaseException, *, control_events: bool = True) -> bytes:
    """Return the last frames for the client of a stream that failed.

    After a refusal (``Http404``, ``PermissionDenied``) an ``end``, so that it does not come back; for clients that take
    no events of ours, its id alone. After any other error a ``retry`` that grows for as long as the view fails.
    """
    status = _status(error)
    if status is None:
        frame = last_retry_frame(_retry_milliseconds(name))
    else:
        frame = end_frame(status) if control_events else id_frame(END_ID)
    return debug_frame(error) + frame


def debug_frame(error: BaseException) -> bytes:
    """Return a comment that shows the error in development."""
    if not settings.DEBUG:
        return b""
    return comment_frame(f"{type(error).__name__}: {error} (shown because DEBUG is on)")


_STATUSES: list[tuple[type[Exception], int]] = [
    (Http404, 404),
    (PermissionDenied, 403),
    (SuspiciousOperation, 400),
    (BadRequest, 400),
]


def _status(error: BaseException) -> int | None:
    """Return the status that Django, or this package, answers with where an error comes before the headers."""
    if isinstance(error, StreamRefused):
        return error.status
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), None)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


# When each view that fails began to, and when it last did, as time.monotonic() counts.
_failing: dict[str, tuple[float, float]] = {}


def _retry_milliseconds(name: str) -> int:
    now = time.monotonic()
    began, last = _failing.get(name, (now, now))
    if now - last > 2 * MAX_RETRY_SECONDS:
        began = now
    if len(_failing) >= MAX_NAMES:
        _failing.clear()
    _failing[name] = began, now
    # As long again as it has been failing: twice as long each time. Those who failed together do not return together.
    least: float = setting("RETRY_MILLISECONDS") / 1000
    seconds = min(MAX_RETRY_SECONDS, max(least, now - began)) * random.uniform(1, 1.5)
    return round(seconds * 1000)
