"""The decorators that make streams of views."""

import functools
import logging
from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable
from typing import Any, ParamSpec, Protocol, cast, overload

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

from ..concurrency.callables import (
    is_async_callable,
    is_async_generator,
    is_bound_for_one_call,
    is_generator,
    is_stand_in,
    name_of,
)
from ..errors import InvalidChannel, StreamRefused, TooManyChannels, TooManySyncStreams
from ..wire.event import END_ID
from .channel_response import channel_response, refused
from .handoff import check_limits, track_until_served
from .mistakes import check_is_view
from .refusals import head_response, no_content, refusal, too_many_streams
from .request import connection_setup, is_wsgi, last_event_id
from .response import EventStreamResponse
from .wsgi import check_wsgi

__all__ = ["ChannelDecorator", "EveryDatabase", "GeneratorDecorator", "channel_stream", "event_stream"]

logger = logging.getLogger("serversent")


# Headers wait this long for the first event: an exception before it is still an ordinary error page.
FIRST_EVENT_SECONDS = 0.25

View = Callable[..., Any]
P = ParamSpec("P")


class GeneratorDecorator(Protocol):
    """The result of ``@event_stream(...)``. It keeps the parameters of the view."""

    @overload
    def __call__(
        self, view: Callable[P, AsyncIterable[Any]], /
    ) -> Callable[P, Coroutine[Any, Any, HttpResponseBase]]: ...
    @overload
    def __call__(self, view: Callable[P, Iterable[Any]], /) -> Callable[P, HttpResponseBase]: ...


class ChannelDecorator(Protocol):
    """The result of ``@channel_stream(...)``. It keeps the parameters of the view."""

    @overload
    def __call__(
        self, view: Callable[P, Coroutine[Any, Any, Any]], /
    ) -> Callable[P, Coroutine[Any, Any, HttpResponseBase]]: ...
    @overload
    def __call__(self, view: Callable[P, Any], /) -> Callable[P, HttpResponseBase]: ...


@overload
def event_stream(view: Callable[P, AsyncIterable[Any]], /) -> Callable[P, Coroutine[Any, Any, HttpResponseBase]]: ...
@overload
def event_stream(view: Callable[P, Iterable[Any]], /) -> Callable[P, HttpResponseBase]: ...
@overload
def event_stream(
    *, methods: Collection[str] = ("GET", "HEAD"), hold_connection: bool = False, restart: bool = False
) -> GeneratorDecorator: ...
def event_stream(
    view: View | None = None,
    /,
    *,
    methods: Collection[str] = ("GET", "HEAD"),
    hold_connection: bool = False,
    restart: bool = False,
) -> Any:
    """Make a stream of a generator view, sync or async, function or method: each value it yields is one event::

        @event_stream
        async def clock(request):
            while True:
                yield timezone.now().isoformat()
                await asyncio.sleep(1)

    A ``str`` is the event's data as it is, a ``ServerSentEvent`` is sent as it is, any other value as JSON. The
    response waits up to 250 ms for the first event, so an exception before it is an ordinary error page, and
    ``Http404`` and ``PermissionDenied`` work. The generator is closed when its client leaves. When it returns, the
    client is told not to come again.

    ``methods``: the HTTP methods allowed to a function; a method of a class-based view is called for its own.
    ``hold_connection``: keep the database connection while the generator waits. A server-side cursor needs it.
    ``restart``: run the view again for a client that comes back after the end, instead of answering 204.

    Raises ``TypeError`` if the view is no generator.
    """
    check_is_view("event_stream", view)
    if isinstance(methods, str):
        raise TypeError(f"methods is a collection of names: methods=[{methods!r}]")
    allowed = frozenset(method.upper() for method in methods)

    def decorate(view: View) -> View:
        return _decorate(_GeneratorView(view, allowed, hold_connection=hold_connection, restart=restart))

    return decorate if view is None else decorate(view)


class _GeneratorView:
    """A generator view with its options. ``open()`` is the part of the wrapper that is neither sync nor async."""

    def __init__(self, view: View, methods: frozenset[str], *, hold_connection: bool, restart: bool) -> None:
        self.name = name_of(view)
        self.is_async = is_async_generator(view)
        if not (self.is_async or is_generator(view) or is_stand_in(view)):
            raise TypeError(
                f"@event_stream needs a generator function, and {self.name!r} never yields. "
                "Put it directly above the def, below other decorators."
            )
        self.view = view
        self._methods = methods
        self._hold_connection = hold_connection
        self._restart = restart

    def open(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Return the stream, not started, or a response instead of it."""
        request = _request_of(self.name, args)
        if request is args[0] and request.method not in self._methods:
            return HttpResponseNotAllowed(sorted(self._methods))
        if not self._restart and last_event_id(request) == END_ID:
            return no_content()
        if request.method == "HEAD":
            return head_response()
        if is_wsgi(request):
            check_wsgi(request, self)
        try:
            check_limits(request)  # before the generator runs: its first step may be expensive
            response = EventStreamResponse(
                self.view(*args, **kwargs),
                name=self.name,
                hold_connection=self._hold_connection,
                prepare=connection_setup(request),
                wsgi=is_wsgi(request),
            )
        except TooManySyncStreams as error:
            return too_many_streams(error)
        except StreamRefused as error:
            return refusal(error)
        track_until_served(request, response)
        return response


def _request_of(name: str, args: tuple[Any, ...]) -> HttpRequest:
    for candidate in args[:2]:  # a function's first argument, a method's second
        if hasattr(candidate, "META"):
            return cast("HttpRequest", candidate)
    raise TypeError(f"{name} was called without a request; a stream's view takes it first")


def _decorate(generator_view: _GeneratorView) -> View:
    async def async_wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
        response = generator_view.open(*args, **kwargs)
        if isinstance(response, EventStreamResponse) and response.is_async:
            await response.start(FIRST_EVENT_SECONDS)
        return response

    def sync_wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
        response = generator_view.open(*args, **kwargs)
        if isinstance(response, EventStreamResponse):
            response.start_in_thread(FIRST_EVENT_SECONDS)
        return response

    def wrapper_of_method(*args: Any, **kwargs: Any) -> Any:
        return (async_wrapper if generator_view.is_async else sync_to_async(sync_wrapper))(*args, **kwargs)

    wrapper: Any
    if is_stand_in(generator_view.view) or is_bound_for_one_call(generator_view.view):
        # method_decorator() asks once, before it knows the method, whether the result is async; so it always is. A
        # mark survives there, and a coroutine function does not.
        wrapper = markcoroutinefunction(wrapper_of_method)
    else:
        wrapper = async_wrapper if generator_view.is_async else sync_wrapper
    functools.update_wrapper(wrapper, generator_view.view)
    wrapper._non_atomic_requests = EveryDatabase()
    return cast("View", wrapper)


class EveryDatabase(set[str]):
    """A set that has every database: a stream is no transaction, whatever ``ATOMIC_REQUESTS`` says."""

    def __contains__(self, alias: object) -> bool:
        return True


@overload
def channel_stream(
    view: Callable[P, Coroutine[Any, Any, Any]], /
) -> Callable[P, Coroutine[Any, Any, HttpResponseBase]]: ...
@overload
def channel_stream(view: Callable[P, Any], /) -> Callable[P, HttpResponseBase]: ...
@overload
def channel_stream(*, using: str = "default") -> ChannelDecorator: ...
def channel_stream(view: View | None = None, /, *, using: str = "default") -> Any:
    """Make a stream of channels of an ordinary view, sync or async. The view decides who may listen::

        @channel_stream
        def order_events(request, pk):
            order = get_object_or_404(Order, pk=pk, customer=request.user)
            return f"order-{order.pk}"

    The view returns the name of a channel, several names, a ``Subscription``, or a response: a redirect or a refusal is
    sent as it is. If it returns no name at all, the answer is 204, and the client does not come again. ``using``: the
    broker.

    Raises ``TypeError`` if the view is a generator.
    """
    check_is_view("channel_stream", view)

    def decorate(view: View) -> View:
        return _decorate_channel_view(view, using)

    return decorate if view is None else decorate(view)


def _decorate_channel_view(view: View, using: str) -> View:
    name = name_of(view)
    if is_async_generator(view) or is_generator(view):
        raise TypeError(
            f"@channel_stream needs a view that returns the names of channels, and {name!r} yields. "
            "For a generator view it is @event_stream."
        )

    # A view that makes a Subscription raises the same errors as channel_response().
    async def async_wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
        request = _request_of(name, args)
        try:
            return refused(request) or channel_response(request, await view(*args, **kwargs), name, using)
        except (TooManyChannels, InvalidChannel) as error:
            return _refused_channels(name, error)

    def sync_wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
        request = _request_of(name, args)
        try:
            return refused(request) or channel_response(request, view(*args, **kwargs), name, using)
        except (TooManyChannels, InvalidChannel) as error:
            return _refused_channels(name, error)

    is_async = is_async_callable(view)
    wrapper: Any = functools.update_wrapper(async_wrapper if is_async else sync_wrapper, view)
    if is_async:
        wrapper._non_atomic_requests = EveryDatabase()
    return cast("View", wrapper)


def _refused_channels(name: str, error: TooManyChannels | InvalidChannel) -> HttpResponseBase:
    """Return the answer to invalid names of channels, which a view may have taken from its client."""
    if settings.DEBUG:
        raise error
    logger.warning("The stream %s was refused: %s", name, error)
    if isinstance(error, TooManyChannels):
        return refusal(StreamRefused(429, f"One stream may have {error.limit} channels at most."))
    return refusal(StreamRefused(400, "There is no such channel."))
