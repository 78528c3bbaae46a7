"""The response that carries a stream out of the view, and its ordinary ways of being served: by Django, under WSGI.

``serversent.asgi`` takes the stream out of it and serves it without Django; that is the cheap way.
"""

import asyncio
import contextlib
import contextvars
import functools
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from django.http import StreamingHttpResponse

from ..access.identity import Identity
from ..channels.hub import stop_hubs
from ..channels.subscription import Subscription
from ..concurrency.live_servers import served_by_thread
from ..concurrency.sync_iterator import ThreadedIterator
from ..conf import setting
from ..errors import AsyncStreamUnderWSGI, StreamRefused
from ..serving.channel_stream import ChannelDriver
from ..serving.failures import last_frames, log_failure
from ..serving.generator_stream import StreamDriver
from ..serving.source import HEARTBEAT_FRAME, opening_frame
from ..wire.frames import END_FRAME, encode, encode_text, end_frame
from ..wire.json_text import to_text
from .refusals import CONTENT_TYPE, KeepsSession, set_stream_headers

__all__ = ["EventStreamResponse"]

logger = logging.getLogger("serversent")


# How long a plain server may take from the response to its first read of the stream.
UNATTENDED_SECONDS = 60

# How often a stream that is only polled looks whether all was sent.
POLL_SECONDS = 0.02


class EventStreamResponse(KeepsSession, StreamingHttpResponse):
    """A response of type ``text/event-stream`` that sends what ``source`` yields, each value as one event.

    ``source``: an async or sync generator or iterator of values: a str is sent as it is, a ``ServerSentEvent`` too,
    anything else as JSON. Or a ``Subscription``, of the broker ``using``. Most views want ``@event_stream`` or
    ``@channel_stream`` instead, which also turn an exception before the first event into an ordinary error page.
    ``name`` is for the log.

    Raises ``TooManySyncStreams`` when ``source`` is sync and its pool of threads is full.
    """

    def __init__(
        self,
        source: Any,
        *,
        name: str = "",
        using: str = "default",
        last_event_id: str = "",
        begins_at: str = "",
        signed: Identity | None = None,
        on_written: Callable[[bytes], None] | None = None,
        hold_connection: bool = False,
        prepare: Callable[[], object] | None = None,
        wsgi: bool = False,
        polled: bool = False,
    ) -> None:
        self._name = name or getattr(source, "__qualname__", type(source).__name__)
        self._hold_connection = hold_connection
        self._using = using
        self._last_event_id = last_event_id
        self._begins_at = begins_at
        self._signed = signed
        self._on_written = on_written
        self._prepare = prepare
        # The view's: an initial state is asked for later, when middleware may have left what it put there.
        has_initial = isinstance(source, Subscription) and source.initial is not None
        self._context = contextvars.copy_context() if has_initial else None
        self._is_handed_off = False
        self._driver: StreamDriver | ChannelDriver | None = None
        self._detached = False
        self._wsgi = wsgi
        self._polled = polled  # a server that cannot hold streams: what is new is sent, and that is all
        self.is_kept = False  # a hand-off closes the stream should this response get lost on its way
        ours = isinstance(source, Subscription) or hasattr(source, "__aiter__")
        self._values: Any = source if ours else ThreadedIterator(iter(source), prepare=prepare)
        super().__init__(self._sync_frames() if wsgi else self._frames(), content_type=CONTENT_TYPE)
        self._own_body: Any = self._iterator
        self._resource_closers.append(self.close_stream)  # type: ignore[attr-defined]
        set_stream_headers(self)

    async def start(self, seconds: float) -> None:
        """Run the stream up to its first event, at most ``seconds``. Raises what it raises by then."""
        driver = self.driver
        assert isinstance(driver, StreamDriver)
        await driver.first(seconds)
        if not self.is_kept:
            asyncio.get_running_loop().call_later(UNATTENDED_SECONDS, driver.cancel_unattached)

    def start_in_thread(self, seconds: float) -> None:
        """The same for a sync generator, from sync code."""
        self._values.start(seconds)

    @property
    def driver(self) -> StreamDriver | ChannelDriver:
        """The driver of the stream, which whoever serves it attaches to. Needs a running event loop."""
        if self._driver is None and isinstance(self._values, Subscription):
            self._driver = ChannelDriver(
                self._values,
                name=self._name,
                using=self._using,
                last_event_id=self._last_event_id,
                begins_at=self._begins_at,
                signed=self._signed,
                on_written=self._on_written,
                prepare=self._prepare,
                context=self._context,
            )
        if self._driver is None:
            encode = functools.partial(_encode_yielded, self._name)
            self._driver = StreamDriver(
                aiter(self._values),
                name=self._name,
                encode=encode,
                hold_connection=self._hold_connection,
                prepare=self._prepare,
            )
        return self._driver

    @property
    def body_is_ours(self) -> bool:
        """Whether no middleware has put another body into the place of the stream."""
        return self._iterator is self._own_body

    def detach(self) -> StreamDriver | ChannelDriver:
        """Take the stream out of the response, which can then be closed without closing the stream."""
        driver = self.driver
        self._detached = True
        self._iterator = self._own_body = None  # a cycle: they refer to the response
        return driver

    @property
    def prepare(self) -> Callable[[], object] | None:
        """What each thread of the stream calls first."""
        return self._prepare

    @property
    def is_detached(self) -> bool:
        return self._detached

    def close_with(self, *closers: Callable[[], Any]) -> None:
        """Call these when the generator of a stream that is handed off is closed, where it runs."""
        if isinstance(self._values, ThreadedIterator):
            self._values.close_with(*closers)
        elif isinstance(self._driver, StreamDriver):
            self._driver.close_with(*closers)

    def detach_wrapped(self, body: Any) -> AsyncGenerator[Any]:
        """Take out ``body``, which a middleware has put around the stream, with the stream in it: chunks of bytes."""
        ours = self._own_body
        self._detached = self._is_handed_off = True
        self._iterator = self._own_body = None
        return _closing_both(body, ours)

    def close_stream(self) -> None:
        """Close the stream if nobody serves it. May be called from any thread."""
        if self._detached:
            return
        if isinstance(self._driver, StreamDriver):
            self._driver.cancel_threadsafe()
        elif isinstance(self._values, ThreadedIterator):
            self._values.close()

    async def aclose_stream(self) -> None:
        """The same, and wait for the generator to end, at most ``DRAIN_SECONDS``."""
        self.close_stream()
        if self._driver is not None and not self._detached:
            await self._driver.wait_closed(setting("DRAIN_SECONDS"))

    def __iter__(self) -> Iterator[bytes]:
        if self.is_async and self.body_is_ours:
            if not isinstance(self._values, ThreadedIterator):
                raise AsyncStreamUnderWSGI(self._name)
            return self._threaded_frames(self._values)
        return super().__iter__()

    def _log_serving(self) -> None:
        if self._polled:
            _log_polling_once()
        elif not (self._is_handed_off or self._wsgi):
            _log_plain_serving_once()

    async def _frames(self) -> AsyncGenerator[bytes]:
        """The stream as plain Django serves it: what the driver writes, and heartbeats in between."""
        self._log_serving()
        slot: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        driver = self.driver
        if isinstance(driver, ChannelDriver):
            try:
                await driver.begin()
            except StreamRefused as error:  # the headers are sent: all that is left is to say that it is no use
                logger.info("The stream %s was refused: %s", self._name, error)
                yield self._opening + end_frame(error.status)
                return
        driver.attach(slot.put, lambda _: ended.cancel())
        waiting: asyncio.Task[bytes] | None = None
        try:
            yield self._opening
            while True:
                waiting = waiting or asyncio.create_task(slot.get())
                seconds = POLL_SECONDS if self._polled else setting("HEARTBEAT_SECONDS")
                either: set[asyncio.Future[Any]] = {waiting, ended}
                await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    frame, waiting = waiting.result(), None
                    yield frame
                elif self._polled and isinstance(driver, ChannelDriver) and driver.is_live and slot.empty():
                    return
                elif not ended.done():
                    yield b"" if self._polled else driver.heartbeat()
                elif slot.empty():
                    return
        finally:
            if waiting is not None:
                waiting.cancel()
            driver.cancel()
            await driver.wait_closed(setting("DRAIN_SECONDS"))

    @property
    def _opening(self) -> bytes:
        if isinstance(self._values, Subscription):
            expires_at = None if self._signed is None else self._values.expires_at
            return opening_frame(of_channels=True, url_expires_at=expires_at)
        return opening_frame(of_channels=False)

    def _sync_frames(self) -> Iterator[bytes]:
        """The stream as a WSGI server serves it, in one of its threads."""
        if isinstance(self._values, ThreadedIterator):
            return self._threaded_frames(self._values)
        return _in_own_loop(self._frames())

    def _threaded_frames(self, values: ThreadedIterator) -> Iterator[bytes]:
        try:
            with served_by_thread(values.interrupt):
                yield self._opening
                while True:
                    try:
                        there, value = values.next_within(setting("HEARTBEAT_SECONDS"))
                        frame = _encode_yielded(self._name, value) if there else HEARTBEAT_FRAME
                    except StopIteration:
                        break
                    except Exception as error:
                        log_failure(self._name, error)
                        yield last_frames(self._name, error)
                        return
                    yield frame
                yield END_FRAME
        finally:
            values.close()


async def _closing_both(body: Any, ours: AsyncGenerator[bytes]) -> AsyncGenerator[Any]:
    """Yield what a wrapper of ours yields; close it, and then what is in it, which a wrapper that is closed leaves."""
    try:
        if hasattr(body, "__aiter__"):
            async for chunk in body:
                yield chunk
        else:
            for chunk in body:
                yield chunk
    finally:
        if hasattr(body, "aclose"):
            await body.aclose()
        await ours.aclose()


def _in_own_loop(frames: AsyncGenerator[bytes]) -> Iterator[bytes]:
    """Run an async generator in the thread that asks. The loop turns only while the thread waits for a frame."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        ending = loop.create_future()

        def end() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ending.cancel)

        try:
            with served_by_thread(end):
                while (frame := loop.run_until_complete(_next_unless(ending, frames))) is not None:
                    yield frame
        finally:
            loop.run_until_complete(frames.aclose())
            loop.run_until_complete(stop_hubs())


async def _next_unless(ending: asyncio.Future[None], frames: AsyncGenerator[bytes]) -> bytes | None:
    """Return the next frame; ``None`` if there is none, or the server ends."""
    step: asyncio.Future[bytes | None] = asyncio.ensure_future(anext(frames, None))
    either: set[asyncio.Future[Any]] = {step, ending}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if step.done():
        return step.result()
    step.cancel()
    await asyncio.wait({step})
    return None


@functools.cache
def _log_plain_serving_once() -> None:
    logger.warning(
        "A stream is served by Django itself: it works, but it holds its request, and with it perhaps a thread and a "
        "database connection. In asgi.py, import get_asgi_application from serversent.asgi instead of django.core.asgi."
    )


@functools.cache
def _log_polling_once() -> None:
    logger.warning(
        "A WSGI server cannot hold streams: each answer of a stream of channels ends when nothing more is there, and "
        "the client asks again a few seconds later. Serve the project with an ASGI server: see docs/howto-servers.md."
    )


_FRAMED = re.compile(r"(data|event|id|retry):.*\n\n\Z", re.DOTALL)


def _encode_yielded(name: str, value: Any) -> bytes:
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
