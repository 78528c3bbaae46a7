"""Common mistakes: the error names the code to write instead."""

import logging
import re

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.template import Context, Template
from django.test import AsyncClient, AsyncRequestFactory, RequestFactory, override_settings
from django.urls import include, path

from serversent import (
    Subscription,
    asend_event,
    channel_stream,
    close_channel,
    cursor,
    end_streams,
    event_stream,
    logs,
    send_event,
    send_events,
    sse_url,
)
from serversent.asgi import get_asgi_application
from serversent.errors import BrokerUnavailable, InvalidChannel
from serversent.management.commands.serversent import Command
from serversent.notifications import send_notification
from serversent.serving import failures
from serversent.testing import open_stream
from serversent.views import refusals, response

MEMORY = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}


async def undecorated(request):
    yield "tick"


def undecorated_sync(request):
    yield "tick"


def names_alone(request):
    return "news"


def subscription_alone(request):
    return Subscription(["news"])


@event_stream
async def counting(request):
    yield get_user_model().objects.count()


@channel_stream
def state_in_async_code(request):
    async def initial():
        return get_user_model().objects.count()

    return Subscription("news", initial=initial)


urlpatterns = [
    path("undecorated/", undecorated),
    path("undecorated-sync/", undecorated_sync),
    path("names/", names_alone),
    path("subscription/", subscription_alone),
    path("counting/", counting),
    path("state/", state_in_async_code),
    path("events/", include("serversent.urls")),
]


@pytest.fixture(autouse=True)
def project():
    failures._failing.clear()
    logs._logged.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield


async def error_of(url):
    application = get_asgi_application()
    application.raise_request_exception = True
    with pytest.raises(TypeError) as error:
        response = await AsyncClientOf(application).get(url)
        pytest.fail(f"answered {response.status_code}")
    return str(error.value)


class AsyncClientOf:
    """Requests to our own handler, whose errors come through as the test client's do."""

    def __init__(self, application):
        self._application = application

    async def get(self, url):
        request = AsyncRequestFactory().get(url)
        self._application.load_middleware(is_async=True)
        return await self._application._get_response_async(request)


@pytest.mark.parametrize("url", ["/undecorated/", "/undecorated-sync/"])
async def test_a_generator_view_without_its_decorator(url):
    error = await error_of(url)
    assert "tests.views.test_mistakes.undecorated" in error
    assert "Write @event_stream directly above its def (from serversent import event_stream)" in error


@pytest.mark.parametrize("url", ["/names/", "/subscription/"])
async def test_a_channel_view_without_its_decorator(url):
    error = await error_of(url)
    assert "tests.views.test_mistakes." in error
    assert "write @channel_stream directly above its def (from serversent import channel_stream)" in error


def test_a_decorator_that_was_given_a_channel():
    with pytest.raises(TypeError, match="Write @channel_stream alone above the view, and return the names"):
        channel_stream("news")
    with pytest.raises(TypeError, match="Write @event_stream alone above the view"):
        event_stream("news")


async def test_a_sync_query_in_an_async_generator():
    with pytest.raises(SynchronousOnlyOperation) as error:
        await AsyncClient().get("/counting/")
    (note,) = error.value.__notes__
    assert note.startswith("tests.views.test_mistakes.counting is async code. Use Django's async queries")
    assert "acount()" in note
    assert "sync_to_async" in note


class _Notes(logging.Filter):
    def __init__(self):
        super().__init__()
        self.notes = []

    def filter(self, record):
        self.notes += getattr(record.exc_info[1], "__notes__", []) if record.exc_info else []
        return True


async def test_a_sync_query_in_an_async_initial_state():
    noted = _Notes()
    logging.getLogger("serversent").addFilter(noted)
    with override_settings(SERVERSENT=MEMORY):
        async with open_stream(get_asgi_application(), "/state/") as stream:
            await stream._exchange.until(lambda: stream._exchange.is_over, 20, "no end")
    logging.getLogger("serversent").removeFilter(noted)
    (note,) = noted.notes
    assert note.startswith("The initial state of tests.views.test_mistakes.state_in_async_code is async code")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda: send_event("c", "x"), "Write: await asend_event(...)"),
        (lambda: send_events([("c", "x")]), "Write: await asend_events(...)"),
        (lambda: close_channel("c"), "Write: await sync_to_async(close_channel)(...)"),
        (lambda: end_streams(channel="c"), "Write: await aend_streams(...)"),
        (lambda: cursor(), "Write: await sync_to_async(cursor)()"),
        (lambda: send_notification(1, "x"), "Write: await asend_notification(...)"),
        (
            lambda: sse_url(RequestFactory().get("/"), "c", public=True),
            "Write: await sync_to_async(sse_url)(request, ...)",
        ),
    ],
    ids=["send_event", "send_events", "close_channel", "end_streams", "cursor", "send_notification", "sse_url"],
)
async def test_a_sync_function_in_async_code(call, instead):
    with pytest.raises(SynchronousOnlyOperation, match=re.escape(instead)):
        call()


async def test_the_type_in_the_place_of_the_data():
    with pytest.raises(TypeError, match=r"Write: send_event\('c', data, event='paid'\)"):
        send_event("c", "paid", {"total": 1})
    with pytest.raises(TypeError, match=r"Write: asend_event\('c', data, event='paid'\)"):
        await asend_event("c", "paid", {"total": 1})


def rendered(tag):
    template = Template("{% load serversent %}{% " + tag + " %}")
    return template.render(Context({"request": RequestFactory().get("/")}))


@pytest.mark.parametrize("tag", ["event_stream nope public=True", "sse_url nope public=True"])
def test_an_undefined_variable_of_a_template(tag, db):
    with pytest.raises(InvalidChannel, match="the name is empty. In a template, is it an undefined variable?"):
        rendered(tag)


@pytest.mark.parametrize(
    ("attribute", "words"),
    [
        ('mode="top"', "mode='top' is none of append, html, prepend, replace"),
        ('mode="append top"', "mode='append top' is none of"),
        ('mode=""', "mode='' is none of"),
        ('limit="x"', "limit='x' is no number of events to keep"),
        ("limit=-1", "limit=-1 is no number"),
        ('event=""', 'event="" shows nothing. Name types, as in event="new, paid"'),
    ],
)
def test_a_value_that_the_element_does_not_know(attribute, words):
    with pytest.raises(ImproperlyConfigured, match=re.escape(words)):
        rendered(f'event_stream url="/clock/" {attribute}')


@pytest.mark.parametrize("attribute", ['mode="append html"', "mode='replace'", "limit=20", 'limit="0"', "limit=None"])
def test_a_value_that_it_knows(attribute):
    assert "<event-stream" in rendered(f'event_stream url="/clock/" {attribute}')


@pytest.mark.django_db
def test_a_name_in_the_place_of_a_key():
    with pytest.raises(TypeError, match=r"'ada' is no primary key of a user. Pass the user, or user.pk"):
        end_streams(user="ada")
    end_streams(user="17")
    end_streams(user=get_user_model()(pk=17))


def test_the_command_and_a_broker_in_memory(capsys):
    with override_settings(SERVERSENT=MEMORY):
        command = Command()
        command._called_from_command_line = True
        with pytest.raises(CommandError, match="'default' keeps its events in the memory of one process"):
            call_command(command, "send", "news", "x")
        call_command("serversent", "send", "news", "x")  # within a process that may have streams
    assert capsys.readouterr().out == "Sent to news\n"


async def test_a_wsgi_server_explains_polling_and_does_not_ask_to_change_asgi_py(logged):
    response._log_polling_once.cache_clear()
    response._log_plain_serving_once.cache_clear()
    with override_settings(SERVERSENT=MEMORY):
        subscription = Subscription("news")
        polled = response.EventStreamResponse(subscription, name="news", wsgi=False, polled=True)
        assert [frame async for frame in polled]
    assert len(logged) == 1
    assert "A WSGI server cannot hold streams" in logged[0][1]
    assert "asgi.py" not in logged[0][1]


def by_hand(request):
    return HttpResponse('<!doctype html><event-stream src="/clock/" autostart></event-stream>')


def a_part(request):
    return HttpResponse('<event-stream src="/clock/" autostart></event-stream>')


def by_tag(request):
    page = Template('{% load serversent %}<!doctype html>{% event_stream url="/clock/" %}{% event_stream url="/x/" %}')
    return HttpResponse(page.render(Context({"request": request})))


urlpatterns += [path("by-hand/", by_hand), path("part/", a_part), path("by-tag/", by_tag)]


async def page_of(url, **settings):
    with override_settings(**settings):
        async with open_stream(get_asgi_application(), url) as stream:
            await stream._exchange.until(lambda: stream._exchange.is_over, 20, "no end")
            return stream.body.decode(), stream.headers


async def test_an_element_without_its_script():
    common = "django.middleware.common.CommonMiddleware"
    body, headers = await page_of("/by-hand/", DEBUG=True, MIDDLEWARE=[common])
    assert "Write in its head: {% load serversent %}{% sse_script %}" in body
    assert int(headers["content-length"]) == len(body)
    for url, debug in [("/by-hand/", False), ("/part/", True), ("/by-tag/", True)]:
        body, _ = await page_of(url, DEBUG=debug)
        assert "console.warn" not in body


async def test_the_tag_brings_the_script():
    body, _ = await page_of("/by-tag/")
    assert body.count("<script") == 1
    assert body.index("<script") < body.index("<event-stream")


def without_app(request):
    return HttpResponse(Template("{% load serversent %}").render(Context()))


def without_load(request):
    return HttpResponse(Template('{% event_stream "news" %}').render(Context()))


urlpatterns += [path("without-app/", without_app), path("without-load/", without_load)]


async def test_a_template_without_our_tags():
    with override_settings(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"]):
        body, _ = await page_of("/without-app/", DEBUG=True)
    assert 'Put "serversent" into INSTALLED_APPS, and run manage.py migrate.' in body
    body, _ = await page_of("/without-load/", DEBUG=True)
    assert "Write {% load serversent %} at the top of this template" in body


async def test_missing_tables_are_told_to_the_page_in_development():
    with override_settings(DEBUG=True):
        answer = refusals.unavailable(BrokerUnavailable("default", "its tables are missing: run manage.py migrate"))
    assert b"its tables are missing: run manage.py migrate (shown because DEBUG is on)" in answer.content
    with override_settings(DEBUG=False):
        answer = refusals.unavailable(BrokerUnavailable("default", "its tables are missing"))
    assert b"tables" not in answer.content
