"""Streams that read their tenant's notes, each in two steps with a pause: another thread, another connection."""

import asyncio
import time

from asgiref.sync import sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse
from django.urls import path

from serversent import Subscription, channel_stream, event_stream

from .notes.models import Note

PAUSE_SECONDS = 0.8


def prepare_connections(request):
    tenant = request.tenant
    return lambda: connection.set_tenant(tenant)


def notes():
    return list(Note.objects.values_list("text", flat=True))


@event_stream
async def decorated_async(request):
    yield await sync_to_async(notes)()
    await asyncio.sleep(PAUSE_SECONDS)
    yield await sync_to_async(notes)()


@event_stream
def decorated_sync(request):
    yield notes()
    time.sleep(PAUSE_SECONDS)
    yield notes()


async def plain(request):
    async def values():
        yield f"data: {await sync_to_async(notes)()}\n\n"
        await asyncio.sleep(PAUSE_SECONDS)
        yield f"data: {await sync_to_async(notes)()}\n\n"

    return StreamingHttpResponse(values(), content_type="text/event-stream")


@channel_stream
def channel(request):
    def initial():
        yield notes()
        yield notes()

    return Subscription(f"{request.tenant.schema_name}.notes", initial=initial)


urlpatterns = [
    path("decorated-async/", decorated_async),
    path("decorated-sync/", decorated_sync),
    path("plain/", plain),
    path("channel/", channel),
]
