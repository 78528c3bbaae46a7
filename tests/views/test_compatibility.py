"""Packages of others that return streams, or stand around them: the table in docs/howto-clients.md."""

import asyncio
import json
import re
import types

import pytest
from channels.routing import ProtocolTypeRouter
from django.contrib.auth import get_user_model
from django.http import StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from serversent import Subscription, channel_stream, event_stream
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
from serversent.serving.registry import connection_registry
from serversent.testing import open_stream
from tests.drf_views import ticks

SECONDS = 20
ACCEPT = {"Accept": "text/event-stream"}
MEMORY = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}
APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "serversent",
    "rest_framework",
    "django_htmx",
    "turbo_response",
]


@pytest.fixture(autouse=True)
def project():
    memory.clear()
    with override_settings(SERVERSENT=MEMORY, MIDDLEWARE=[], INSTALLED_APPS=APPS):
        yield


def serving(*patterns, **settings):
    urls = types.ModuleType("urls")
    urls.urlpatterns = list(patterns)
    return override_settings(ROOT_URLCONF=urls, **settings)


async def check_stream(url, *wanted, headers=ACCEPT, application=None):
    """Check that a URL serves these events, and that the hand-off has its stream."""
    async with open_stream(application or get_asgi_application(), url, headers=headers) as stream:
        assert stream.status == 200, stream.body
        assert stream.headers["content-type"].startswith("text/event-stream")
        taken = await stream.take(len(wanted), SECONDS)
        assert [event.data for event in taken] == list(wanted)
        async with asyncio.timeout(SECONDS):
            while len(connection_registry()) != 1:
                await asyncio.sleep(0.01)
    assert len(connection_registry()) == 0


async def answer_of(url, headers=ACCEPT):
    async with open_stream(get_asgi_application(), url, headers=headers) as stream:
        await stream._exchange.until(lambda: stream._exchange.is_over, SECONDS, "no end")
        return stream.status, stream.headers["content-type"], stream.body.decode()


# Django REST Framework.


@pytest.mark.parametrize(
    ("url", "data"),
    [
        ("/async/", ["tick"]),
        ("/news/", ["state"]),
        ("/async-news/", ["state"]),
        ("/function/", ["tick"]),
        ("/orders/5/events/", ["order 5"]),
    ],
)
@pytest.mark.django_db
async def test_a_view_of_django_rest_framework(url, data):
    with override_settings(ROOT_URLCONF="tests.drf_views"):
        async with open_stream(get_asgi_application(), url, headers=ACCEPT) as stream:
            assert stream.status == 200, stream.body
            events = [event.data for event in await stream.take(1, SECONDS)]
            if events == ["{}"]:  # ready
                events = [event.data for event in await stream.take(1, SECONDS)]
            assert events == data
            assert len(connection_registry()) == 1


async def test_a_sync_generator_of_django_rest_framework():
    with override_settings(ROOT_URLCONF="tests.drf_views"):
        assert (await answer_of("/sync/"))[2].endswith("data: tick\n\ndata: tock\n\nevent: end\nid: end\ndata: {}\n\n")


@pytest.mark.parametrize(("url", "status"), [("/private/", 403), ("/orders/5/missing/", 404)])
@pytest.mark.django_db
async def test_errors_of_django_rest_framework_are_json(url, status):
    with override_settings(ROOT_URLCONF="tests.drf_views"):
        found, content_type, body = await answer_of(url)
    assert (found, content_type) == (status, "application/json")
    assert json.loads(body)["detail"]


async def test_without_the_renderer_it_is_a_406():
    with override_settings(ROOT_URLCONF="tests.drf_views"):
        assert (await answer_of("/without/"))[0] == 406


@pytest.mark.parametrize("url", ["/orders/", "/orders/5/missing/"])
async def test_the_browsable_api_escapes(url):
    with override_settings(ROOT_URLCONF="tests.drf_views"):
        _, content_type, body = await answer_of(url, {"Accept": "text/html"})
    assert content_type.startswith("text/html")
    assert "&lt;b&gt;" in body
    assert not re.search("<b>(Ada|5)", body)


@pytest.mark.django_db(transaction=True)
async def test_a_token_in_a_header_ends_with_its_user():
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.views import APIView

    from serversent import aend_streams
    from serversent.contrib.drf import EventStreamRenderer

    user = await get_user_model().objects.acreate(username="ada")

    class ByName(BaseAuthentication):
        def authenticate(self, request):
            return get_user_model().objects.get(username=request.headers["Name"]), None

    class Mine(APIView):
        renderer_classes = [EventStreamRenderer]
        authentication_classes = [ByName]

        @channel_stream
        def get(self, request):
            return f"user-{request.user.pk}"

    with serving(path("mine/", Mine.as_view())):
        async with open_stream(get_asgi_application(), "/mine/", headers={**ACCEPT, "Name": "ada"}) as stream:
            await stream.take(1, SECONDS)
            await aend_streams(user=user)
            await stream._exchange.until(lambda: stream._exchange.is_over, SECONDS, "no end")


@pytest.mark.parametrize("kind", ["class", "function"])
async def test_adrf(kind):
    from adrf.decorators import api_view
    from adrf.views import APIView
    from rest_framework.decorators import renderer_classes

    from serversent.contrib.drf import EventStreamRenderer

    class Clock(APIView):
        renderer_classes = [EventStreamRenderer]
        authentication_classes = []

        @event_stream
        async def get(self, request):
            async for tick in ticks():
                yield tick

    @api_view(["GET"])
    @renderer_classes([EventStreamRenderer])
    @event_stream
    async def function(request):
        async for tick in ticks():
            yield tick

    view = Clock.as_view() if kind == "class" else function
    with serving(path("clock/", view)):
        await check_stream("/clock/", "tick")


# Others that return text/event-stream.


async def test_django_ninja():
    from ninja import SSE, NinjaAPI

    api = NinjaAPI(urls_namespace="compatibility")

    @api.get("/clock/", response=SSE[str])
    async def clock(request):
        async for tick in ticks():
            yield tick

    @api.get("/news/")
    @channel_stream
    def news(request):
        return Subscription("news", initial=lambda: "state")

    with serving(path("", api.urls)):
        await check_stream("/clock/", '"tick"')
        await check_stream("/news/", "{}", "state")


async def test_datastar_py():
    from datastar_py.django import ServerSentEventGenerator, datastar_response

    @datastar_response
    async def clock(request):
        async for tick in ticks():
            yield ServerSentEventGenerator.patch_elements(f"<b id=clock>{tick}</b>")

    with serving(path("clock/", clock)):
        await check_stream("/clock/", "elements <b id=clock>tick</b>")


async def test_django_htmx():
    @event_stream
    async def clock(request):
        yield str(bool(request.htmx))
        await asyncio.sleep(60)

    middleware = ["django_htmx.middleware.HtmxMiddleware"]
    with serving(path("clock/", clock), MIDDLEWARE=middleware):
        await check_stream("/clock/", "True", headers={**ACCEPT, "HX-Request": "true"})


async def test_django_turbo_response():
    from turbo_response import Action, render_turbo_stream

    made = render_turbo_stream(action=Action.APPEND, content="<li>one</li>", target="news")

    @event_stream
    async def clock(request):
        yield made
        await asyncio.sleep(60)

    with serving(path("clock/", clock)):
        await check_stream("/clock/", str(made))


async def test_channels_beside_it():
    async def socket(scope, receive, send):
        raise AssertionError("no WebSocket was asked for")

    @event_stream
    async def clock(request):
        async for tick in ticks():
            yield tick

    with serving(path("clock/", clock)):
        application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": socket})
        await check_stream("/clock/", "tick", application=application)


async def test_a_plain_response_of_any_other():
    async def clock(request):
        async def body():
            yield b"data: tick\n\n"
            await asyncio.sleep(60)

        return StreamingHttpResponse(body(), content_type="text/event-stream")

    with serving(path("clock/", clock)):
        await check_stream("/clock/", "tick")
