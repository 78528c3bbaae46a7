"""The server's side of the benchmark: one project, three ways to push. ``CONTENDER`` says which application serves it.

Every way gets its events from the same place: ``POST /publish/`` in the server's own process.
"""

import asyncio
import gc
import os
import time

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application as get_django_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path

CONTENDER = os.environ["CONTENDER"]

# As startproject writes it.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

settings.configure(
    SECRET_KEY="for the benchmark only",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=MIDDLEWARE,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "serversent",
        *(["django_eventstream"] if CONTENDER == "django-eventstream" else []),
    ],
    SERVERSENT={"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    LOGGING_CONFIG=None,
)
django.setup()

from serversent import asend_event, channel_stream, event_stream  # noqa: E402
from serversent.asgi import get_asgi_application  # noqa: E402

queues: set[asyncio.Queue[str]] = set()
tasks: set[asyncio.Task[None]] = set()


async def plain(request):
    """What people write today: a queue for each connection, in a StreamingHttpResponse."""

    async def body():
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        try:
            while True:
                yield f"data: {await queue.get()}\n\n"
        finally:
            queues.discard(queue)

    return StreamingHttpResponse(body(), content_type="text/event-stream")


@event_stream
async def decorated(request):
    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


@channel_stream
def channel(request):
    return "bench"


async def publish(request):
    """Publish events by a task of the server's, so that no request is among the measured work."""
    events, interval = int(request.GET["events"]), float(request.GET["interval"])
    tasks.add(asyncio.create_task(publish_all(events, interval)))
    return HttpResponse()


async def publish_all(events, interval):
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(events):
        now = str(time.monotonic_ns())
        if CONTENDER == "django-eventstream":
            await sync_to_async(send_event)("bench", "message", now, json_encode=False)
        elif CONTENDER == "serversent-channel":
            await asend_event("bench", now)
        else:
            for queue in queues:
                queue.put_nowait(now)
        due += interval
        await asyncio.sleep(due - loop.time())


async def collect(request):
    """Free what is garbage already: it is not the memory of a connection."""
    gc.collect()
    return HttpResponse()


urlpatterns = [
    path("plain/", plain),
    path("decorated/", decorated),
    path("channel/", channel),
    path("publish/", publish),
    path("collect/", collect),
]
if CONTENDER == "django-eventstream":
    import django_eventstream
    from django_eventstream import send_event

    urlpatterns.append(path("eventstream/", include(django_eventstream.urls), {"channels": ["bench"]}))

application = (get_asgi_application if CONTENDER.startswith("serversent") else get_django_asgi_application)()
