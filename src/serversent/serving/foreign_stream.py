"""Streams whose bytes are made by other code: a plain response's own, and those of a middleware that wraps a stream."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from .failures import debug_frame
from .generator_stream import GeneratorStream
from .source import HEARTBEAT_FRAME, Ends, Outcome, StreamSource

__all__ = ["ForeignStream", "WrappedStream"]


class ForeignStream(GeneratorStream):
    """A stream that sends the chunks of a plain response as they are.

    ``charset``: of chunks that are text. ``is_encoded``: the bytes are compressed, so that a comment between them would
    not be understood. A stream that fails is cut, as under plain Django.
    """

    __slots__ = ("_charset", "_is_encoded")

    may_send_retry = False
    usual_end: Ends = "unless failed"

    def __init__(
        self,
        chunks: AsyncIterator[Any],
        *,
        name: str,
        charset: str = "utf-8",
        is_encoded: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(chunks, name=name, prepare=prepare)
        self._charset = charset
        self._is_encoded = is_encoded

    def opening(self) -> bytes:
        return b""

    def heartbeat(self) -> bytes:
        return b"" if self._is_encoded else HEARTBEAT_FRAME

    def _encode(self, value: Any) -> bytes:
        if isinstance(value, str):
            return value.encode(self._charset)
        return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode(self._charset)

    def _end_frame(self) -> bytes:
        return b""

    def _failure_frames(self, error: BaseException) -> bytes:
        return debug_frame(error)


class WrappedStream(ForeignStream):
    """A stream of this package that a middleware has wrapped: ``inner`` is the source within."""

    __slots__ = ("channels", "control_events", "inner", "may_send_retry", "url_identity")

    usual_end: Ends = "always"

    def __init__(
        self,
        chunks: AsyncIterator[Any],
        inner: StreamSource,
        *,
        is_encoded: bool,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(chunks, name=inner.name, is_encoded=is_encoded, prepare=prepare)
        self.inner = inner
        self.channels = inner.channels
        self.control_events = inner.control_events
        self.url_identity = inner.url_identity
        self.may_send_retry = not is_encoded
        self.close_with(inner.cancel)

    @property
    def outcome(self) -> Outcome:
        return self.inner.outcome if super().outcome == "complete" else super().outcome

    async def begin(self, last_event_id: str = "") -> None:
        await self.inner.begin(last_event_id)
