"""Public streams: a page for everybody, which may be cached, carries nothing of who saw it first."""

import html
import re

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.urls import include, path
from django.views.decorators.cache import cache_page

from serversent import Subscription, cursor, end_streams, send_event, sse_url
from serversent.access.identity import page_user
from serversent.brokers import memory
from serversent.errors import InvalidSubscription
from tests.views.test_signed_urls import SERVERSENT, logged_in, status_of

PAGE = """{% load serversent %}{% sse_script public=True %}
{% event_stream "news" public=True %} {% sse_url "news" public=True %}"""


def page(request):
    return HttpResponse(Template(PAGE).render(Context({"request": request})))


urlpatterns = [
    path("page/", page),
    path("cached/", cache_page(60)(page)),
    path("events/", include("serversent.urls")),
]


@pytest.fixture(autouse=True)
def project(settings, db):
    settings.SERVERSENT = SERVERSENT
    settings.ROOT_URLCONF = __name__
    memory.clear()
    cache.clear()


def url_in(answer):
    return html.unescape(re.search('src="(/events/[^"]*)"', answer.content.decode())[1])


def test_no_session_is_begun_and_the_page_depends_on_no_cookie():
    for _ in range(3):
        answer = Client().get("/page/")
        assert not answer.cookies
        assert "Vary" not in answer.headers
        assert b"data-serversent-user" not in answer.content
    assert not Session.objects.exists()


def test_a_cached_page_is_for_everybody():
    ada, grace = (logged_in(get_user_model().objects.create_user(name)) for name in ("ada", "grace"))
    answers = [client.get("/cached/") for client in (ada, grace, Client())]
    assert len({answer.content for answer in answers}) == 1
    url = url_in(answers[0])
    assert [status_of(client, url) for client in (ada, grace, Client())] == [200] * 3
    # As the client of ada's other pages asks, which say who they are for.
    assert status_of(grace, url, headers={"Serversent-User": page_user("ada")}) == 200


def test_a_public_url_is_renewed_until_its_channel_is_revoked():
    token = url_in(Client().get("/page/")).partition("token=")[2].partition("#")[0].replace("%3A", ":")
    assert Client().post("/events/renew/", {"token": token}).status_code == 200
    end_streams(user=1)
    assert Client().post("/events/renew/", {"token": token}).status_code == 200
    end_streams(channel="news")
    assert Client().post("/events/renew/", {"token": token}).status_code == 403


# Where a stream begins.


@pytest.fixture
def anonymous():
    client = Client()
    request = RequestFactory().get("/")
    request.session = client.session
    client.session.save()
    return request


def frames(url):
    answer = Client().get(url)
    found = b"".join(part for part, _ in zip(answer, range(4), strict=False)).decode()
    answer.close()
    return re.findall("^data: (.*)$", found, re.MULTILINE)


def test_a_public_stream_begins_with_the_oldest(anonymous):
    send_event("news", "old")
    send_event("news", "older than the page")
    url = sse_url(anonymous, "news", start="oldest", public=True)
    assert frames(url) == ["{}", "old", "older than the page"]
    assert frames(sse_url(anonymous, "news", public=True)) == ["{}"]
    tag = Template('{% load serversent %}{% event_stream "news" start="oldest" public=True %}')
    made = tag.render(Context({"request": anonymous}))
    assert "cursor=" not in made
    assert frames(html.unescape(re.search('src="(/events/.*?)"', made)[1])) == ["{}", "old", "older than the page"]


def test_a_public_stream_begins_with_the_latest(anonymous):
    send_event("news", "old")
    send_event("news", "newest")
    url = sse_url(anonymous, "news", start="latest", public=True)
    assert frames(url) == ["{}", "newest"]
    tag = Template('{% load serversent %}{% event_stream "news" start="latest" public=True %}')
    made = tag.render(Context({"request": anonymous}))
    assert "cursor=" not in made
    assert frames(html.unescape(re.search('src="(/events/.*?)"', made)[1])) == ["{}", "newest"]


def test_permission_for_the_latest_event_does_not_cover_older_ones(anonymous):
    """By a cursor that a client has made up."""
    send_event("news", "secret")
    send_event("news", "newest")
    epoch = cursor().epoch
    anonymous_again = RequestFactory().get("/")
    url = sse_url(anonymous_again, "news", start="latest", public=True)
    assert frames(f"{url.partition('#')[0]}&lastEventId={epoch}-0") == ["{}", "newest"]


def test_another_beginning_is_refused(anonymous):
    with pytest.raises(InvalidSubscription, match='start: must be "now", "latest" or "oldest", not \'first\''):
        sse_url(anonymous, "news", start="first", public=True)
    with pytest.raises(InvalidSubscription, match="start"):
        Template('{% load serversent %}{% sse_url "news" start="x" %}').render(Context({"request": anonymous}))
    with pytest.raises(InvalidSubscription, match="start"):
        Subscription("news", start="")
    with pytest.raises(ImproperlyConfigured, match="has no 'begin'. It has: cursor, expires, public, start, using"):
        Template('{% load serversent %}{% sse_url "news" begin="x" %}').render(Context({"request": anonymous}))
