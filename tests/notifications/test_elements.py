"""The tags of the bell and of the toasts."""

import re

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings

from serversent.notifications import send_notification


def page(user, tags="{% notification_bell %}{% notification_toasts %}", **attributes):
    request = RequestFactory().get("/")
    request.__dict__.update(user=user, **attributes)
    return Template("{% load serversent_notifications %}" + tags).render(Context({"request": request}))


def test_a_user_has_the_bell_and_the_toasts(ada, users):
    for user in (ada, ada, users[1]):
        send_notification(user, "x")
    html = page(ada)
    assert 'data-unread="2"' in html
    assert 'data-stream="/notifications/stream/"' in html
    assert 'href="/notifications/"' in html
    assert 'data-seconds="8"' in html
    assert 'data-seconds="2.5"' in page(ada, "{% notification_toasts seconds=2.5 %}")
    assert "hidden>2<" not in html
    assert len(re.findall(r'data-csrf="\w{64}"', html)) == 2
    assert re.search(r'<script [^>]*src="/static/serversent/notifications.min.js"', html)
    assert re.search(r'<script data-serversent-user="\w+" src="/static/serversent/serversent.min.js"', html)


def grace(request):
    return get_user_model().objects.get(username="grace")


def test_a_bell_of_another_user_than_the_pages(ada, users):
    """As with a login of the project's own, or an administrator who looks at a customer's page."""
    with override_settings(SERVERSENT={**settings.SERVERSENT, "NOTIFICATION_USER": f"{__name__}.grace"}):
        html = page(ada)
        (stream,) = set(re.findall(r'data-stream="([^"]+)"', html))
        (page_user,) = set(re.findall(r'data-serversent-user="(\w+)"', html))
        headers = {"Serversent-User": page_user}
        client = Client()
        client.force_login(ada)
        assert client.head(stream, headers=headers).status_code == 200
        assert client.head(stream).status_code == 200
        client.force_login(users[2])  # in another tab
        assert client.head(stream, headers=headers).status_code == 401
    with override_settings(SERVERSENT={**settings.SERVERSENT, "NOTIFICATION_USER": f"{__name__}.hedy"}):
        client.force_login(ada)
        assert client.head(stream, headers=headers).status_code == 401
        assert client.get(stream).content == b"This page is another user's. Reload it.\n"


def hedy(request):
    return get_user_model().objects.get(username="hedy")


def test_two_bells_in_a_page_are_two(ada):
    html = page(ada, "{% notification_bell %}{% notification_bell %}")
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers)) == 6


def test_an_anonymous_page_has_neither_bell_nor_toasts(alias):
    assert page(AnonymousUser()) == ""


def test_under_a_content_security_policy(ada):
    html = page(ada, csp_nonce="abc")
    assert html.count('nonce="abc"') == html.count("<script") + html.count("<link") == 6
    assert " style=" not in html
    assert " on" not in re.sub(r">[^<]*<", "><", html)


@override_settings(DEBUG=True)
def test_while_developing_the_source_is_loaded(ada):
    assert "serversent/notifications.js" in page(ada)


def test_without_the_urls(ada):
    with (
        override_settings(ROOT_URLCONF=()),
        pytest.raises(ImproperlyConfigured, match=r'include\("serversent.notifications.urls"\)'),
    ):
        page(ada)


def test_without_the_request():
    with pytest.raises(ImproperlyConfigured, match="needs the request"):
        Template("{% load serversent_notifications %}{% notification_bell %}").render(Context())
