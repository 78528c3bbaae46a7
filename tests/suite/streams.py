"""The streams of the suite, and their URLs."""

import asyncio
import time

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import include, path

from serversent import Subscription, channel_stream, event_stream, send_event


def names():
    return list(get_user_model().objects.order_by("username").values_list("username", flat=True))


@channel_stream
def news(request):
    return "news"


@channel_stream
def users(request):
    return Subscription("users", initial=names)


@login_required
@channel_stream
def mine(request):
    return f"user-{request.user.pk}"


@event_stream
async def async_names(request):
    for name in await sync_to_async(names)():
        yield name
    while True:
        await asyncio.sleep(0.05)
        yield len(await sync_to_async(names)())


@event_stream
def sync_names(request):
    yield from names()
    while True:
        time.sleep(0.05)
        yield len(names())


def send(request):
    get_user_model().objects.create_user("of a view")
    send_event("news", "from a view")
    return HttpResponse()


urlpatterns = [
    path("news/", news),
    path("users/", users),
    path("mine/", mine),
    path("async-names/", async_names),
    path("sync-names/", sync_names),
    path("send/", send),
    path("notifications/", include("serversent.notifications.urls")),
]
