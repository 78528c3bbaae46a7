"""Code that keeps the event loop: ``time.sleep()`` in an async generator stops every stream of its process.

Plain Django is silent about it. Here a thread beside the event loop asks the loop for an answer. If none comes, it
names in the log the line at which the loop stands. An event costs nothing more for it.
"""

import asyncio
import itertools
import logging
import os
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["LoopMonitor", "loop_monitor"]

logger = logging.getLogger("serversent")

LIMIT_SECONDS = 1.0

# How often the loop is asked, and how long a generator may keep it before the others get a turn.
INTERVAL_SECONDS = 0.2

# Where code lives that is not the project's. The loop itself is in asyncio's files.
LIBRARIES = {"site-packages", "dist-packages"}
STANDARD = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
LOOP_FILES = {each.__file__ for each in (asyncio.base_events, asyncio.events, asyncio.runners)}
PACKAGE = __name__.partition(".")[0]


class LoopMonitor:
    """Watches one event loop from a thread, as long as a generator of the project's is open there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_late = False  # the loop has not answered for INTERVAL_SECONDS
        self._loop = weakref.ref(loop)
        self._loop_thread = 0
        self._generators = 0
        self._has_thread = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Note that one more generator is open. Call it in the loop's thread."""
        with self._lock:
            self._generators += 1
            self._loop_thread = threading.get_ident()
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._run, name="serversent-loop-monitor", daemon=True).start()

    def end(self) -> None:
        """Note that a generator is closed. The thread ends soon after the last one."""
        with self._lock:
            self._generators -= 1

    def _run(self) -> None:
        while self._is_needed():
            answered = threading.Event()
            if self._ask(answered.set):
                self._wait(answered)
            slept_at = time.monotonic()
            time.sleep(INTERVAL_SECONDS)
            # Code that keeps the interpreter, too, has kept this thread from running. It has just let go.
            if time.monotonic() - slept_at > LIMIT_SECONDS:
                self._name_line()

    def _is_needed(self) -> bool:
        loop = self._loop()
        with self._lock:
            self._has_thread = self._generators > 0 and loop is not None and not loop.is_closed()
            return self._has_thread

    def _is_running(self) -> bool:
        loop = self._loop()
        return loop is not None and loop.is_running()

    def _ask(self, answer: Callable[[], None]) -> bool:
        loop = self._loop()
        try:
            if loop is None or not loop.is_running():
                return False
            loop.call_soon_threadsafe(answer)
        except RuntimeError:  # it was closed meanwhile
            return False
        return True

    def _wait(self, answered: threading.Event) -> None:
        """Wait for the loop's answer, and tell the drivers and the log if it is late."""
        limit = time.monotonic() + LIMIT_SECONDS
        if answered.wait(INTERVAL_SECONDS):
            return
        self.is_late = True
        if not answered.wait(max(0.0, limit - time.monotonic())):
            self._name_line()
        while not answered.wait(INTERVAL_SECONDS) and self._is_running():
            pass
        self.is_late = False

    def _name_line(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        if self._is_running() and (place := _place(frame)) is not None:
            _warn_once(place)


_monitors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopMonitor] = weakref.WeakKeyDictionary()


def loop_monitor() -> LoopMonitor:
    """Return the monitor of the running event loop."""
    loop = asyncio.get_running_loop()
    monitor = _monitors.get(loop)
    if monitor is None:
        monitor = _monitors[loop] = LoopMonitor(loop)
    return monitor


def _place(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the project's own code, or else of a library's. ``None``: the loop waits."""
    frames = list(itertools.takewhile(_is_in_loop, _outward(frame)))
    return next(filter(_is_project, frames), None) or next(filter(_is_library, frames), None)


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_in_loop(frame: FrameType) -> bool:
    return frame.f_code.co_filename not in LOOP_FILES


def _is_library(frame: FrameType) -> bool:
    return not LIBRARIES.isdisjoint(frame.f_code.co_filename.split(os.sep))


def _is_project(frame: FrameType) -> bool:
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
    return not (_is_library(frame) or file.startswith((*STANDARD, "<")) or module.partition(".")[0] == PACKAGE)


_warned: set[tuple[str, str]] = set()


def _warn_once(frame: FrameType) -> None:
    code = frame.f_code
    if (code.co_filename, code.co_qualname) in _warned:
        return
    _warned.add((code.co_filename, code.co_qualname))
    logger.warning(
        "%s (%s, line %d) has kept the event loop for over %g s, in which no other stream or request of this process "
        "went on. Where async code waits, write `await asyncio.sleep(...)` instead of `time.sleep(...)`, and "
        "`await sync_to_async(function)(...)` for other functions that wait, or write a sync generator.",
        code.co_qualname,
        code.co_filename,
        frame.f_lineno,
        LIMIT_SECONDS,
    )
