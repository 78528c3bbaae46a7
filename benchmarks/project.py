"""The server's side of the benchmark: one project, some ways to push. ``CONTENDER`` says which application serves it,
``BROKER`` and ``DATABASE`` (JSON) with what. Without a database for all processes, ``/publish/`` publishes here.
"""

import asyncio
import gc
import json
import os

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.asgi import get_asgi_application as get_django_asgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path

from .publisher import publish_all

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
    SERVERSENT={
        "BROKERS": {"default": {"BACKEND": f"serversent.brokers.{os.environ['BROKER']}"}},
        "HEARTBEAT_SECONDS": int(os.environ.get("HEARTBEAT_SECONDS", 15)),
        "REPLAY_BYTES": int(os.environ.get("REPLAY_BYTES", 2 * 1024 * 1024)),
    },
    DATABASES={"default": json.loads(os.environ["DATABASE"])},
    SESSION_COOKIE_NAME="session",
    LOGGING_CONFIG=None,
)
django.setup()

from serversent import asend_event, channel_stream, cursor, event_stream  # noqa: E402
from serversent.asgi import get_asgi_application  # noqa: E402
from serversent.brokers.database import DatabaseBroker  # noqa: E402
from serversent.channels.hub import hub  # noqa: E402

queues: set[asyncio.Queue[str]] = set()
tasks: set[asyncio.Task[None]] = set()
reads = {"count": 0}


def counted(name):
    method = getattr(DatabaseBroker, name)

    async def read(self, *args):
        reads["count"] += 1
        return await method(self, *args)

    setattr(DatabaseBroker, name, read)


for name in ("head", "read", "recent", "closed"):
    counted(name)


async def plain(request):
    """What people write today: a queue for each connection, in a StreamingHttpResponse."""

    async def body():
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        yield ": stream\n\n"  # some servers keep the headers back until there is a body
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
    return request.GET["channel"]


@login_required
@channel_stream
def private(request):
    return "bench"


def page(request):
    return HttpResponse("An ordinary answer of an ordinary view.")


async def send(channel, data):
    """Send an event from within this process, the contender's way."""
    if CONTENDER == "django-eventstream":
        from django_eventstream import send_event

        await sync_to_async(send_event)(channel, "message", data, json_encode=False)
    elif CONTENDER == "serversent-channel":
        await asend_event(channel, data)
    else:
        for queue in queues:
            queue.put_nowait(data)


async def publish(request):
    """Publish events by a task of the server's, so that no request is among the measured work."""
    order = {name: float(value) for name, value in request.GET.items()}
    tasks.add(asyncio.create_task(publish_all(send, **order)))
    return HttpResponse()


async def collect(request):
    """Free what is garbage already: it is not the memory of a connection."""
    gc.collect()
    return HttpResponse()


async def state(request):
    """Tell where the log stands, how often it was read, and how many streams wait for their clients."""
    groups = hub("default")._subscribers._groups.values()
    waiting = sum(len(group.subscribers) - len(group._fast) - len(group._slow) for group in groups)
    at = await sync_to_async(cursor)()
    return JsonResponse({"cursor": str(at), "reads": reads["count"], "waiting": waiting})


urlpatterns = [
    path("plain/", plain),
    path("decorated/", decorated),
    path("stream/", channel),
    path("private/", private),
    path("page/", page),
    path("publish/", publish),
    path("collect/", collect),
    path("state/", state),
]
if CONTENDER == "django-eventstream":
    import django_eventstream

    urlpatterns.append(path("eventstream/", include(django_eventstream.urls), {"channels": ["bench"]}))

application = (get_asgi_application if CONTENDER.startswith("serversent") else get_django_asgi_application)()
