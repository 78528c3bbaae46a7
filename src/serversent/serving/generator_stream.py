"""The source that runs a generator: one task owns it, from its first step to its ``aclose()``.

One task, so that anyio scopes and context variables work across yields. It runs in a thread-sensitive context of its
own, whose thread and database connections are there only while sync code runs.
"""

import asyncio
import contextlib
import contextvars
import functools
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from asgiref.sync import ThreadSensitiveContext
from django.db import Error as DatabaseError

from ..concurrency.loop_monitor import LoopMonitor, loop_monitor
from ..concurrency.sync_code import explain_sync_call
from ..concurrency.tasks import is_cancelled, test_executor
from ..concurrency.threads import IDLE_SECONDS, StreamThread, adopt_locals
from ..wire.frames import END_FRAME, encode, encode_text
from ..wire.json_text import to_text
from .failures import last_frames, log_failure
from .source import Outcome, StreamSource, Write, opening_frame

__all__ = ["GeneratorStream", "encode_yielded"]

logger = logging.getLogger("serversent")


# The life of the task. "new": it has not taken its first step.
_Phase = Literal["new", "running", "cancelled"]


class GeneratorStream(StreamSource):
    """Runs the generator of one stream, and hands each frame to ``write``, one at a time.

    A frame is handed over when the one before was written: the generator goes at the pace of its client. Each value of
    ``values`` is one event. ``prepare``: called in each thread that runs its sync code. ``hold_connection``: keep the
    database connection while the generator waits.
    """

    __slots__ = ("_closers", "_context", "_outcome", "_outlet", "_phase", "_task", "_thread", "_values", "name")

    reads_request = True

    def __init__(
        self,
        values: AsyncIterator[Any],
        *,
        name: str,
        hold_connection: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self._values = values
        self._closers: list[Callable[[], Any]] = []
        self._thread = StreamThread(None if hold_connection else IDLE_SECONDS, prepare=prepare)
        self._context = contextvars.copy_context()
        self._outlet = _Outlet()
        self._phase: _Phase = "new"
        self._outcome: Outcome = "open"
        self._task: asyncio.Task[None] | None = None

    @property
    def outcome(self) -> Outcome:
        return self._outcome

    @property
    def is_attached(self) -> bool:
        return self._outlet.write is not None

    def opening(self) -> bytes:
        return opening_frame("stream")

    def start(self) -> asyncio.Task[None]:
        """Start the generator, in the context in which this source was made."""
        if self._task is None:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._run(), name="serversent-generator", context=self._context)
        return self._task

    async def first(self, seconds: float) -> None:
        """Start, and wait for the first frame, at most ``seconds``. Raises the generator's exceptions until then."""
        reached = self._outlet.when_reached()
        self.start()
        try:
            await asyncio.wait({reached}, timeout=seconds)
            if reached.done():
                reached.result()
        except BaseException:
            self.cancel()
            raise
        finally:
            self._outlet.forget_reached()

    def attach(self, write: Write, on_end: Callable[[Any], object], fast_path: Any = None) -> None:
        self._outlet.open(write)
        # In the generator's context: a copy of the current one would be kept with the callback.
        self.start().add_done_callback(on_end, context=self._context)

    def close_with(self, *closers: Callable[[], Any]) -> None:
        self._closers += closers

    def cancel(self) -> None:
        """Stop the generator where it stands; its ``finally`` blocks run. May be called in any state, also twice."""
        if self._phase == "cancelled":
            return
        is_running, self._phase = self._phase == "running", "cancelled"
        task = self.start()
        if is_running:  # a task that is cancelled before its first step would close nothing
            task.cancel()

    def cancel_threadsafe(self) -> None:
        if self._task is not None and not self._task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._task.get_loop().call_soon_threadsafe(self.cancel)

    def cancel_unattached(self) -> None:
        """Stop a generator whose response was lost before it was served."""
        if not self.is_attached:
            self.cancel()

    async def wait_closed(self, seconds: float) -> None:
        """Wait until the generator has ended, at most ``seconds``; then leave it alone, and log it."""
        if self._task is None or self._task.done():
            return
        await asyncio.wait({self._task}, timeout=seconds)
        if not self._task.done():
            logger.warning("The generator of %s did not stop within %s s of its cancellation", self.name, seconds)

    # The task.

    async def _run(self) -> None:
        if self._phase == "new":
            self._phase = "running"
        monitor = loop_monitor()
        monitor.look()
        try:
            async with ThreadSensitiveContext(executor=test_executor.get() or self._thread):  # type: ignore[arg-type]
                try:
                    if self._phase == "running":
                        await self._send_values(monitor)
                finally:
                    await self._close()
        except asyncio.CancelledError as error:
            if self._phase != "cancelled":
                if is_cancelled():  # the event loop ends
                    raise
                await self._fail(error)  # something that the generator awaits was cancelled
        except Exception as error:
            explain_sync_call(self.name, error)
            await self._fail(error)
        finally:
            self._outlet.report_reached(None)
            self._thread.shutdown()

    async def _send_values(self, monitor: LoopMonitor) -> None:
        adopt_locals()
        outlet = self._outlet
        async for value in self._values:
            frame = self._encode(value)
            if outlet.write is None:
                await outlet.wait_open()
            if self._phase == "cancelled":  # and the generator has swallowed the cancellation
                return
            if frame and (pause := outlet.write(frame)):  # type: ignore[misc]
                await pause
            if monitor.is_due and monitor.look():  # other tasks wait for the loop
                await asyncio.sleep(0)
        self._outcome = "complete"
        await self._deliver(self._end_frame())

    async def _close(self) -> None:
        try:
            await _aclose(self._values)
        finally:
            while self._closers:
                self._closers.pop(0)()

    async def _deliver(self, frames: bytes) -> None:
        if self._outlet.write is None:
            await self._outlet.wait_open()
        if self._outlet.write is not None and self._phase != "cancelled" and frames:
            pause = self._outlet.write(frames)
            if pause:
                await pause

    async def _fail(self, error: BaseException) -> None:
        if isinstance(error, DatabaseError) and self._thread.ended_idle:
            error.add_note(
                f"{self.name} gave its database connection back while it waited. If it needs one connection across "
                "pauses (a server-side cursor does), declare it with @event_stream(hold_connection=True)."
            )
        if isinstance(error, Exception) and self._outlet.report_reached(error):
            return  # first() raises it
        log_failure(self.name, error)
        if self._phase != "cancelled":
            self._outcome = "failed"
            await self._deliver(self._failure_frames(error))

    # A subclass for another format overrides these.

    def _encode(self, value: Any) -> bytes:
        return encode_yielded(self.name, value)

    def _end_frame(self) -> bytes:
        return END_FRAME

    def _failure_frames(self, error: BaseException) -> bytes:
        return last_frames(self.name, error)


class _Outlet:
    """Where the frames of a generator go, and the two waits for that.

    The generator waits for ``open()``, when its first frame is there and nothing serves it yet. ``first()`` waits until
    that frame is reached.
    """

    __slots__ = ("_opened", "_reached", "write")

    def __init__(self) -> None:
        self.write: Write | None = None
        self._opened: asyncio.Future[None] | None = None
        self._reached: asyncio.Future[None] | None = None

    def open(self, write: Write) -> None:
        self.write = write
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    async def wait_open(self) -> None:
        self.report_reached(None)
        self._opened = asyncio.get_running_loop().create_future()
        await self._opened
        self._opened = None

    def when_reached(self) -> asyncio.Future[None]:
        self._reached = asyncio.get_running_loop().create_future()
        return self._reached

    def forget_reached(self) -> None:
        self._reached = None

    def report_reached(self, error: Exception | None) -> bool:
        """Wake ``first()``, with this error if there is one. Return whether it waited."""
        if self._reached is None or self._reached.done():
            return False
        if error is None:
            self._reached.set_result(None)
        else:
            self._reached.set_exception(error)
        return True


async def _aclose(values: AsyncIterator[Any]) -> None:
    aclose = getattr(values, "aclose", None)
    if aclose is not None:
        await aclose()


_FRAMED = re.compile(r"(data|event|id|retry):.*\n\n\Z", re.DOTALL)


def encode_yielded(name: str, value: Any) -> bytes:
    """Return the frame of a value that a generator has yielded."""
    if isinstance(value, str):
        if value.endswith("\n\n") and _FRAMED.match(value):
            _warn_framed_once(name)
        return encode_text(value if type(value) is str else to_text(value))
    return encode(value)


@functools.cache
def _warn_framed_once(name: str) -> None:
    logger.warning(
        "%s yields text that is framed already ('data: ...' and a blank line), which arrives with its frame inside "
        "the data. Yield the value only.",
        name,
    )
