"""The decorators that make streams of views."""

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, cast, overload

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

from .errors import TooManySyncStreams
from .event import END_ID
from .handoff import keep_body, keep_until_served
from .response import EventStreamResponse, headers_alone, too_many_streams
from .wsgi import check_wsgi, is_wsgi

__all__ = ["event_stream"]

# Headers wait this long for the first event: an exception before it is still an ordinary error page.
FIRST_EVENT_SECONDS = 0.25

View = Callable[..., Any]


@overload
def event_stream(view: View, /) -> View: ...
@overload
def event_stream(
    *, methods: Collection[str] = ("GET", "HEAD"), hold_connection: bool = False, restart: bool = False
) -> Callable[[View], View]: ...
def event_stream(
    view: View | None = None,
    /,
    *,
    methods: Collection[str] = ("GET", "HEAD"),
    hold_connection: bool = False,
    restart: bool = False,
) -> Any:
    """Make a stream of an async or sync generator view, function or method: each value it yields is one event.

    A ``str`` is the event's data as it is, a ``ServerSentEvent`` is sent as it is, any other value as JSON. The
    response waits up to 250 ms for the first event, so an exception before it is an ordinary error page, and
    ``Http404`` and ``PermissionDenied`` work. The generator is closed when its client leaves. When it returns, the
    client is told not to come again.

    ``methods``: the HTTP methods allowed to a function; a method of a class-based view is called for its own.
    ``hold_connection``: keep the database connection while the generator waits, for what needs one across pauses.
    ``restart``: run the view again for a client that comes back after the end, instead of answering 204.
    """
    if isinstance(methods, str):
        raise TypeError(f"methods is a collection of names: methods=[{methods!r}]")
    allowed = frozenset(method.upper() for method in methods)

    def decorate(view: View) -> View:
        return _decorate(_GeneratorView(view, allowed, hold_connection=hold_connection, restart=restart))

    return decorate if view is None else decorate(view)


class _GeneratorView:
    """A generator view with its options; ``open`` is all of the wrapper but the waiting, which is sync or async."""

    def __init__(self, view: View, methods: frozenset[str], *, hold_connection: bool, restart: bool) -> None:
        if not (inspect.isasyncgenfunction(view) or inspect.isgeneratorfunction(view)):
            raise TypeError(
                f"@event_stream needs a generator function, and {getattr(view, '__qualname__', view)!r} never yields. "
                "Put it directly above the def, below other decorators."
            )
        self.view = view
        self.name = f"{view.__module__}.{view.__qualname__}"
        self._methods = methods
        self._hold_connection = hold_connection
        self._restart = restart

    def open(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Return the stream, not started, or the response there is instead."""
        request = self._request(args)
        if request is args[0] and request.method not in self._methods:
            return HttpResponseNotAllowed(sorted(self._methods))
        if not self._restart and last_event_id(request) == END_ID:
            return HttpResponse(status=204)
        if request.method == "HEAD":
            return headers_alone()
        if is_wsgi(request):
            check_wsgi(request, self)
        keep_body(request)
        try:
            response = EventStreamResponse(
                self.view(*args, **kwargs),
                name=self.name,
                hold_connection=self._hold_connection,
                wsgi=is_wsgi(request),
            )
        except TooManySyncStreams as error:
            return too_many_streams(error)
        keep_until_served(request, response)
        return response

    @property
    def is_async(self) -> bool:
        return inspect.isasyncgenfunction(self.view)

    def _request(self, args: tuple[Any, ...]) -> HttpRequest:
        for candidate in args[:2]:  # a function's first argument, a method's second
            if hasattr(candidate, "META"):
                return cast("HttpRequest", candidate)
        raise TypeError(f"{self.name} was called without a request; an @event_stream view takes it first")


def _decorate(generator_view: _GeneratorView) -> View:
    wrapper: Any
    if generator_view.is_async:

        @functools.wraps(generator_view.view)
        async def async_wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
            response = generator_view.open(*args, **kwargs)
            if isinstance(response, EventStreamResponse) and response.is_async:
                await response.start(FIRST_EVENT_SECONDS)
            return response

        wrapper = async_wrapper
    else:

        @functools.wraps(generator_view.view)
        def sync_wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
            response = generator_view.open(*args, **kwargs)
            if isinstance(response, EventStreamResponse):
                response.start_in_thread(FIRST_EVENT_SECONDS)
            return response

        wrapper = sync_wrapper
    wrapper._non_atomic_requests = _EveryDatabase()
    return cast("View", wrapper)


class _EveryDatabase(set[str]):
    """The databases that ATOMIC_REQUESTS must leave alone. A stream is not a transaction: every one."""

    def __contains__(self, alias: object) -> bool:
        return True


def last_event_id(request: HttpRequest) -> str:
    """Return the id that the client saw last, from the header or, where it cannot set one, the query string."""
    return request.META.get("HTTP_LAST_EVENT_ID") or request.GET.get("lastEventId") or ""
