"""Views of Django REST Framework that stream."""

import asyncio

from django.urls import path
from rest_framework.decorators import action, api_view, renderer_classes
from rest_framework.exceptions import NotFound
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from serversent import Subscription
from serversent.contrib.drf import EventStreamRenderer, channel_stream, event_stream


async def ticks():
    yield "tick"
    await asyncio.sleep(60)


class Stream(APIView):
    renderer_classes = [EventStreamRenderer]
    authentication_classes = []


class SyncClock(Stream):
    @event_stream
    def get(self, request):
        yield "tick"
        yield "tock"


class AsyncClock(Stream):
    @event_stream
    async def get(self, request):
        async for tick in ticks():
            yield tick


class News(Stream):
    @channel_stream
    def get(self, request):
        return Subscription("news", initial=lambda: "state")


class AsyncNews(Stream):
    @channel_stream
    async def get(self, request):
        return Subscription("news", initial=lambda: "state")


@api_view(["GET"])
@renderer_classes([EventStreamRenderer])
@event_stream
async def function(request):
    async for tick in ticks():
        yield tick


class Orders(ViewSet):
    authentication_classes = []
    renderer_classes = [JSONRenderer, BrowsableAPIRenderer, EventStreamRenderer]

    def list(self, request):
        return Response([{"name": "<b>Ada</b>"}])

    @action(detail=True)
    @channel_stream
    def events(self, request, pk):
        return Subscription("news", initial=lambda: f"order {pk}")

    @action(detail=True)
    @event_stream
    async def missing(self, request, pk):
        raise NotFound(f"no order <b>{pk}</b>")
        yield


class Private(Stream):
    permission_classes = [IsAuthenticated]

    @channel_stream
    def get(self, request):
        return "news"


class WithoutRenderer(APIView):
    authentication_classes = []

    @event_stream
    def get(self, request):
        yield "tick"


urlpatterns = [
    path("sync/", SyncClock.as_view()),
    path("async/", AsyncClock.as_view()),
    path("news/", News.as_view()),
    path("async-news/", AsyncNews.as_view()),
    path("function/", function),
    path("orders/", Orders.as_view({"get": "list"})),
    path("orders/<int:pk>/events/", Orders.as_view({"get": "events"})),
    path("orders/<int:pk>/missing/", Orders.as_view({"get": "missing"})),
    path("private/", Private.as_view()),
    path("without/", WithoutRenderer.as_view()),
]
