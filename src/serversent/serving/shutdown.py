"""Draining: learn that the server stops, and end the open streams. The server would wait for them otherwise.

Installed at the first stream of a loop, because not every server tells an application of its start. Where the loop runs
in the main thread, the signal handlers are chained: ours asks the loop to drain, then calls the server's own. Where it
does not (``runserver`` with its autoreloader), the exit of the interpreter drains. A server that stops without a signal
is asked now and then.
"""

import asyncio
import atexit
import concurrent.futures
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
        _register_at_exit()
    else:
        _chain_signals()
    if is_stopping := server.is_stopping:
        _drain_when(is_stopping)


@functools.cache
def _register_at_exit() -> None:
    atexit.register(_drain_at_exit)


def _chain_signals() -> None:
    """Put our handlers before those that are there, unless they are there themselves."""
    uvicorn = UvicornServer(signal.getsignal(signal.SIGTERM))
    if uvicorn.is_known:
        _drain_when(uvicorn.has_stopped_listening)
    for name in _SIGNALS:
        signum: Any = getattr(signal, name, None)
        previous = None if signum is None else signal.getsignal(signum)
        if previous is signal.SIG_DFL and name == "SIGTERM":
            signal.signal(signum, _drain_and_die)
        # SIG_DFL of the others ends the process at once, SIG_IGN never does: no one waits for streams.
        elif callable(previous) and not isinstance(previous, _ChainedHandler) and previous is not _drain_and_die:
            signal.signal(signum, _ChainedHandler(previous, uvicorn))


class _ChainedHandler:
    """A signal handler that begins to drain all loops, and calls the handler that was there before."""

    def __init__(self, previous: Callable[[int, FrameType | None], Any], uvicorn: UvicornServer) -> None:
        self._previous = previous
        self._uvicorn = uvicorn

    def __call__(self, signum: int, frame: FrameType | None) -> Any:
        for loop in list(_loops):
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_drain)
        self._uvicorn.on_signal(signum)
        return self._previous(signum, frame)


def _drain_and_die(signum: int, _: FrameType | None) -> None:
    """Let SIGTERM wait for the streams where it ends the process at once. A second one does."""
    signal.signal(signum, signal.SIG_DFL)
    drains = _drain_fully_in_all_loops()

    def die(drain: concurrent.futures.Future[None]) -> None:
        if not drain.cancelled():  # otherwise the loop ends, and the process goes on to its end
            signal.raise_signal(signum)

    if not drains:
        signal.raise_signal(signum)
    for drain in drains:
        drain.add_done_callback(die)


def _drain_when(is_stopping: Callable[[], bool]) -> None:
    """Ask now and then, for as long as the loop runs."""
    loop, nobodys = asyncio.get_running_loop(), contextvars.Context()

    def ask() -> None:
        if is_stopping():
            _drain()
        else:
            loop.call_later(ASK_SECONDS, ask, context=nobodys)

    ask()


def _drain_at_exit() -> None:
    """Drain the event loops of other threads. A loop that does not answer is waited for only if it has streams."""
    seconds = setting("DRAIN_SECONDS") + 1 if any(len(registry_of(loop)) for loop in list(_loops)) else 1
    concurrent.futures.wait(_drain_fully_in_all_loops(), seconds)


def _drain_fully_in_all_loops() -> list[concurrent.futures.Future[None]]:
    drains = []
    for loop in list(_loops):
        if loop.is_running():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                drains.append(asyncio.run_coroutine_threadsafe(_drain_fully(), loop))
    return drains


async def _drain_fully() -> None:
    """Drain the running loop, and wait for the end of its streams, at most ``DRAIN_SECONDS``."""
    connections = connection_registry()
    connections.drain()
    deadline = time.monotonic() + setting("DRAIN_SECONDS")
    while len(connections) and time.monotonic() < deadline:  # noqa: ASYNC110 - with a deadline, once in a process
        await asyncio.sleep(0.01)
    for _ in range(10):  # the server has the ends of the streams, and has yet to write them to their sockets
        await asyncio.sleep(0)


def _drain() -> None:
    connection_registry().drain()
