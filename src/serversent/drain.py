"""Draining: learn that the server stops, and end the open streams, which it would otherwise wait for.

Installed at the first stream of a loop, because not every server tells an application of its start. Where the loop
runs in the main thread, the signal handlers are chained: ours asks the loop to drain, then calls the server's own.
Where it does not (``runserver`` with its autoreloader), the exit of the interpreter drains.
"""

import asyncio
import atexit
import contextlib
import functools
import logging
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from .conf import setting
from .connection import OpenConnections, open_connections

__all__ = ["drain_on_stop"]

logger = logging.getLogger("serversent")

_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGBREAK")

_installed: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def drain_on_stop() -> None:
    """End the streams of the running loop when its server stops. The second call for a loop does nothing."""
    loop = asyncio.get_running_loop()
    if loop in _installed:
        return
    _installed.add(loop)
    connections = open_connections()
    if threading.current_thread() is not threading.main_thread():
        atexit.register(_drain_and_wait, weakref.ref(loop), connections)
        return
    for name in _SIGNALS:
        if signum := getattr(signal, name, None):
            _chain(signum, functools.partial(_ask, weakref.ref(loop), connections))


def _chain(signum: int, ask: Callable[[], None]) -> None:
    previous = signal.getsignal(signum)
    if not callable(previous):
        return  # SIG_DFL ends the process at once, SIG_IGN never does: no one waits for streams

    def handle(signum: int, frame: FrameType | None) -> Any:
        ask()
        return previous(signum, frame)

    signal.signal(signum, handle)


def _ask(loop: weakref.ref[asyncio.AbstractEventLoop], connections: OpenConnections) -> None:
    running = loop()
    if running is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            running.call_soon_threadsafe(connections.drain)


def _drain_and_wait(loop: weakref.ref[asyncio.AbstractEventLoop], connections: OpenConnections) -> None:
    _ask(loop, connections)
    deadline = time.monotonic() + setting("DRAIN_SECONDS")
    while len(connections) and time.monotonic() < deadline:
        time.sleep(0.01)
    running = loop()
    if running is not None and running.is_running():
        # The ends are handed to the server, which has yet to write them to their sockets.
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(_turn(), running).result(1)


async def _turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
