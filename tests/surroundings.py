"""What surrounds streams in projects: middleware, kinds of views and of responses. Each stream tells its context."""

import asyncio
import functools
import time

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, path
from django.utils import timezone, translation
from django.utils.decorators import method_decorator, sync_and_async_middleware
from django.utils.functional import SimpleLazyObject
from django.views import View

from serversent import EventStreamResponse, Subscription, channel_stream, event_stream

seen_by_views = []
closed = []


def context():
    """What Django keeps for each request, and loses between threads."""
    return f"{translation.get_language()} {timezone.get_current_timezone_name()} {get_script_prefix()}"


class Person:
    """A user, of whom no database has to be asked."""

    is_authenticated = True

    def __init__(self, pk):
        self.pk = pk


# Middleware.


@sync_and_async_middleware
def known(get_response):
    """Knows the user by a header."""

    def recognise(request):
        if "User" in request.headers:
            request.user = Person(int(request.headers["User"]))
        return request

    if iscoroutinefunction(get_response):

        async def middleware(request):
            return await get_response(recognise(request))
    else:

        def middleware(request):
            return get_response(recognise(request))

    return middleware


def known_late(get_response):
    """Knows the user as Django's ``AuthenticationMiddleware`` does: once somebody asks."""

    async def middleware(request):
        key = int(request.headers["User"])
        request.user = SimpleLazyObject(lambda: Person(key))
        return await get_response(request)

    return async_only(middleware)


def asking(get_response):
    """Asks for the user when it has the first bytes of the body."""

    async def middleware(request):
        response = await get_response(request)
        content = response.streaming_content

        async def asked():
            async for chunk in content:
                assert request.user.pk
                yield chunk

        response.streaming_content = asked()
        return response

    return async_only(middleware)


def async_only(middleware):
    markcoroutinefunction(middleware)
    return middleware


for each in (known_late, asking):
    each.sync_capable, each.async_capable = False, True


@sync_and_async_middleware
def wrapping(get_response):
    """Puts an iterator of its own around each body that streams, as Django's documentation shows."""

    def wrap(response):
        if response.streaming:
            content = response.streaming_content
            response.streaming_content = loudly_async(content) if response.is_async else loudly(content)
        response.headers["Wrapped"] = "yes"
        return response

    async def loudly_async(content):
        async for chunk in content:
            yield chunk.replace(b"data: ", b"data: loud ")

    def loudly(content):
        for chunk in content:
            yield chunk.replace(b"data: ", b"data: loud ")

    if iscoroutinefunction(get_response):

        async def middleware(request):
            return wrap(await get_response(request))
    else:

        def middleware(request):
            return wrap(get_response(request))

    return middleware


@sync_and_async_middleware
def rewrapping(get_response):
    """Makes another response around each body that streams."""

    def wrap(response):
        if not (response.streaming and getattr(response, "is_async", False)) or not hasattr(response, "_iterator"):
            return response

        async def loudly(content):
            async for chunk in content:
                yield chunk.replace(b"data: ", b"data: loud ")

        return StreamingHttpResponse(loudly(response.streaming_content), headers=dict(response.headers))

    if iscoroutinefunction(get_response):

        async def middleware(request):
            return wrap(await get_response(request))
    else:

        def middleware(request):
            return wrap(get_response(request))

    return middleware


@sync_and_async_middleware
def in_auckland(get_response):
    """Overrides the time zone for as long as the view runs."""
    if iscoroutinefunction(get_response):

        async def middleware(request):
            with timezone.override("Pacific/Auckland"):
                return await get_response(request)
    else:

        def middleware(request):
            with timezone.override("Pacific/Auckland"):
                return get_response(request)

    return middleware


def sync_only(get_response):
    """Makes Django run the rest of the chain in a thread."""

    def middleware(request):
        with translation.override("fr"):
            return get_response(request)

    return middleware


def encoding(get_response):
    """Compresses streams, or says so."""

    async def middleware(request):
        response = await get_response(request)
        response.headers["Content-Encoding"] = "br"
        return response

    markcoroutinefunction(middleware)
    return middleware


encoding.sync_capable, encoding.async_capable = False, True


# Streams: three events each, and then a long silence, in which nothing is yielded.


async def _async_values(frame, request, *, seconds):
    try:
        yield frame(context())
        await asyncio.sleep(0)
        yield frame(context())
        yield frame(getattr(getattr(request, "user", None), "pk", None))
        await asyncio.sleep(seconds)
    finally:
        closed.append("async")


def _sync_values(frame, request, *, seconds):
    try:
        yield frame(context())
        yield frame(context())
        yield frame(getattr(getattr(request, "user", None), "pk", None))
        time.sleep(min(seconds, 1.2))  # nothing ends a step of a sync generator
    finally:
        closed.append("sync")


def _framed(value):
    return f"data: {value}\n\n"


def _as_it_is(value):
    return str(value)


def _seconds(request):
    return float(request.GET.get("seconds", 0))


def _note_view():
    seen_by_views.append(context())


async def plain_async(request):
    _note_view()
    values = _async_values(_framed, request, seconds=_seconds(request))
    return StreamingHttpResponse(values, content_type="text/event-stream")


def plain_sync(request):
    _note_view()
    values = _sync_values(_framed, request, seconds=_seconds(request))
    return StreamingHttpResponse(values, content_type="text/event-stream")


class BareResponse(HttpResponseBase):
    """Streams, and is no StreamingHttpResponse: it has neither an iterator nor content, and closes by itself."""

    streaming = True
    is_async = True
    charset = "utf-8"

    def __init__(self, values):
        super().__init__(content_type="text/event-stream")
        self._values = values
        self._is_open = True

    async def __aiter__(self):
        async for value in self._values:
            assert self._is_open, "the response was closed while its stream goes on"
            yield value.encode()

    def close(self):
        self._is_open = False
        closed.append("bare")
        super().close()


async def bare(request):
    _note_view()
    return BareResponse(_async_values(_framed, request, seconds=_seconds(request)))


@event_stream
async def decorated_async(request):
    _note_view()
    async for value in _async_values(_as_it_is, request, seconds=_seconds(request)):
        yield value


@event_stream
def decorated_sync(request):
    _note_view()
    yield from _sync_values(_as_it_is, request, seconds=_seconds(request))


def response_of_ours(request):
    _note_view()
    return EventStreamResponse(_async_values(_as_it_is, request, seconds=_seconds(request)))


def _channel(request, initial):
    _note_view()
    return Subscription("surrounded", initial=initial)


@channel_stream
def channel_sync_initial(request):
    def initial():
        yield context()
        yield context()
        yield request.user.pk if hasattr(request, "user") else None

    return _channel(request, initial)


@channel_stream
async def channel_async_initial(request):
    async def initial():
        yield context()
        await asyncio.sleep(0)
        yield context()
        yield request.user.pk if hasattr(request, "user") else None

    return _channel(request, initial)


class WithItsOwnIterator(StreamingHttpResponse):
    """Frames what its view yields as it is iterated."""

    def __aiter__(self):
        return self._framed()

    async def _framed(self):
        async for part in super().__aiter__():
            yield b"data: " + part + b"\n\n"


async def own_iterator(request):
    _note_view()
    values = _async_values(_as_it_is, request, seconds=_seconds(request))
    return WithItsOwnIterator(values, content_type="text/event-stream")


# The same, as a class, a partial, an object and a decorated method.


class AsyncClass(View):
    @event_stream
    async def get(self, request):
        async for value in _async_values(_as_it_is, request, seconds=_seconds(request)):
            yield value


class SyncClass(View):
    @event_stream
    def get(self, request):
        yield from _sync_values(_as_it_is, request, seconds=_seconds(request))


@method_decorator(event_stream, name="get")
class AsyncMethod(View):
    async def get(self, request):
        async for value in _async_values(_as_it_is, request, seconds=_seconds(request)):
            yield value


@method_decorator(event_stream, name="get")
class SyncMethod(View):
    def get(self, request):
        yield from _sync_values(_as_it_is, request, seconds=_seconds(request))


async def _with_argument(argument, request):
    async for value in _async_values(_as_it_is, request, seconds=_seconds(request)):
        yield value


class AsyncObject:
    async def __call__(self, request):
        async for value in _async_values(_as_it_is, request, seconds=_seconds(request)):
            yield value


class SyncObject:
    def __call__(self, request):
        yield from _sync_values(_as_it_is, request, seconds=_seconds(request))


class ChannelClass(View):
    async def get(self, request):
        return "surrounded"


class ChannelObject:
    async def __call__(self, request):
        return "surrounded"


STREAMS = {
    "plain-async": plain_async,
    "plain-sync": plain_sync,
    "bare": bare,
    "plain-own-iterator": own_iterator,
    "decorated-async": decorated_async,
    "decorated-sync": decorated_sync,
    "response": response_of_ours,
    "channel-sync-initial": channel_sync_initial,
    "channel-async-initial": channel_async_initial,
}
FORMS = {
    "class-async": AsyncClass.as_view(),
    "class-sync": SyncClass.as_view(),
    "method-async": AsyncMethod.as_view(),
    "method-sync": SyncMethod.as_view(),
    "partial": event_stream(functools.partial(_with_argument, "x")),
    "object-async": event_stream(AsyncObject()),
    "object-sync": event_stream(SyncObject()),
}
CHANNEL_FORMS = {
    "channel-class": channel_stream(ChannelClass.as_view()),
    "channel-partial": channel_stream(functools.partial(lambda name, request: name, "surrounded")),
    "channel-object": channel_stream(ChannelObject()),
}


# Views that read their body, or do not.


async def read_in_pieces(request):
    size = 0
    while piece := request.read(1024):
        size += len(piece)

    async def values():
        yield _framed(size)

    return StreamingHttpResponse(values(), content_type="text/event-stream")


async def ignore_body(request):
    async def values():
        yield _framed("nobody asked")

    return StreamingHttpResponse(values(), content_type="text/event-stream")


@event_stream(methods=["POST"])
async def body_while_streaming(request):
    yield "begun"
    await asyncio.sleep(0.5)  # the request is over
    yield len(request.body)


@event_stream(methods=["POST"])
async def form_while_streaming(request):
    yield "begun"
    await asyncio.sleep(0.5)
    yield request.POST["name"]


urlpatterns = [
    *(path(f"{name}/", view) for name, view in {**STREAMS, **FORMS, **CHANNEL_FORMS}.items()),
    path("read/", read_in_pieces),
    path("ignore/", ignore_body),
    path("body/", body_while_streaming),
    path("form/", form_while_streaming),
    path("", lambda request: HttpResponse("a page")),
]
