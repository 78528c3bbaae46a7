"""Streams that threads of a WSGI server serve: in a project's tests they end when the live server does.

Django's live server leaves its threads alone when it is terminated, and with them their database connections. Its test
database cannot be destroyed then. Nothing here runs outside of tests.
"""

import contextlib
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.core.signals import setting_changed

from .threads import live_servers, wait_closed

__all__ = ["connect", "served_by_thread"]

logger = logging.getLogger("serversent")


END_SECONDS = 5.0


class _Served:
    """A stream that a thread serves. ``end``, called in another thread, lets it return soon."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.thread = threading.current_thread()
        self.end = end


_served: set[_Served] = set()


@contextlib.contextmanager
def served_by_thread(end: Callable[[], None]) -> Iterator[None]:
    """Let a live server that is terminated end a stream of this thread, by calling ``end`` in another one."""
    if "django.test.testcases" not in sys.modules:
        yield
        return
    served = _Served(end)
    _served.add(served)
    for server in live_servers():
        if "terminate" not in vars(server):
            server.terminate = functools.partial(_terminate, server.terminate)
    try:
        yield
    finally:
        _served.discard(served)


def _terminate(terminate: Callable[[], None]) -> None:
    terminate()
    _end_all()


def _end_all(seconds: float = END_SECONDS) -> None:
    """End the streams of other threads, and wait until their database connections are closed, at most so long."""
    deadline = time.monotonic() + seconds
    others = [served for served in list(_served) if served.thread is not threading.current_thread()]
    for served in others:
        served.end()
    for served in others:
        served.thread.join(max(0.0, deadline - time.monotonic()))  # it closes its own connections at its end
    if not wait_closed(max(0.0, deadline - time.monotonic())):
        logger.warning("Streams of a live server did not end within %g s", seconds)


def _setting_changed(*, setting: str, enter: bool, **kwargs: Any) -> None:
    # pytest-django's server serves a whole session. At the end of a test it takes back the host that it has allowed.
    if setting == "ALLOWED_HOSTS" and not enter and _served:
        _end_all()


def connect() -> None:
    setting_changed.connect(_setting_changed, dispatch_uid="serversent.live_servers")
