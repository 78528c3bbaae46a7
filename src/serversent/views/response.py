"""The response that carries a stream out of the view, and how plain Django and WSGI servers serve it.

``serversent.asgi`` takes the stream out of it and serves it without Django; that is the cheap way.
"""

import asyncio
import contextlib
import functools
import logging
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from django.http import StreamingHttpResponse

from ..channels.hub import stop_hubs
from ..channels.subscription import Subscription
from ..concurrency.live_servers import served_by_thread
from ..conf import setting
from ..errors import AsyncStreamUnderWSGI, StreamRefused
from ..serving.channel_stream import ChannelStream
from ..serving.generator_stream import GeneratorStream
from ..serving.grant import Grant
from ..serving.source import StreamSource
from ..serving.sync_generator_stream import SyncGeneratorStream
from ..signals import send, stream_refused
from ..wire.frames import end_frame
from .refusals import CONTENT_TYPE, KeepsSession, set_stream_headers

__all__ = ["EventStreamResponse"]

logger = logging.getLogger("serversent")

# How long a plain server may take from the response to its first read of the stream.
UNATTENDED_SECONDS = 60

# How often a stream that is only polled looks whether all was sent.
POLL_SECONDS = 0.02


class EventStreamResponse(KeepsSession, StreamingHttpResponse):
    """A response of type ``text/event-stream`` that sends the values of ``source``, each as one event.

    ``source``: an async or sync generator or iterator of values: a ``str`` is sent as it is, a ``ServerSentEvent`` too,
    anything else as JSON. Or a ``Subscription``, of the broker ``using``. Most views want ``@event_stream`` or
    ``@channel_stream`` instead, which also turn an exception before the first event into an ordinary error page.
    ``name`` is for the log::

        def ticks(request):
            return EventStreamResponse(str(number) for number in range(10))

    Raises ``TooManySyncStreams`` when ``source`` is sync and its pool of threads is full.
    """

    def __init__(
        self,
        source: Any,
        *,
        name: str = "",
        using: str = "default",
        hold_connection: bool = False,
        prepare: Callable[[], object] | None = None,
        wsgi: bool = False,
        polled: bool = False,
    ) -> None:
        if isinstance(source, Subscription):
            source = Grant(source, name=name or type(source).__name__, using=using, prepare=prepare)
        self.source: StreamSource
        if isinstance(source, Grant):
            self.source = ChannelStream(source)
        else:
            name = name or getattr(source, "__qualname__", type(source).__name__)
            is_async = hasattr(source, "__aiter__")
            kind: Any = GeneratorStream if is_async else SyncGeneratorStream
            values = aiter(source) if is_async else iter(source)
            self.source = kind(values, name=name, hold_connection=hold_connection, prepare=prepare)
        self.prepare = prepare  # called first in each thread of the stream
        self.is_tracked = False  # a hand-off closes the stream if this response is not served
        self._is_wsgi = wsgi
        self._is_polled = polled  # a server that cannot hold streams: the stream ends when all was sent
        super().__init__(self._sync_frames() if wsgi else self._async_frames(), content_type=CONTENT_TYPE)
        self._own_body: Any = self._iterator
        # The stream's own method: a closer that referred to the response would make a cycle, which only the garbage
        # collector ends. A middleware that drops the response, and then its body, would leave the stream open.
        self._resource_closers.append(self.source.cancel_threadsafe)  # type: ignore[attr-defined]
        set_stream_headers(self)

    async def start(self, seconds: float) -> None:
        """Run an async generator up to its first event, at most ``seconds``. Raises its exceptions until then."""
        source = self.source
        assert isinstance(source, GeneratorStream)
        await source.first(seconds)
        if not self.is_tracked:
            asyncio.get_running_loop().call_later(UNATTENDED_SECONDS, source.cancel_unattached)

    def start_in_thread(self, seconds: float) -> None:
        """Run a sync generator up to its first event, from sync code."""
        source = self.source
        assert isinstance(source, SyncGeneratorStream)
        source.first_in_thread(seconds)

    @property
    def body_is_own(self) -> bool:
        """Return whether no middleware has put another body into the place of the stream."""
        return self._iterator is self._own_body

    @property
    def is_detached(self) -> bool:
        """Return whether the stream was taken out of the response."""
        return self._own_body is None

    def detach(self) -> StreamSource:
        """Take the stream out of the response, which can then be closed without closing the stream."""
        self.detach_body()
        return self.source

    def detach_body(self) -> AsyncGenerator[bytes]:
        """Take out the body with the stream in it, as plain Django would send it."""
        body: AsyncGenerator[bytes] = self._own_body
        with contextlib.suppress(ValueError):  # the response is closed
            self._resource_closers.remove(self.source.cancel_threadsafe)  # type: ignore[attr-defined]
        self._iterator = self._own_body = None
        return body

    def close_stream(self) -> None:
        """Close the stream if nothing serves it. May be called from any thread."""
        if not self.is_detached:
            self.source.cancel_threadsafe()

    async def aclose_stream(self) -> None:
        """Close the stream if nothing serves it, and wait for its generator to end, at most ``DRAIN_SECONDS``."""
        self.close_stream()
        if not self.is_detached:
            await self.source.wait_closed(setting("DRAIN_SECONDS"))

    # Served by plain Django, or by a WSGI server.

    def __iter__(self) -> Iterator[bytes]:
        if self.is_async and self.body_is_own:
            frames = self.source.frames_in_thread()
            if frames is None:
                raise AsyncStreamUnderWSGI(self.source.name)
            return frames
        return super().__iter__()

    def _sync_frames(self) -> Iterator[bytes]:
        return self.source.frames_in_thread() or _in_own_loop(self._async_frames())

    def _async_frames(self) -> AsyncGenerator[bytes]:
        response = weakref.ref(self)  # it has the body: no cycle

        def log_serving() -> None:
            if (served := response()) is not None:
                served._log_serving()

        return _frames(self.source, log_serving, is_polled=self._is_polled)

    def _log_serving(self) -> None:
        if self._is_polled:
            _log_polling_once()
        elif not (self.is_detached or self._is_wsgi):
            _log_plain_serving_once()


async def _frames(source: StreamSource, log_serving: Callable[[], None], *, is_polled: bool) -> AsyncGenerator[bytes]:
    """Yield the frames of a source, and heartbeats in between."""
    log_serving()
    slot: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    try:
        await source.begin()
    except StreamRefused as error:  # the headers are sent: the end tells the client not to come back
        logger.info("The stream %s was refused: %s", source.name, error)
        send(stream_refused, StreamRefused, status=error.status, error=error)
        yield source.opening() + end_frame(error.status)
        return
    source.attach(slot.put, lambda _: ended.cancel())
    waiting: asyncio.Task[bytes] | None = None
    try:
        yield source.opening()
        while True:
            waiting = waiting or asyncio.create_task(slot.get())
            seconds = POLL_SECONDS if is_polled else setting("HEARTBEAT_SECONDS")
            either: set[asyncio.Future[Any]] = {waiting, ended}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                frame, waiting = waiting.result(), None
                yield frame
            elif is_polled and source.is_caught_up and slot.empty():
                return
            elif not ended.done():
                yield b"" if is_polled else source.heartbeat()
            elif slot.empty():
                return
    finally:
        if waiting is not None:
            waiting.cancel()
        source.cancel()
        await source.wait_closed(setting("DRAIN_SECONDS"))


def _in_own_loop(frames: AsyncGenerator[bytes]) -> Iterator[bytes]:
    """Run an async generator in the current thread. Its loop turns only while the thread waits for a frame."""
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
    """Return the next frame; ``None`` if there is none, or if the server ends."""
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
