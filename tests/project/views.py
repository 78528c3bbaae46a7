"""Views for the tests. What their generators did is seen from outside through ``/state/``."""

import asyncio
import json
import sys
import threading
import time
from contextvars import ContextVar

import anyio
from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, get_user_model, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.transaction import non_atomic_requests
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import translation
from django.views import View

from serversent import (
    ServerSentEvent,
    Subscription,
    channel_stream,
    close_channel,
    end_streams,
    event_stream,
    send_event,
    sse_url,
)
from serversent.models import Event
from serversent.serving.registry import connection_registry

from . import middleware_for_reload  # noqa: F401

started: list[str] = []
closed: list[str] = []
flooded = 0  # events of 100 kB that the server took
late_event_is_wanted = threading.Event()
variable: ContextVar[int] = ContextVar("variable")


class noted:
    """Notes that a generator started, and that its ``finally`` block ran."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        started.append(self.name)

    def __exit__(self, *error):
        closed.append(self.name)


@login_not_required
def index(request):
    return HttpResponse("index")


@non_atomic_requests
@login_not_required
async def state(request):
    return JsonResponse(
        {
            "started": started,
            "closed": closed,
            "flooded": flooded,
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "tasks": len(asyncio.all_tasks()),
            "open": len(connection_registry()),
        }
    )


@non_atomic_requests
@login_not_required
async def log_in(request):
    user, _ = await get_user_model().objects.aget_or_create(username=request.GET.get("user", "ada"))
    await alogin(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return HttpResponse("welcome")


@event_stream
async def async_ticks(request):
    with noted("async"):
        number = 0
        while True:
            yield {"number": number}
            number += 1
            await asyncio.sleep(0.05)


@event_stream
def sync_ticks(request):
    with noted("sync"):
        number = 0
        while True:
            yield {"number": number}
            number += 1
            time.sleep(0.05)


class Ticks(View):
    @event_stream
    async def get(self, request):
        yield {"method": "get"}

    @event_stream
    async def post(self, request):
        yield {"method": "post", "body": request.body.decode()}


def plain_fails(request):
    async def body():
        yield "data: half\n\n"
        await asyncio.sleep(0.1)
        raise ValueError("a secret")

    return StreamingHttpResponse(body(), content_type="text/event-stream")


def plain_async(request):
    async def body():
        with noted("plain-async"):
            number = 0
            while True:
                yield f"data: {number}\n\n"
                number += 1
                await asyncio.sleep(0.05)

    return StreamingHttpResponse(body(), content_type="text/event-stream")


def plain_sync(request):
    def body():
        with noted("plain-sync"):
            number = 0
            while True:
                yield f"data: {number}\n\n"
                number += 1
                time.sleep(0.05)

    return StreamingHttpResponse(body(), content_type="text/event-stream")


@event_stream
async def three(request):
    with noted("three"):
        for number in range(3):
            yield number


@event_stream(restart=True)
async def restarting(request):
    with noted("restarting"):
        yield "again"


@event_stream
async def silent(request):
    with noted("silent"):
        await asyncio.sleep(3600)
        yield "never"


@event_stream
async def late(request):
    """Its event comes when another request asks for it."""
    late_event_is_wanted.clear()
    with noted("late"):
        while not late_event_is_wanted.is_set():
            await asyncio.sleep(0.05)
        yield "late"
        await asyncio.sleep(3600)


def send_late_event(request):
    late_event_is_wanted.set()
    return HttpResponse()


@event_stream
async def error(request, kind):
    raise {"500": ValueError("a secret"), "404": Http404("gone"), "403": PermissionDenied("no")}[kind]
    yield


@event_stream
async def refused_later(request):
    with noted("refused-later"):
        await asyncio.sleep(0.5)
        raise Http404("gone")
        yield


@event_stream
async def error_later(request):
    with noted("error-later"):
        yield "first"
        raise ValueError("a secret")


@event_stream
async def unencodable(request):
    with noted("unencodable"):
        yield "first"
        yield object()


@event_stream
async def framed(request):
    yield "data: framed by hand\n\n"


@event_stream(methods=["POST"])
async def echo(request):
    await asyncio.sleep(0.4)  # beyond the hand-off
    yield json.loads(request.body)
    yield ServerSentEvent("done", event="done", id="7")


@event_stream
async def language(request):
    for _ in range(3):
        yield translation.get_language()
        await asyncio.sleep(0.2)


@event_stream
async def big(request):
    yield "x" * 10_000_000


@event_stream
async def user_async(request):
    user = await request.auser()
    with noted("user"):
        yield str(user)
        await asyncio.sleep(3600)


def user_plain(request):
    name = str(request.user)

    async def body():
        with noted("user-plain"):
            again = await sync_to_async(lambda: str(request.user))()
            yield f"data: {name} {again}\n\n"
            await asyncio.sleep(3600)

    return StreamingHttpResponse(body(), content_type="text/event-stream")


@event_stream
async def query_and_sleep(request):
    with noted("query-and-sleep"):
        while True:
            await get_user_model().objects.acount()
            await asyncio.sleep(120)
            if await get_user_model().objects.filter(username="nobody").aexists():
                yield "news"


NAMES = ("ada", "grace", "hedy")  # who is in a new database; tests add others


async def rows_with_pauses():
    async for user in get_user_model().objects.filter(username__in=NAMES).order_by("username").aiterator(chunk_size=1):
        yield user.username
        await asyncio.sleep(0.8)


@event_stream
async def cursor(request):
    async for name in rows_with_pauses():
        yield name


@event_stream(hold_connection=True)
async def held_cursor(request):
    async for name in rows_with_pauses():
        yield name


@event_stream
async def stubborn(request):
    with noted("stubborn"):
        while True:
            try:
                yield "still here"
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass


@event_stream
async def scope_across_yields(request):
    with noted("scope"):
        token = variable.set(1)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0)
            yield variable.get()
            await asyncio.sleep(0.4)
            yield variable.get()
        variable.reset(token)


@event_stream
async def slow_cleanup(request):
    try:
        yield "first"
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(30)


@event_stream
async def flood(request):
    with noted("flood"):
        global flooded
        while True:
            yield "x" * 100_000
            flooded += 1


@event_stream
async def in_transaction(request):
    """A transaction that is open across a pause, as code with its own connection handling has it."""

    def begin():
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            cursor.execute("create temporary table kept on commit drop as select 1 as one")

    def end():
        connection.rollback()
        connection.set_autocommit(True)

    def look():
        with connection.cursor() as cursor:
            cursor.execute("select one from kept")
            return cursor.fetchone()[0]

    await sync_to_async(begin)()
    yield await sync_to_async(look)()
    await asyncio.sleep(0.8)
    yield await sync_to_async(look)()
    await sync_to_async(end)()


def half_line(request):
    async def body():
        yield "data: half"
        await asyncio.sleep(1)
        yield " and half\n\n"

    return StreamingHttpResponse(body(), content_type="text/event-stream")


@event_stream
async def big_then_silent(request):
    with noted("big-then-silent"):
        yield "x" * 20_000_000
        await asyncio.sleep(3600)


# For docs/traces.


@event_stream
async def emoji(request):
    for number in range(1000):
        yield f"🚀 {number}"
        await asyncio.sleep(1)


def one_and_close(request):
    """An answer that ends after one message, which is what the question in how-it-works.md describes."""
    return StreamingHttpResponse(iter([f"retry: 1000\ndata: {time.time():.0f}\n\n"]), content_type="text/event-stream")


@event_stream
async def ten(request):
    for number in range(10):
        yield {"number": number}


def one(request):
    return JsonResponse({"number": 0})


def touching(request):
    name = str(request.session.session_key)

    async def body():
        yield f"data: {name}\n\n"
        await asyncio.sleep(3600)

    return StreamingHttpResponse(body(), content_type="text/event-stream")


def modules(request):
    return JsonResponse({name: name in sys.modules for name in ("django", "serversent", "channels")})


# Channels.


@channel_stream
def channels(request):
    """Whatever the query asks for."""
    names = request.GET.getlist("channel")
    if "state" in request.GET:
        return Subscription(names, initial=lambda: ServerSentEvent({"state": 1}, event="state"))
    control_events = "plain" not in request.GET
    if "oldest" in request.GET:
        return Subscription(names, start="oldest", control_events=control_events)
    if "latest" in request.GET:
        return Subscription(names, start="latest")
    if "seconds" in request.GET:
        return Subscription(names, expires=float(request.GET["seconds"]), control_events=control_events)
    if not control_events:
        return Subscription(names, control_events=False)
    return names


@login_not_required
def send(request):
    """Publish from within this server; ``padding``: bytes more of data."""
    data = request.GET["data"] + "x" * int(request.GET.get("padding", 0))
    send_event(request.GET["channel"], data, event=request.GET.get("event", "message"))
    return HttpResponse("sent")


@login_not_required
def log(request):
    """The whole log, as it is in the database: what every reader of all channels must have got."""
    return JsonResponse(list(Event.objects.order_by("id").values_list("id", "channel", "data")), safe=False)


@login_not_required
def close(request):
    close_channel(request.GET["channel"])
    return HttpResponse("closed")


# Who may listen.


@login_not_required
def url(request):
    return HttpResponse(
        sse_url(request, *request.GET.getlist("channel"), expires=float(request.GET.get("expires", 60)))
    )


@login_not_required
def page(request):
    return render(request, "page.html", {"order": 5})


@login_not_required
def log_out(request):
    logout(request)
    return HttpResponse("bye")


@login_not_required
def change_password(request):
    request.user.set_password("another")
    request.user.save()
    update_session_auth_hash(request, request.user)
    return HttpResponse("changed")


@login_not_required
def change_user(request, change):
    user = get_user_model().objects.get(username=request.GET["user"])
    if change == "deactivate":
        user.is_active = False
        user.save()
    elif change == "delete":
        user.delete()
    return HttpResponse(change)


@login_not_required
def end(request):
    """End the streams of who or what the query names."""
    user = request.GET.get("user")
    end_streams(
        user=user and get_user_model().objects.get(username=user),
        session=request.GET.get("session"),
        channel=request.GET.get("channel"),
    )
    return HttpResponse("ended")
