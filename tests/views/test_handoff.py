"""The hand-off, moment by moment: a client that leaves, and middleware that replaces or raises, at the worst times.

The server is played here, because no real one can be stopped at these points.
"""

import asyncio
import gc
import threading
from contextlib import suppress

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_finished
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path
from django.views import View

from serversent import EventStreamResponse, event_stream
from serversent.asgi import ASGIHandler
from serversent.serving.generator_stream import GeneratorStream
from serversent.serving.registry import connection_registry
from tests.waiting import DEADLINE_SECONDS

closed: list[str] = []
entered: list[str] = []
gate: dict[str, asyncio.Event] = {}


@event_stream
async def ticks(request):
    entered.append("ticks")
    try:
        while True:
            yield "tick"
            await asyncio.sleep(0.01)
    finally:
        closed.append("ticks")


@event_stream
async def slow_start(request):
    entered.append("slow")
    try:
        await asyncio.sleep(3600)
        yield "never"
    finally:
        closed.append("slow")


@event_stream
def sync_ticks(request):
    entered.append("sync")
    try:
        while True:
            yield "tick"
    finally:
        closed.append("sync")


def plain(request):
    async def body():
        entered.append("plain")
        try:
            while True:
                yield b"data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            closed.append("plain")

    return StreamingHttpResponse(body(), content_type="text/event-stream")


async def undecorated(request):
    async def body():
        entered.append("undecorated")
        try:
            while True:
                yield "tick"
                await asyncio.sleep(0.01)
        finally:
            closed.append("undecorated")

    return EventStreamResponse(body())


async def slow_view(request):
    try:
        await asyncio.sleep(3600)
    finally:
        closed.append("view")


class Source:
    """An async iterable with a sync ``close()``, as memory streams and clients of other services have it."""

    def __init__(self):
        entered.append("source")
        self.left = 3

    def __aiter__(self):
        return self

    async def __anext__(self):
        if "source" in closed:
            raise RuntimeError("the source was closed")
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return b"data: tick\n\n"

    def close(self):
        closed.append("source")


def closeable(request):
    return StreamingHttpResponse(Source(), content_type="text/event-stream")


def late_reader(request):
    async def body():
        await asyncio.sleep(0.05)
        uploaded = request.FILES["f"].read() if request.content_type.startswith("multipart") else request.body
        yield b"data: %s\n\n" % uploaded

    return StreamingHttpResponse(body(), content_type="text/event-stream")


async def late_reader_of_ours(request):
    async def body():
        await asyncio.sleep(0.05)
        yield request.body.decode()

    return EventStreamResponse(body())


@event_stream(methods=["POST"])
async def late_file(request):
    await asyncio.sleep(0.4)
    yield request.FILES["f"].read().decode()


def with_cookie(request):
    response = plain(request)
    response.set_cookie("a", "b")
    return response


@event_stream
async def cancelled(request):
    yield "tick"
    raise asyncio.CancelledError


class late_stream(View):
    """A view that goes on working after the server gave up on its request, and makes a stream then."""

    async def get(self, request):
        entered.append("late")
        with suppress(asyncio.CancelledError):
            await gate["late"].wait()
        try:
            return await ticks(request)
        finally:
            closed.append("late")


urlpatterns = [
    path("closeable/", closeable),
    path("late-reader/", late_reader),
    path("late-reader-of-ours/", late_reader_of_ours),
    path("late-file/", late_file),
    path("with-cookie/", with_cookie),
    path("cancelled/", cancelled),
    path("late-stream/", late_stream.as_view()),
    path("ticks/", ticks),
    path("slow-start/", slow_start),
    path("sync/", sync_ticks),
    path("plain/", plain),
    path("undecorated/", undecorated),
    path("slow-view/", slow_view),
]


def replacing(get_response):
    def middleware(request):
        get_response(request)
        return HttpResponse("replaced", status=418)

    return middleware


def raising(get_response):
    def middleware(request):
        get_response(request)
        raise ValueError("over the response")

    return middleware


def wrapping(get_response):
    def middleware(request):
        response = get_response(request)
        inner = response.streaming_content

        async def shout():
            async for part in inner:
                yield part.upper()

        response.streaming_content = shout()
        return response

    return middleware


class Server:
    """One request, as a server would run it."""

    def __init__(self, path, method="GET", body=b"", content_type="text/plain"):
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))],
            "query_string": b"",
            "http_version": "1.1",
            "server": ("127.0.0.1", 80),
        }
        self.messages = asyncio.Queue()
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.receiving = 0
        self.receive_cancelled = False
        self.sent = []
        self.tried = []
        self.changed = asyncio.Condition()
        self.before_headers = None  # awaited before the headers are taken
        self.send_error = None

    async def receive(self):
        self.receiving += 1
        assert self.receiving == 1, "two receives at once"
        try:
            return await self.messages.get()
        except asyncio.CancelledError:
            self.receive_cancelled = self.receive_cancelled or not self.finished
            raise
        finally:
            self.receiving -= 1

    async def send(self, message):
        self.tried.append(message["type"])
        if message["type"] == "http.response.start" and self.before_headers:
            await self.before_headers()
        if self.send_error:
            raise self.send_error
        async with self.changed:
            self.sent.append(message)
            self.changed.notify_all()

    finished = False

    async def run(self, application):
        try:
            await application(self.scope, self.receive, self.send)
        finally:
            self.finished = True

    def disconnect(self):
        self.messages.put_nowait({"type": "http.disconnect"})

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)

    async def until(self, condition):
        async with asyncio.timeout(DEADLINE_SECONDS), self.changed:
            await self.changed.wait_for(condition)


@pytest.fixture(autouse=True)
def clean():
    closed.clear()
    entered.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield


@pytest.fixture
def application():
    return ASGIHandler()


def with_middleware(*names):
    with override_settings(MIDDLEWARE=[f"{__name__}.{name}" for name in names]):
        return ASGIHandler()


@pytest.fixture(autouse=True)
async def nothing_left():
    """After each test: no task, no thread, no open connection, and every generator that was entered is closed."""
    tasks = asyncio.all_tasks()
    yield
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (
            asyncio.all_tasks() - tasks - {asyncio.current_task()}
            or any(thread.name == "serversent-stream" for thread in threading.enumerate())
            or len(connection_registry())
            or sorted(closed) != sorted([*entered, *(["view"] if "view" in closed else [])])
        ):
            await asyncio.sleep(0.01)
    gc.collect()  # an exception nobody retrieved would be reported here, and is an error


async def finish(task):
    async with asyncio.timeout(DEADLINE_SECONDS):
        await task


async def test_1_the_client_leaves_during_the_view(application):
    server = Server("/slow-view/")
    task = asyncio.create_task(server.run(application))
    await asyncio.sleep(0)
    server.disconnect()
    await finish(task)
    assert server.sent == []
    assert closed == ["view"]


async def test_2_the_client_leaves_while_the_first_event_is_awaited(application):
    server = Server("/slow-start/")
    task = asyncio.create_task(server.run(application))
    while not entered:
        await asyncio.sleep(0)
    server.disconnect()
    await finish(task)
    assert server.sent == []
    assert closed == ["slow"]


@pytest.mark.parametrize("path", ["/ticks/", "/plain/", "/sync/", "/undecorated/"])
async def test_3_the_client_leaves_while_the_headers_are_sent(application, path):
    server = Server(path)

    async def leave():
        server.disconnect()
        await asyncio.sleep(3600)

    server.before_headers = leave
    await finish(asyncio.create_task(server.run(application)))
    assert server.tried == ["http.response.start"]
    assert server.sent == []


@pytest.mark.parametrize("path", ["/ticks/", "/plain/", "/sync/", "/undecorated/"])
async def test_4_the_client_leaves_in_the_moment_of_the_hand_off(application, path):
    """Between Django's last await and the stream's first: the disconnect, reported once, is Django's to see."""
    server = Server(path)

    def leave(**kwargs):
        server.disconnect()

    request_finished.connect(leave)
    try:
        await finish(asyncio.create_task(server.run(application)))
    finally:
        request_finished.disconnect(leave)
    assert server.sent[0]["type"] == "http.response.start"


@pytest.mark.parametrize("path", ["/ticks/", "/plain/", "/sync/", "/undecorated/"])
async def test_5_the_client_leaves_after_the_hand_off(application, path):
    server = Server(path)
    task = asyncio.create_task(server.run(application))
    await server.until(lambda: server.body.count(b"data: tick\n\n") >= 3)
    server.disconnect()
    await finish(task)
    assert not server.receive_cancelled


@pytest.mark.parametrize("path", ["/ticks/", "/slow-start/", "/sync/"])
async def test_6_middleware_replaces_the_response(path):
    server = Server(path)
    await finish(asyncio.create_task(server.run(with_middleware("replacing"))))
    assert server.sent[0]["status"] == 418
    assert server.body == b"replaced"
    assert len(entered) == 1


@pytest.mark.parametrize("path", ["/ticks/", "/slow-start/", "/sync/"])
async def test_7_middleware_raises_over_the_response(path):
    server = Server(path)
    await finish(asyncio.create_task(server.run(with_middleware("raising"))))
    assert server.sent[0]["status"] == 500
    assert len(entered) == 1


@pytest.mark.parametrize("path", ["/ticks/", "/sync/", "/plain/"])
async def test_8_middleware_replaces_the_body(path):
    server = Server(path)
    task = asyncio.create_task(server.run(with_middleware("wrapping")))
    await server.until(lambda: b"DATA: TICK\n\n" in server.body)
    assert b"data:" not in server.body
    server.disconnect()
    await finish(task)


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("the handler is closed")])
@pytest.mark.parametrize("path", ["/ticks/", "/plain/", "/sync/"])
async def test_9_send_says_by_an_error_that_the_client_is_gone(application, path, error, caplog):
    server = Server(path)
    server.send_error = error
    await finish(asyncio.create_task(server.run(application)))
    assert server.tried == ["http.response.start"]  # no body without headers
    server = Server(path)
    task = asyncio.create_task(server.run(application))
    await server.until(lambda: b"data: tick" in server.body)
    server.send_error = error
    await finish(task)
    assert not [record for record in caplog.records if record.exc_info]


async def test_the_request_is_finished_once_and_before_the_stream(application):
    finished = []

    def note(**kwargs):
        finished.append(server.body)

    server = Server("/ticks/")
    request_finished.connect(note)
    try:
        task = asyncio.create_task(server.run(application))
        await server.until(lambda: server.body.count(b"tick") >= 3)
        server.disconnect()
        await finish(task)
    finally:
        request_finished.disconnect(note)
    assert finished == [b""]


async def test_a_receiver_that_finishes_the_request_badly_leaves_nothing(application):
    def fail(**kwargs):
        raise ValueError("in a receiver")

    server = Server("/ticks/")
    request_finished.connect(fail)
    try:
        with pytest.raises(ValueError, match="in a receiver"):
            await finish(asyncio.create_task(server.run(application)))
    finally:
        request_finished.disconnect(fail)


async def test_the_server_cancels_the_request(application):
    """As Daphne does when it stops: the body still gets its end."""
    server = Server("/ticks/")
    task = asyncio.create_task(server.run(application))
    await server.until(lambda: b"tick" in server.body)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finish(task)
    assert server.sent[-1]["more_body"] is False


@pytest.mark.parametrize("order", [("drain", "cancel"), ("cancel", "drain")])
async def test_the_server_cancels_while_the_stream_ends_by_itself(application, order):
    """Two reasons in one turn of the loop: the server's cancellation must not be taken for the other."""
    server = Server("/ticks/")
    task = asyncio.create_task(server.run(application))
    await server.until(lambda: b"tick" in server.body)
    for what in order:
        if what == "drain":
            next(iter(connection_registry())).drain(1.0)
        else:
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finish(task)
    assert server.sent[-1]["more_body"] is False


async def test_a_stream_that_ends_by_itself_leaves_the_task_uncancelled(application):
    """A server, or middleware around the application, may await something after it."""
    server = Server("/ticks/")

    async def around():
        await server.run(application)
        return asyncio.current_task().cancelling()

    task = asyncio.create_task(around())
    await server.until(lambda: b"tick" in server.body)
    next(iter(connection_registry())).drain(1.0)
    await finish(task)
    assert task.result() == 0


def requests_and_responses():
    gc.collect()
    return [kept for kept in gc.get_objects() if type(kept) in (ASGIRequest, StreamingHttpResponse)]


async def test_the_request_does_not_live_on_with_a_plain_stream(application):
    before = requests_and_responses()
    server = Server("/plain/")
    task = asyncio.create_task(server.run(application))
    await server.until(lambda: b"tick" in server.body)
    assert len(requests_and_responses()) <= len(before)
    server.disconnect()
    await finish(task)


MULTIPART = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nsent\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/late-reader/", "text/plain"),
        ("/late-reader-of-ours/", "text/plain"),
        ("/late-reader/", "multipart/form-data; boundary=x"),
        ("/late-file/", "multipart/form-data; boundary=x"),
    ],
)
async def test_the_body_of_a_request_can_be_read_after_the_hand_off(application, path, content_type):
    body = MULTIPART if "multipart" in content_type else b"sent"
    server = Server(path, "POST", body, content_type)
    await finish(asyncio.create_task(server.run(application)))
    assert b"data: sent\n\n" in server.body


async def test_a_source_is_closed_when_the_stream_is_over_and_not_before(application):
    server = Server("/closeable/")
    await finish(asyncio.create_task(server.run(application)))
    assert server.body == b"data: tick\n\n" * 3
    assert closed == ["source"]


async def test_head_keeps_the_cookies(application):
    server = Server("/with-cookie/", "HEAD")
    await finish(asyncio.create_task(server.run(application)))
    assert (b"Set-Cookie", b"a=b; Path=/") in server.sent[0]["headers"]


async def test_a_generator_that_is_cancelled_from_within_is_logged(application, caplog):
    server = Server("/cancelled/")
    await finish(asyncio.create_task(server.run(application)))
    assert server.sent[-1]["more_body"] is False
    assert "tests.views.test_handoff.cancelled was cancelled from within" in caplog.text


def test_the_end_of_the_loop_is_no_error_of_the_generator(logged):
    async def values():
        yield "first"
        await asyncio.sleep(60)

    written = []

    async def serve():
        driver = GeneratorStream(values(), name="name")
        driver.attach(written.append, lambda _: None)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not written:
                await asyncio.sleep(0)

    asyncio.run(serve())
    assert written == [b"data: first\n\n"]
    assert not logged


# Django 5.2 leaves the file of the body open when a request is cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed file:ResourceWarning")
async def test_a_stream_that_is_made_after_the_server_gave_up(application):
    gate["late"] = asyncio.Event()
    server = Server("/late-stream/")
    task = asyncio.create_task(server.run(application))
    while not entered:
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    gate["late"].set()
    server.disconnect()  # where the view has swallowed the cancellation, the stream is served till now
    with suppress(asyncio.CancelledError):
        await finish(task)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while "late" not in closed:  # and the stream, if its generator was entered at all: nothing_left() waits for it
            await asyncio.sleep(0)
    gc.collect()


async def test_other_responses_are_django_s(application):
    server = Server("/nowhere/")
    await finish(asyncio.create_task(server.run(application)))
    assert server.sent[0]["status"] == 404


async def test_only_http_is_served(application):
    with pytest.raises(ValueError, match="Django can only handle ASGI/HTTP"):
        await application({"type": "websocket"}, None, None)
