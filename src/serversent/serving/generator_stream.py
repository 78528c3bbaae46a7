"""The driver: one task that owns a stream's generator, from its first step to its ``aclose()``.

One task, so that anyio scopes and context variables work across yields. It runs in a thread-sensitive context of
its own, whose thread and database connections are there only while sync code runs.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.db import Error as DatabaseError

from ..concurrency.loop_monitor import LoopMonitor, loop_monitor
from ..concurrency.sync_code import explain_sync_call
from ..concurrency.tasks import is_cancelled
from ..concurrency.threads import IDLE_SECONDS, StreamThread, adopt_locals, stand_in
from ..wire.frames import END_FRAME, encode
from .failures import Outcome, debug_frame, last_frames, log_failure
from .source import HEARTBEAT_FRAME, Write

__all__ = ["StreamDriver"]

logger = logging.getLogger("serversent")


class StreamDriver:
    """Runs the generator of one stream and hands each frame to ``write``, one at a time.

    A frame is handed over only when the one before was written: the generator goes at the pace of its client.
    ``encode`` makes a frame of a value, ``end_frame`` follows the last one, ``heartbeat`` is sent after a silence.
    ``prepare`` is called by each thread that runs its sync code, ``closers`` when the generator is closed. ``channels``
    are those that its frames are of, if any. ``name`` is for the log.
    """

    __slots__ = (
        "_attached",
        "_cancelled",
        "_closers",
        "_encode",
        "_end_frame",
        "_heartbeat",
        "_outcome",
        "_running",
        "_started",
        "_task",
        "_thread",
        "_values",
        "_write",
        "channels",
        "context",
        "name",
    )

    def __init__(
        self,
        values: AsyncIterator[Any],
        *,
        name: str,
        encode: Callable[[Any], bytes] = encode,
        end_frame: bytes = END_FRAME,
        heartbeat: bytes = HEARTBEAT_FRAME,
        hold_connection: bool = False,
        prepare: Callable[[], object] | None = None,
        channels: Collection[str] = (),
        closers: tuple[Callable[[], Any], ...] = (),
    ) -> None:
        self.name = name
        self._values = values
        self._encode = encode
        self._end_frame = end_frame
        self._heartbeat = heartbeat
        self._closers = closers
        self.channels = channels
        self._thread = StreamThread(None if hold_connection else IDLE_SECONDS, prepare=prepare)
        self.context = contextvars.copy_context()
        self._task: asyncio.Task[None] | None = None
        self._outcome: Outcome = "open"
        self._running = False
        self._cancelled = False
        self._write: Write | None = None
        self._attached: asyncio.Future[None] | None = None  # set while a frame waits for somebody who writes
        self._started: asyncio.Future[None] | None = None  # set while first() waits

    def start(self) -> asyncio.Task[None]:
        """Start the generator, in the context that the driver was made in."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name="serversent-driver", context=self.context
            )
        return self._task

    async def first(self, seconds: float) -> None:
        """Start, and wait for the first frame, at most ``seconds``. Raises what the generator raises by then."""
        self._started = started = asyncio.get_running_loop().create_future()
        self.start()
        try:
            await asyncio.wait({started}, timeout=seconds)
            if started.done():
                started.result()
        except BaseException:
            self.cancel()
            raise
        finally:
            self._started = None

    def attach(self, write: Write, on_end: Callable[[Any], object], direct: Any = None) -> None:
        """Send what there is, and all that comes, through ``write``; call ``on_end`` when that is over."""
        self._write = write
        if self._attached is not None and not self._attached.done():
            self._attached.set_result(None)
        # In the context that is there: a copy of its own is kept with each callback.
        self.start().add_done_callback(on_end, context=self.context)

    @property
    def outcome(self) -> Outcome:
        return self._outcome

    def writes(self) -> int:
        return 0

    def heartbeat(self) -> bytes:
        return self._heartbeat

    def cancel(self) -> None:
        """Stop the generator where it stands; its ``finally`` blocks run. May be called in any state, also twice."""
        if self._cancelled:
            return
        self._cancelled = True
        task = self.start()
        if self._running:  # a task that is cancelled before its first step would close nothing
            task.cancel()

    def cancel_threadsafe(self) -> None:
        """The same from any thread."""
        if self._task is not None and not self._task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._task.get_loop().call_soon_threadsafe(self.cancel)

    def cancel_unattached(self) -> None:
        """Stop a generator whose response was lost on its way."""
        if self._write is None:
            self.cancel()

    async def wait_closed(self, seconds: float) -> None:
        """Wait until the generator has ended, at most ``seconds``; then leave it to itself, and say so."""
        if self._task is None or self._task.done():
            return
        await asyncio.wait({self._task}, timeout=seconds)
        if not self._task.done():
            logger.warning("The generator of %s did not stop within %s s of its cancellation", self.name, seconds)

    async def _run(self) -> None:
        self._running = True
        monitor = loop_monitor()
        monitor.look()
        try:
            async with ThreadSensitiveContext(executor=stand_in.get() or self._thread):  # type: ignore[arg-type]
                try:
                    if self._cancelled:
                        return
                    await self._send_values(monitor)
                finally:
                    await self._close()
        except asyncio.CancelledError as error:
            if not self._cancelled:
                if is_cancelled():  # by the end of the loop
                    raise
                await self._fail(error)  # by something that the generator awaits
        except Exception as error:
            explain_sync_call(self.name, error)
            await self._fail(error)
        finally:
            self._tell_started(None)
            self._thread.shutdown()

    async def _send_values(self, monitor: LoopMonitor) -> None:
        adopt_locals()
        async for value in self._values:
            frame = self._encode(value)
            if self._write is None:
                await self._wait_attached()
            if self._cancelled:  # and the generator swallowed it
                return
            if frame and (pause := self._write(frame)):  # type: ignore[misc]
                await pause
            if monitor.is_due and monitor.look():  # the others get their turn
                await asyncio.sleep(0)
        self._outcome = "complete"
        await self._deliver(self._end_frame)

    async def _close(self) -> None:
        try:
            await _aclose(self._values)
        finally:
            closers, self._closers = self._closers, ()
            for close in closers:
                close()

    def close_with(self, *closers: Callable[[], Any]) -> None:
        """Call these too when the generator is closed."""
        self._closers += closers

    async def _deliver(self, frame: bytes) -> None:
        if self._write is None:
            await self._wait_attached()
        if self._write is not None and not self._cancelled and frame and (pause := self._write(frame)):
            await pause

    async def _wait_attached(self) -> None:
        self._tell_started(None)
        self._attached = asyncio.get_running_loop().create_future()
        await self._attached
        self._attached = None

    async def _fail(self, error: BaseException) -> None:
        if isinstance(error, DatabaseError) and self._thread.ended_idle:
            error.add_note(
                f"{self.name} gave its database connection back while it waited. If it needs one connection across "
                "pauses (a server-side cursor does), declare it with @event_stream(hold_connection=True)."
            )
        if isinstance(error, Exception) and self._tell_started(error):
            return
        log_failure(self.name, error)
        if not self._cancelled:
            self._outcome = "failed"
            is_ours = bool(self._end_frame)  # somebody's own frames, who may speak another protocol, get no more
            await self._deliver(last_frames(self.name, error) if is_ours else debug_frame(error))

    def _tell_started(self, error: Exception | None) -> bool:
        """Wake ``first()``; say whether it waited."""
        if self._started is None or self._started.done():
            return False
        if error is None:
            self._started.set_result(None)
        else:
            self._started.set_exception(error)
        return True


async def _aclose(values: AsyncIterator[Any]) -> None:
    aclose = getattr(values, "aclose", None)
    if aclose is not None:
        await aclose()
