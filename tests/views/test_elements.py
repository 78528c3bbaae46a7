"""The template tags of the browser client: its script and its element, and where the stream of a page begins."""

import re

import django
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started
from django.http import HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings

from serversent import send_event
from serversent.access.identity import is_for_another, new_session_id, page_user, session_ids
from serversent.brokers import broker, memory
from serversent.errors import StreamRefused
from serversent.serving.source import StreamSource
from serversent.views.handoff import Handoff
from serversent.views.page_cursor import page_cursor
from serversent.views.signed_urls import read_signed


@pytest.fixture
def request_of():
    def make(user=None, **extra):
        request = RequestFactory().get("/", **extra)
        request.user = user or AnonymousUser()
        request.session = SessionStore()
        return request

    return make


def render(text, request=None, **context):
    if request is not None:
        context["request"] = request
    return Template("{% load serversent %}" + text).render(Context(context))


def user(key):
    return get_user_model()(pk=key)


def attributes(html):
    return dict(re.findall(r'([a-z-]+)="([^"]*)"', html))


def test_the_script(request_of):
    found = attributes(render("{% sse_script %}", request_of()))
    assert re.fullmatch("[0-9a-f]{16}", found.pop("data-serversent-user"))
    assert found == {"type": "module", "src": "/static/serversent/serversent.min.js"}
    with override_settings(DEBUG=True):
        assert attributes(render("{% sse_script %}", request_of()))["src"] == "/static/serversent/serversent.js"
    # Without a request it is for nobody, and shares nothing.
    assert attributes(render("{% sse_script %}")) == found


def test_each_user_has_a_name_that_tells_nothing(request_of):
    rendered = [render("{% sse_script %}", request_of(user(key))) for key in (1, 1, 2)]
    assert rendered[0] == rendered[1] != rendered[2]
    assert rendered[0] != render("{% sse_script %}", request_of())
    with override_settings(SECRET_KEY="another"):
        assert render("{% sse_script %}", request_of(user(1))) != rendered[0]


def test_a_stream_of_another_user_than_the_page_s_is_known(request_of):
    request = request_of(HTTP_SERVERSENT_USER=page_user("1"))
    assert is_for_another(request, "2")
    assert not is_for_another(request, "1")
    assert not is_for_another(request, "")  # of a view that does not ask who it is
    assert not is_for_another(request_of(), "1")


def nonces(get_response, middleware, text="{% sse_script %}"):
    """Return the nonce in the page, and the policy it is sent with."""

    def view(request):
        request.user = AnonymousUser()
        return HttpResponse(render(text, request))

    response = middleware(view)(RequestFactory().get("/"))
    return re.findall(r'nonce="([^"]+)"', response.content.decode()), response.headers["Content-Security-Policy"]


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 brought it")
def test_the_nonce_of_django():
    from django.middleware.csp import ContentSecurityPolicyMiddleware
    from django.utils.csp import CSP

    with override_settings(SECURE_CSP={"script-src": [CSP.NONCE]}):
        (nonce,), policy = nonces(None, ContentSecurityPolicyMiddleware)
    assert f"'nonce-{nonce}'" in policy


def test_the_nonce_of_django_csp():
    from csp.constants import NONCE
    from csp.middleware import CSPMiddleware

    with override_settings(CONTENT_SECURITY_POLICY={"DIRECTIVES": {"script-src": [NONCE]}}):
        (nonce,), policy = nonces(None, CSPMiddleware)
    assert f"'nonce-{nonce}'" in policy


@pytest.mark.django_db
def test_the_element_of_channels(request_of):
    request = request_of(user(5))
    html = render('{% event_stream "order-5" "news" limit=20 mode="prepend" cursor=cursor %}', request, cursor="k3f9-7")
    src = re.search(r'<event-stream.* src="([^"]+)"', html)[1].replace("&amp;", "&")
    assert re.search(r"#sse-[0-9a-f]{12}$", src)
    signed = read_signed(request_of_url(request_of, src, user(5)))
    assert signed.channels == ["news", "order-5"]
    assert signed.cursor == "k3f9-7"
    assert ' cursor="k3f9-7"' in html
    assert ' limit="20"' in html
    assert ' mode="prepend"' in html
    assert " autostart" in html
    assert 'role="log"' in html
    assert "<button" not in html


def request_of_url(request_of, url, user):
    request = RequestFactory().get(url)
    request.user, request.session = user, SessionStore()
    return request


@pytest.mark.django_db
def test_the_list_of_channels_has_one_name_whatever_the_signature(request_of):
    def name(*channels, **options):
        names = " ".join(f'"{channel}"' for channel in channels)
        url = render(f"{{% sse_url {names} expires=expires %}}", request_of(user(5)), **{"expires": 60, **options})
        return url.partition("#")[2]

    assert name("a", "b") == name("b", "a", expires=70) != name("a")
    assert "secret" not in name("secret-channel")


def test_the_element_of_a_view(request_of):
    html = render(
        "{% event_stream url=url controls=True label=label %}", request_of(), url="/clock/?a=1&b=2", label="<Clock>"
    )
    assert 'src="/clock/?a=1&amp;b=2"' in html
    assert "autostart" not in html  # who may press Start wants to
    assert "cursor" not in html
    assert "data-sse-start" in html
    assert "data-sse-stop" in html
    assert 'aria-label="&lt;Clock&gt;"' in html
    assert 'role="status" tabindex' in render('{% event_stream url="/" mode="replace" %}', request_of())
    assert "data-sse-output" not in render('{% event_stream url="/" target="#there" %}', request_of())


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("{% event_stream %}", "needs the names of channels, or url="),
        ('{% event_stream "a" url="/" %}', "and not both"),
        ('{% event_stream url="/" limt=3 %}', "has no 'limt'. It has: .*limit"),
    ],
)
def test_mistakes_are_named(request_of, tag, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        render(tag, request_of())


@pytest.mark.parametrize("tag", ['{% event_stream "a" %}', '{% sse_url "a" %}'])
def test_without_the_request_it_is_said(tag):
    with pytest.raises(ImproperlyConfigured, match="needs the request"):
        render(tag)


# Where the stream of a page begins.


@pytest.fixture
def memory_broker(settings, db):
    settings.SERVERSENT = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}
    memory.clear()


def test_a_page_begins_where_its_request_did(memory_broker):
    send_event("news", "before")
    request = RequestFactory().get("/")
    request_started.send(type(None), environ=request.environ)
    send_event("news", "while it is rendered")
    assert page_cursor(request).offset == 1
    send_event("news", "and more")
    assert page_cursor(request).offset == 1
    assert broker().cursor().offset == 3


def test_a_request_that_no_server_made_begins_where_it_asks(memory_broker):
    send_event("news", "before")
    assert page_cursor(RequestFactory().get("/")).offset == 1


def test_the_beginning_is_noted_of_every_request(memory_broker, client: Client):
    send_event("news", "before")
    found = []

    def view(request):
        send_event("news", "in the view")
        found.append(page_cursor(request).offset)
        return HttpResponse()

    from tests.project import urls

    urls.urlpatterns.append(path := django.urls.path("begins/", view))
    try:
        with override_settings(ROOT_URLCONF=urls.__name__):
            django.urls.clear_url_caches()
            client.get("/begins/")
    finally:
        urls.urlpatterns.remove(path)
        django.urls.clear_url_caches()
    assert found == [1]


class Source(StreamSource):
    """A stream of no frames."""

    def cancel(self):
        pass

    async def wait_closed(self, seconds):
        pass


async def test_a_stream_is_refused_to_a_page_of_another_user():
    """What `serversent.asgi` does with it; browser/test_shared.py has it in a browser."""
    handoff = Handoff(receive=None)
    handoff.own_stream(Source())
    request = RequestFactory().get("/", HTTP_SERVERSENT_USER=page_user("1"))
    request.user = user(2)
    with pytest.raises(StreamRefused) as refused:
        handoff.admit(request)
    assert refused.value.status == 401
    await handoff.close()


@pytest.mark.django_db
def test_a_session_that_is_being_loaded_is_not_loaded_again(django_assert_num_queries):
    """Its headers are sent after 250 ms, whether a generator has got what it asked for or not."""
    saved = SessionStore()
    saved["x"] = 1
    saved.save()
    session = SessionStore(saved.session_key)
    session.accessed = True  # as Django sets it, before it loads
    with django_assert_num_queries(0):
        assert len(session_ids(session)) == 1
    new_session_id(session)
    assert len(session_ids(session)) == 2
