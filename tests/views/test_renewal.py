"""Signed URLs are renewed while their listener may listen, and never for anybody else."""

import time

import pytest
from asgiref.sync import markcoroutinefunction, sync_to_async
from django.contrib.auth import get_user_model
from django.core import signing
from django.shortcuts import redirect
from django.test import AsyncClient, Client
from django.urls import include, path

from serversent import end_streams, logs
from serversent.asgi import get_asgi_application
from serversent.brokers import memory
from serversent.brokers.channel_names import REVOKED_SECONDS
from serversent.testing import open_stream
from serversent.views.signed_urls import SALT
from tests.views.test_signed_urls import SERVERSENT, logged_in, status_of, url_of

RENEW = "/events/renew/"


@pytest.fixture(autouse=True)
def memory_broker(settings):
    settings.SERVERSENT = SERVERSENT
    memory.clear()
    logs._logged.clear()


@pytest.fixture
def ada(db):
    return logged_in(get_user_model().objects.create_user("ada", password="secret"))


def token_of(url):
    return url.partition("?token=")[2].partition("#")[0].replace("%3A", ":")


def renew(client, url, **options):
    return client.post(RENEW, {"token": token_of(url)}, **options)


def renewed(client, url):
    answer = renew(client, url)
    assert answer.status_code == 200, answer.content
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()["url"]


def changed(url, **changes):
    """The URL as it would be with another content, signed by this site: time that has passed."""
    grant = signing.loads(token_of(url), salt=SALT)
    return "/events/?token=" + signing.dumps({**grant, **changes}, salt=SALT, compress=True)


def expired(url):
    return changed(url, expires=int(time.time()) - 1)


# While it holds.


def test_an_expired_url_is_valid_again_for_as_long(ada):
    url = expired(url_of(ada, "a", "b", expires=600))
    assert status_of(ada, url) == 403
    again = renewed(ada, url)
    assert status_of(ada, again) == 200
    before, after = (signing.loads(token_of(each), salt=SALT) for each in (url, again))
    assert after["expires"] == pytest.approx(time.time() + 600, abs=5)
    # The rest stays: where it begins, and since when revocations refuse it.
    assert {**after, "expires": 0} == {**before, "expires": 0}
    assert again.partition("#")[2] == url_of(ada, "a", "b").partition("#")[2]


def test_an_anonymous_session_renews_its_own(db):
    client = Client()
    assert status_of(client, renewed(client, expired(url_of(client)))) == 200


def test_after_a_change_of_the_own_password(ada):
    url = url_of(ada)
    ada.get("/password/")
    assert status_of(ada, renewed(ada, expired(url))) == 200


def test_under_login_required_middleware(db, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    client = Client()
    assert status_of(client, renewed(client, expired(url_of(client)))) == 200


def test_a_renewal_needs_no_csrf_token(ada):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = ada.cookies
    assert renew(strict, url_of(ada)).status_code == 200


def test_a_page_that_is_open_for_30_days_has_to_be_loaded_again(ada):
    """The log keeps revocations for so long, and nobody could tell whether an older URL was taken back."""
    almost = changed(url_of(ada, expires=3600), signed=int(time.time()) - REVOKED_SECONDS + 60)
    again = signing.loads(token_of(renewed(ada, almost)), salt=SALT)
    assert again["expires"] == pytest.approx(time.time() + 60, abs=5)
    older = changed(almost, signed=int(time.time()) - REVOKED_SECONDS)
    answer = renew(ada, older)
    assert answer.status_code == 403
    assert b"too old" in answer.content


# When it does not hold any more.


@pytest.mark.parametrize("what", ["user", "channel", "both"])
def test_a_revoked_url_is_not_renewed(ada, what):
    url = url_of(ada, "news")
    user = get_user_model().objects.get()
    end_streams(
        **{"user": {"user": user}, "channel": {"channel": "news"}, "both": {"user": user, "channel": "news"}}[what]
    )
    assert renew(ada, expired(url)).status_code == 403
    assert renew(ada, expired(url_of(ada, "news"))).status_code == 200  # the page that is loaded now


def test_after_the_logout(ada):
    url = url_of(ada)
    ada.get("/logout/")
    assert renew(ada, url).status_code == 401


@pytest.mark.parametrize("change", ["deactivate", "delete"])
def test_revocation_of_a_deleted_user(ada, change):
    url = url_of(ada)
    ada.get(f"/user/{change}/?user=ada")
    assert renew(ada, url).status_code == 401


def test_urls_of_another_user_and_session_are_not_renewed(ada):
    grace = logged_in(get_user_model().objects.create_user("grace"))
    url = url_of(ada)
    assert renew(grace, url).status_code == 403
    assert renew(Client(), url).status_code == 401
    assert renew(logged_in(get_user_model().objects.get(username="ada")), url).status_code == 403
    assert renew(Client(), url_of(Client())).status_code == 403


# What is no URL of ours, and who should not ask.


def test_a_forged_token(ada):
    url = url_of(ada)
    for token in ("", "x", token_of(url)[:-1], token_of(url) + "x", "x" * 100_000, "\0", "é"):
        assert ada.post(RENEW, {"token": token}).status_code == 403
    assert ada.post(RENEW).status_code == 403
    assert ada.post(RENEW, b"\xff", content_type="application/octet-stream").status_code == 403
    foreign = signing.dumps({"channels": ["news"]}, salt="another")
    assert ada.post(RENEW, {"token": foreign}).status_code == 403
    assert ada.get(RENEW).status_code == 405


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://testserver", 200),
        ("https://testserver", 403),
        ("http://testserver:8000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("https://www.friend.example", 200),
        ("https://www.friend.example.evil.example", 403),
        ("https://a.wild.example", 200),
        ("https://api.example.com", 200),
    ],
)
def test_from_another_origin(ada, settings, origin, status):
    settings.CSRF_TRUSTED_ORIGINS = ["https://www.friend.example", "https://*.wild.example"]
    settings.CORS_ALLOWED_ORIGINS = ["https://api.example.com"]
    headers = {} if origin is None else {"Origin": origin}
    assert renew(ada, url_of(ada), headers=headers).status_code == status


def test_a_thousand_refusals_are_logged_once_and_ask_no_database(ada, logged, caplog, django_assert_num_queries):
    with django_assert_num_queries(0):
        for _ in range(1000):
            assert ada.post(RENEW, {"token": "forged"}).status_code == 403
    assert [message for _, message in logged] == ["The renewal of a signed URL was refused: This address is not valid."]
    assert [record for record in caplog.records if record.name.startswith("django")] == []


# A client that comes back by itself, with the cookie of a session that another login has just replaced. What Django
# answers, the removal of the cookie, would remove the new one.


def login_page(request):
    return redirect("/login/")


urlpatterns = [path("private/", login_page), path("events/", include("serversent.urls"))]

STALE = {"Cookie": "sessionid=0123456789abcdef0123456789abcdef"}


async def cookies_of(url, **headers):
    async with open_stream(get_asgi_application(), url, headers={**STALE, **headers}) as stream:
        return stream.status, stream.headers.get("set-cookie", "")


@pytest.mark.django_db(transaction=True)
async def test_a_client_with_an_old_cookie_does_not_lose_the_new_one(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", f"{__name__}.looks_at_session"]
    for url in ("/events/?token=x", "/private/"):
        status, cookie = await cookies_of(url, Accept="text/event-stream")
        assert status in (302, 403)
        assert cookie == ""
    _, cookie = await cookies_of("/private/", Accept="text/html")
    assert "sessionid=" in cookie, "any other request"
    client = AsyncClient()
    client.cookies["sessionid"] = STALE["Cookie"].partition("=")[2]
    answer = await client.post("/events/renew/", {"token": "x"})
    assert answer.status_code == 403
    assert not answer.cookies


def looks_at_session(get_response):
    async def middleware(request):
        await sync_to_async(request.session.get)("x")
        return await get_response(request)

    return markcoroutinefunction(middleware)


looks_at_session.async_capable = True
looks_at_session.sync_capable = False
