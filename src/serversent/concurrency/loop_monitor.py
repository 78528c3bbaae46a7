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

# The thread ends so long after the last step of a generator: a stream that waits has no thread.
QUIET_SECONDS = 2.0

# A loop that has stood still is watched for so long, whatever its generators do.
SUSPECT_SECONDS = 600.0

# How often the loop is asked, and how long a generator may keep it before the others get a turn.
INTERVAL_SECONDS = 0.2

# Where code lives that is not the project's. The loop itself is in asyncio's files.
LIBRARIES = {"site-packages", "dist-packages"}
STANDARD = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
LOOP_FILES = {each.__file__ for each in (asyncio.base_events, asyncio.events, asyncio.runners)}
PACKAGE = __name__.partition(".")[0]


class LoopMonitor:
    """Watches one event loop from a thread, while generators of the project's run there.

    ``is_due`` is set a few times a second, and while there is no thread. A driver whose generator has made a step calls
    ``look()`` then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_due = True
        self._is_late = False  # the loop has not answered for INTERVAL_SECONDS
        self._loop = weakref.ref(loop)
        self._loop_thread = 0
        self._has_thread = False
        self._ends_at = 0.0  # of the thread, unless a driver looks
        self._lock = threading.Lock()

    def look(self) -> bool:
        """Go on watching. Return whether others have to wait for the loop. Call it in the loop's thread."""
        self.is_due = False
        self._watch(QUIET_SECONDS)
        return self._is_late

    def note_delay(self, seconds: float) -> None:
        """Note that a timer of the loop came so much too late, while perhaps nobody watched."""
        if seconds > LIMIT_SECONDS:
            self._watch(SUSPECT_SECONDS)

    def _watch(self, seconds: float) -> None:
        self._loop_thread = threading.get_ident()
        with self._lock:
            self._ends_at = max(self._ends_at, time.monotonic() + seconds)
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._run, name="serversent-loop-monitor", daemon=True).start()

    def _run(self) -> None:
        while self._goes_on():
            answered = threading.Event()
            if self._ask(answered.set):
                self._wait(answered)
            slept_at = time.monotonic()
            time.sleep(INTERVAL_SECONDS)
            # Code that keeps the interpreter, too, has kept this thread from running. It has just let go.
            if time.monotonic() - slept_at > LIMIT_SECONDS:
                self._name_line()

    def _goes_on(self) -> bool:
        loop = self._loop()
        with self._lock:
            self.is_due = True
            self._has_thread = time.monotonic() < self._ends_at and loop is not None and not loop.is_closed()
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
        """Wait for the loop's answer. If it is late, tell the next driver that looks, and then the log."""
        limit = time.monotonic() + LIMIT_SECONDS
        if answered.wait(INTERVAL_SECONDS):
            return
        self._is_late = self.is_due = True
        if not answered.wait(max(0.0, limit - time.monotonic())):
            self._name_line()
        while not answered.wait(INTERVAL_SECONDS) and self._is_running():
            pass
        self._is_late = False

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
