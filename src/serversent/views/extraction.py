"""Taking the stream out of a response, so that it can be served without Django."""

import functools
from collections.abc import AsyncGenerator, Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from ..concurrency.sync_iterator import ThreadedIterator
from ..errors import TooManySyncStreams
from ..logs import printable
from ..serving.foreign_stream import ForeignStream, WrappedStream
from ..serving.source import Ends, StreamSource
from .handoff import Handoff
from .refusals import instead_of, too_many_streams
from .request import connection_setup
from .response import EventStreamResponse

__all__ = ["body_end", "extract_stream"]


def extract_stream(request: HttpRequest, response: Any, handoff: Handoff) -> StreamSource | HttpResponse | None:
    """Return the stream of a response, or a response instead of it, or ``None``: Django serves it."""
    if request.method == "HEAD":
        return instead_of(response, HttpResponse(status=response.status_code))
    if isinstance(response, EventStreamResponse):
        if response.body_is_own:
            return _extract_own(request, response, handoff)
        return _extract_wrapped(request, response, response)
    try:
        inner = handoff.tracked_response()
        if inner is not None:
            return _extract_wrapped(request, response, inner)
        return _extract_foreign(request, response, handoff)
    except TooManySyncStreams as error:
        return instead_of(response, too_many_streams(error))


def body_end(request: HttpRequest, source: StreamSource) -> Ends:
    """Return when the body of a stream ends properly.

    To some clients a proper end means that the stream is complete: Datastar does not come back, and clients without
    control events take a part for the whole.
    """
    is_datastar = request.headers.get("Datastar-Request") is not None
    return "if complete" if is_datastar or not source.control_events else source.usual_end


def _extract_own(request: HttpRequest, response: EventStreamResponse, handoff: Handoff) -> StreamSource:
    source = response.detach()
    if source.reads_request:
        closers = _take_closers(response, lambda close: close == request.close and _has_files(request))
        source.close_with(*closers, *handoff.take_body_closer())
    return source


def _extract_wrapped(request: HttpRequest, response: Any, own: EventStreamResponse) -> StreamSource | None:
    """Extract a stream with the wrapper that a middleware has put around it. The wrapper yields all bytes for the
    client.

    The middleware has set the content of the response, or has made another response around the content.
    """

    def belongs_to_stream(close: Callable[[], Any]) -> bool:
        return close != own.source.cancel_threadsafe and (close != request.close or _has_files(request))

    body, _ = _iterator_of(response)
    if body is None:
        return None
    inner = own.source
    source = WrappedStream(
        _closing_both(body, own.detach_body()),
        inner,
        is_encoded="Content-Encoding" in response.headers,
        prepare=own.prepare,
    )
    source.close_with(*_take_closers(response, belongs_to_stream))
    return source


async def _closing_both(body: Any, inner: AsyncGenerator[bytes]) -> AsyncGenerator[Any]:
    """Yield the chunks of a wrapper; close it, and then the stream within, which a closed wrapper leaves open."""
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
        await inner.aclose()


def _extract_foreign(request: HttpRequest, response: Any, handoff: Handoff) -> StreamSource | None:
    """Extract the chunks of a plain response. They are sent as they are."""

    def belongs_to_stream(close: Callable[[], Any]) -> bool:
        return close != request.close or _has_files(request)

    prepare = connection_setup(request)
    chunks, is_async = _iterator_of(response)
    if chunks is None:
        return None
    if not is_async:
        chunks = ThreadedIterator(chunks, prepare=prepare)
    closers = (*_take_closers(response, belongs_to_stream), *handoff.take_body_closer())
    source = ForeignStream(
        chunks,
        name=printable(request.path),
        charset=response.charset,
        is_encoded="Content-Encoding" in response.headers,
        prepare=prepare,
    )
    source.close_with(*_close_later(response))
    # The closers of a sync iterator run in its thread.
    (source if is_async else chunks).close_with(*closers)
    return source


_ITERATED_BY_DJANGO = (StreamingHttpResponse.__aiter__, EventStreamResponse.__aiter__)


def _iterator_of(response: Any) -> tuple[Any, bool]:
    """Return the iterator of a response, and whether it is async; ``None`` if it has none.

    Not every response that streams is a ``StreamingHttpResponse``.
    """
    if isinstance(response, StreamingHttpResponse) and type(response).__aiter__ in _ITERATED_BY_DJANGO:
        return response._iterator, response.is_async  # type: ignore[attr-defined]
    if hasattr(response, "__aiter__"):
        return aiter(response), True
    return (iter(response), False) if hasattr(response, "__iter__") else (None, False)


def _close_later(response: Any) -> tuple[Callable[[], Any], ...]:
    """Return the closer of a response whose class has a ``close()`` of its own. It belongs to the end of the stream.

    Django calls ``close()`` when the request is over: it runs the closers of the response, and sends
    ``request_finished``. At the end of the stream the class's own part of ``close()`` follows, without the signal.
    """
    kind = type(response)
    if kind.close in (HttpResponseBase.close, EventStreamResponse.close):
        return ()

    def close_request() -> None:
        del response.close
        HttpResponseBase.close(response)
        response.__class__ = _without_signal(kind)  # type: ignore[arg-type]

    response.close = close_request
    return (lambda: response.close(),)


class _WithoutSignal(HttpResponseBase):
    def close(self) -> None:
        pass


@functools.cache
def _without_signal(kind: type[HttpResponseBase]) -> type[HttpResponseBase]:
    """Return a subclass whose ``close()`` ends with the class's own part."""
    return type(kind.__name__, (kind, _WithoutSignal), {"__module__": kind.__module__})


def _take_closers(response: Any, belongs: Callable[[Callable[[], Any]], bool]) -> tuple[Callable[[], Any], ...]:
    """Take the closers out of a response that belong to the end of the stream, not to that of the request."""
    taken = tuple(close for close in response._resource_closers if belongs(close))
    response._resource_closers = [close for close in response._resource_closers if close not in taken]
    return taken


def _has_files(request: HttpRequest) -> bool:
    """Return whether the request has uploaded files, which its ``close()`` closes."""
    return bool(getattr(request, "_files", None))
