"""Draining: learn that the server stops, and end the open streams, which it would otherwise wait for.

Installed at the first stream of a loop, because not every server tells an application of its start. Where the loop
runs in the main thread, the signal handlers are chained: ours asks the loop to drain, then calls the server's own.
Where it does not (``runserver`` with its autoreloader), the exit of the interpreter drains. What stops without a signal
is asked now and then.
"""

import asyncio
import atexit
import contextlib
import contextvars
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
from .open_connections import OpenConnections, open_connections
from .servers import Send, UvicornServer, stop_flag

__all__ = ["drain_on_stop"]

logger = logging.getLogger("serversent")

_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGBREAK")

ASK_SECONDS = 0.2

_installed: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def drain_on_stop(send: Send) -> None:
    """End the streams of the running loop when its server stops. The second call for a loop does nothing."""
    loop = asyncio.get_running_loop()
    if loop in _installed:
        return
    _installed.add(loop)
    connections = open_connections()
    ask = functools.partial(_ask, weakref.ref(loop), connections)
    if threading.current_thread() is not threading.main_thread():
        atexit.register(_drain_and_wait, weakref.ref(loop), connections)
    else:
        uvicorn = UvicornServer(signal.getsignal(signal.SIGTERM))
        for name in _SIGNALS:
            if signum := getattr(signal, name, None):
                _chain(signum, ask, uvicorn)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            _drain_before_death(weakref.ref(loop), connections)
        if uvicorn.is_known:
            _drain_when(uvicorn.has_stopped_listening, connections)
    if flag := stop_flag(send):
        _drain_when(flag, connections)


def _chain(signum: int, ask: Callable[[], None], uvicorn: UvicornServer) -> None:
    previous = signal.getsignal(signum)
    if not callable(previous):
        return  # SIG_DFL ends the process at once, SIG_IGN never does: no one waits for streams

    def handle(signum: int, frame: FrameType | None) -> Any:
        ask()
        if signum == getattr(signal, "SIGQUIT", None):
            # gunicorn's, on Ctrl-C. Its uvicorn worker takes no notice of it, and is killed after 30 s.
            uvicorn.stop()
        return previous(signum, frame)

    signal.signal(signum, handle)


def _drain_before_death(loop: weakref.ref[asyncio.AbstractEventLoop], connections: OpenConnections) -> None:
    """Let SIGTERM wait for the streams where it ends the process at once. A second one does."""

    def handle(signum: int, _: FrameType | None) -> None:
        signal.signal(signum, signal.SIG_DFL)
        running = loop()
        if running is None or not running.is_running():
            signal.raise_signal(signum)
        else:
            asyncio.run_coroutine_threadsafe(_drain_and_die(connections, signum), running)

    signal.signal(signal.SIGTERM, handle)


async def _drain_and_die(connections: OpenConnections, signum: int) -> None:
    connections.drain()
    deadline = time.monotonic() + setting("DRAIN_SECONDS")
    while len(connections) and time.monotonic() < deadline:  # noqa: ASYNC110 - with a deadline, once in a process
        await asyncio.sleep(0.01)
    await _turn()
    signal.raise_signal(signum)


def _drain_when(is_stopping: Callable[[], bool], connections: OpenConnections) -> None:
    """Ask now and then, for as long as the loop runs."""
    loop, nobodys = asyncio.get_running_loop(), contextvars.Context()

    def ask() -> None:
        if is_stopping():
            connections.drain()
        else:
            loop.call_later(ASK_SECONDS, ask, context=nobodys)

    ask()


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
