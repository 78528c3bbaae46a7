"""Signed URLs: what each grants, and to whom. Every other answer is a refusal."""

import html
import logging
import re
import secrets
import urllib.parse

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings

from serversent import end_streams, sse_url
from serversent.brokers import memory
from serversent.errors import InvalidChannel, InvalidSubscription, StreamRefused
from serversent.views.signed_urls import MAX_TOKEN_CHARACTERS, SALT, read_signed

SERVERSENT = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}


@pytest.fixture(autouse=True)
def memory_broker(settings):
    settings.SERVERSENT = SERVERSENT
    memory.clear()


@pytest.fixture
def users(db):
    return {name: get_user_model().objects.create_user(name, password="secret") for name in ("ada", "grace")}


@pytest.fixture
def client():
    return Client()


def logged_in(user):
    client = Client()
    client.force_login(user)
    return client


def url_of(client, *channels, **options):
    query = [("channel", channel) for channel in channels or ("news",)] + list(options.items())
    answer = client.get("/url/?" + urllib.parse.urlencode(query))
    assert answer.status_code == 200
    return answer.content.decode()


def status_of(client, url, **options):
    answer = client.get(url, **options)
    answer.close()
    return answer.status_code


# Who may.


def test_a_user_opens_a_url_that_was_signed_for_them(users):
    ada = logged_in(users["ada"])
    url = url_of(ada, "order-5", "news")
    assert url.startswith("/events/?token=")
    answer = ada.get(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert next(iter(answer)).startswith(b": stream of channels, heartbeat 15 s, valid for ")
    answer.close()


def test_an_anonymous_session_is_begun_and_remembered(db, client):
    url = url_of(client)
    assert status_of(client, url) == 200
    assert url_of(client) != url  # it says when
    assert status_of(Client(), url) == 403


def test_another_user_is_refused(users):
    url = url_of(logged_in(users["ada"]))
    assert status_of(logged_in(users["grace"]), url) == 403
    assert status_of(Client(), url) == 403


def test_another_session_of_the_same_user_is_refused(users):
    url = url_of(logged_in(users["ada"]))
    assert status_of(logged_in(users["ada"]), url) == 403


def test_a_session_that_a_client_made_up_is_refused(db, client):
    url = url_of(client)
    client.session.delete()
    assert status_of(client, url) == 403


def test_after_the_logout_it_is_refused(users):
    ada = logged_in(users["ada"])
    cookie = ada.cookies["sessionid"].value
    url = url_of(ada)
    ada.get("/logout/")
    assert status_of(ada, url) == 403
    ada.cookies["sessionid"] = cookie  # as if it had been kept
    assert status_of(ada, url) == 403


def test_after_a_change_of_the_password_it_is_for_the_session_that_goes_on(users):
    ada, elsewhere = logged_in(users["ada"]), logged_in(users["ada"])
    url, url_elsewhere = url_of(ada), url_of(elsewhere)
    ada.get("/password/")
    assert status_of(elsewhere, url_elsewhere) == 403
    assert status_of(ada, url) == 200
    assert status_of(ada, url_of(ada)) == 200


@pytest.mark.parametrize("change", ["deactivate", "delete"])
def test_a_deleted_user_is_refused(users, change):
    ada = logged_in(users["ada"])
    url = url_of(ada)
    ada.get(f"/user/{change}/?user=ada")
    assert status_of(ada, url) == 403


def test_under_login_required_middleware_an_anonymous_session_has_its_stream(users, client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert status_of(client, url_of(client)) == 200
    assert status_of(client, "/events/") == 403  # and no redirect to a page that is no stream
    assert status_of(logged_in(users["ada"]), url_of(client)) == 403


def test_a_user_without_a_session_gets_a_url_without_one(users):
    """As an API does, which is asked with a key in a header."""
    request = RequestFactory().get("/")
    request.user = users["ada"]
    request.session = SessionStore()
    url = sse_url(request, "news")
    assert request.session.is_empty()
    again = RequestFactory().get(url)
    again.user = users["ada"]
    assert read_signed(again).channels == ["news"]
    again.user = users["grace"]
    with pytest.raises(StreamRefused):
        read_signed(again)
    again.user = AnonymousUser()
    with pytest.raises(StreamRefused):
        read_signed(again)


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_sessions_in_cookies(users):
    ada, nobody = logged_in(users["ada"]), Client()
    for client in (ada, nobody):
        url = url_of(client)
        assert status_of(client, url) == 200
        session = client.session
        session["more"] = 1  # its key is all it has, and another now
        session.save()
        client.cookies["sessionid"] = session.session_key
        assert status_of(client, url) == 200
    assert status_of(nobody, url_of(ada)) == 403
    assert status_of(logged_in(users["ada"]), url_of(ada)) == 403


# What the token says.


@pytest.fixture
def token(client, db):
    return urllib.parse.parse_qs(urllib.parse.urlsplit(url_of(client)).query)["token"][0]


@pytest.mark.parametrize("forge", [
    lambda token: "",
    lambda token: token[:-1],
    lambda token: token[1:],
    lambda token: token + "A",
    lambda token: token.replace(":", "."),
    lambda token: token.rpartition(":")[0],
    lambda token: "x" * 100_000,
    lambda token: "\0",
    lambda token: "Ω🚀",
    lambda token: signing.dumps({"channels": ["news"]}, salt="another"),
    lambda token: signing.dumps(signing.loads(token, salt=SALT), salt="serversent"),
    lambda token: signing.dumps(signing.loads(token, salt=SALT), salt=SALT, key="another"),
])  # fmt: skip
def test_a_forged_token_is_refused(client, token, forge):
    forged = forge(token)
    assert forged != token
    assert status_of(client, "/events/?" + urllib.parse.urlencode({"token": forged})) == 403


def test_an_expired_one_is_refused(client, db, monkeypatch):
    url = url_of(client, expires=60)
    assert status_of(client, url) == 200
    now = signing.time.time()
    monkeypatch.setattr("serversent.views.signed_urls.time.time", lambda: now + 61)
    assert status_of(client, url) == 403


def test_a_rotated_key_goes_on_as_a_fallback(users):
    ada = logged_in(users["ada"])
    url = url_of(ada)
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["for tests only"]):
        # Django gives the session another key now.
        assert status_of(ada, url) == 200
        assert status_of(ada, url) == 200
        newer = url_of(ada)
    with override_settings(SECRET_KEY="new"):
        assert status_of(ada, url) == 403
        assert status_of(ada, newer) == 200


def test_the_key_of_a_session_is_not_in_it(client, db):
    token = urllib.parse.parse_qs(urllib.parse.urlsplit(url_of(client)).query)["token"][0]
    url_of(client)
    key = client.session.session_key
    assert key
    assert key not in str(signing.loads(token, salt=SALT))


def test_no_log_line_has_the_token(client, token, caplog):
    with caplog.at_level(logging.DEBUG):
        status_of(client, f"/events/?token={token}")
        status_of(Client(), f"/events/?token={token}")
        status_of(client, f"/events/?token={token[:-1]}x")
    assert "for another session" in caplog.text
    assert "is not valid" in caplog.text
    assert token[:40] not in caplog.text


def test_a_refusal_says_why_and_is_kept_by_no_cache(client):
    answer = client.get("/events/?token=x")
    assert answer.content == b"This address is not valid.\n"
    assert answer.headers["Cache-Control"] == "no-store"
    answer = client.get("/events/?token=x", headers={"last-event-id": "end"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (204, "no-store")


@pytest.mark.parametrize("query", ["", "?channel=news", "?channels=news", "?token=", "?token=news", "?lastEventId=a-1"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_no_channel_without_a_grant(client, method, query):
    assert getattr(client, method)(f"/events/{query}").status_code == 403


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_only_get_and_head(client, token, method):
    assert getattr(client, method)(f"/events/?token={token}").status_code == 405
    assert client.head(f"/events/?token={token}").status_code == 200


# What cannot be signed.


@pytest.fixture
def request_of_nobody(db):
    request = RequestFactory().get("/")
    request.session = Client().session
    return request


@pytest.mark.parametrize("channels", [["a b"], [""], ["!revoked"], ["канал"], ["x" * 201]])
def test_an_invalid_channel(request_of_nobody, channels):
    with pytest.raises(InvalidChannel):
        sse_url(request_of_nobody, *channels)


@pytest.mark.parametrize("expires", [0, -1, 30 * 86_400 + 1])
def test_for_how_long_it_cannot_be(request_of_nobody, expires):
    with pytest.raises(InvalidSubscription, match="at most 2592000 s"):
        sse_url(request_of_nobody, "news", expires=expires)


def test_arguments_that_make_no_url(request_of_nobody):
    with pytest.raises(InvalidSubscription, match="at least one"):
        sse_url(request_of_nobody)
    with pytest.raises(InvalidSubscription, match="too long"):
        sse_url(request_of_nobody, *(secrets.token_hex(100) for _ in range(100)))
    assert len(sse_url(request_of_nobody, *(f"order-{number}" for number in range(100)))) < MAX_TOKEN_CHARACTERS
    with pytest.raises(InvalidSubscription, match="neither a user nor a session"):
        sse_url(RequestFactory().get("/"), "news")


@override_settings(ROOT_URLCONF="tests.project.views")
def test_without_the_path_the_error_says_which_line_to_add(request_of_nobody, monkeypatch):
    monkeypatch.setattr("tests.project.views.urlpatterns", [], raising=False)
    with pytest.raises(ImproperlyConfigured, match=re.escape('include("serversent.urls")')):
        sse_url(request_of_nobody, "news")


# The tag.


def test_the_tag_makes_a_url_that_opens(db, client):
    page = client.get("/page/").content.decode()
    url = html.unescape(re.search('data-url="(.*?)"', page)[1])
    assert "&" not in url  # nor would it be one in a script
    assert status_of(client, url) == 200


def test_the_tag_needs_the_request():
    with pytest.raises(ImproperlyConfigured, match="context processor"):
        Template('{% load serversent %}{% sse_url "news" %}').render(Context())


# What was taken back. (Ends and refusals in other processes: tests/servers/test_revocations.py)


def test_nothing_to_end_is_an_error():
    with pytest.raises(TypeError, match="a user, a session or a channel"):
        end_streams()
    with pytest.raises(TypeError):
        end_streams(user=AnonymousUser())
    with pytest.raises(InvalidChannel):
        end_streams(channel="a b")
