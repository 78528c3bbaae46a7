"""Draining: learn that the server stops, and end the open streams. The server would wait for them otherwise.

Installed at the first stream of a loop, because not every server tells an application of its start. Where the loop runs
in the main thread, the signal handlers are chained: ours asks the loop to drain, then calls the server's own. Where it
does not (``runserver`` with its autoreloader), the exit of the interpreter drains. A server that stops without a signal
is asked now and then.
"""

import asyncio
import atexit
import contextlib
import contextvars
import functools
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..conf import setting
from ..servers.base import ServerAdapter
from ..servers.uvicorn import UvicornServer
from .registry import connection_registry, registry_of

__all__ = ["drain_on_stop"]

_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGBREAK")

ASK_SECONDS = 0.2

# The loops that have streams. A process may have several, one after another or in threads.
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def drain_on_stop(server: ServerAdapter) -> None:
    """End the streams of the running loop when its server stops. The second call for a loop does nothing."""
    loop = asyncio.get_running_loop()
    if loop in _loops:
        return
    _loops.add(loop)
    if threading.current_thread() is not threading.main_thread():
        _drain_at_exit()
    else:
        _chain_signals()
    if is_stopping := server.is_stopping:
        _drain_when(is_stopping)


@functools.cache
def _drain_at_exit() -> None:
    atexit.register(_drain_and_wait)


def _chain_signals() -> None:
    """Put our handlers before those that are there, unless they are there themselves."""
    uvicorn = UvicornServer(signal.getsignal(signal.SIGTERM))
    if uvicorn.is_known:
        _drain_when(uvicorn.has_stopped_listening)
    for name in _SIGNALS:
        signum: Any = getattr(signal, name, None)
        previous = None if signum is None else signal.getsignal(signum)
        if previous is signal.SIG_DFL and name == "SIGTERM":
            signal.signal(signum, _Handler(_drain_and_die))
        # SIG_DFL of the others ends the process at once, SIG_IGN never does: no one waits for streams.
        elif callable(previous) and not isinstance(previous, _Handler):
            signal.signal(signum, _Handler(functools.partial(_drain_and_go_on, previous, uvicorn)))


class _Handler:
    """A signal handler of ours."""

    def __init__(self, handle: Callable[[int, FrameType | None], Any]) -> None:
        self._handle = handle

    def __call__(self, signum: int, frame: FrameType | None) -> Any:
        return self._handle(signum, frame)


def _drain_and_go_on(previous: Any, uvicorn: UvicornServer, signum: int, frame: FrameType | None) -> Any:
    _ask_all()
    uvicorn.on_signal(signum)
    return previous(signum, frame)


def _drain_and_die(signum: int, _: FrameType | None) -> None:
    """Let SIGTERM wait for the streams where it ends the process at once. A second one does."""
    signal.signal(signum, signal.SIG_DFL)
    running = [loop for loop in _loops if loop.is_running()]
    if not running:
        signal.raise_signal(signum)
    for loop in running:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            asyncio.run_coroutine_threadsafe(_drain_then(signal.raise_signal, signum), loop)


async def _drain_then(then: Callable[[int], None], signum: int) -> None:
    connections = connection_registry()
    connections.drain()
    deadline = time.monotonic() + setting("DRAIN_SECONDS")
    while len(connections) and time.monotonic() < deadline:  # noqa: ASYNC110 - with a deadline, once in a process
        await asyncio.sleep(0.01)
    await _turn()
    then(signum)


def _drain_when(is_stopping: Callable[[], bool]) -> None:
    """Ask now and then, for as long as the loop runs."""
    loop, nobodys = asyncio.get_running_loop(), contextvars.Context()

    def ask() -> None:
        if is_stopping():
            connection_registry().drain()
        else:
            loop.call_later(ASK_SECONDS, ask, context=nobodys)

    ask()


def _ask_all() -> None:
    for loop in list(_loops):
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_drain)


def _drain() -> None:
    connection_registry().drain()


def _drain_and_wait() -> None:
    """Drain the event loops of other threads, at exit."""
    _ask_all()
    deadline = time.monotonic() + setting("DRAIN_SECONDS")
    running = [loop for loop in _loops if loop.is_running()]
    while any(len(registry_of(loop)) for loop in running) and time.monotonic() < deadline:
        time.sleep(0.01)
    for loop in running:
        # The ends are handed to the server, which has yet to write them to their sockets.
        with contextlib.suppress(TimeoutError, RuntimeError):
            asyncio.run_coroutine_threadsafe(_turn(), loop).result(1)


async def _turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
