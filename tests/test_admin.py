"""The log in Django's admin: everything can be read there, and nothing changed."""

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.test import modify_settings, override_settings
from django.urls import path, reverse

from serversent import send_event
from serversent.models import Event

pytestmark = pytest.mark.django_db

CONTEXT_PROCESSORS = [
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
]


def urlpatterns():
    return [path("admin/", admin.site.urls)]


@pytest.fixture(autouse=True)
def project():
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": CONTEXT_PROCESSORS},
    }
    with (
        modify_settings(
            INSTALLED_APPS={"append": ["django.contrib.messages", "django.contrib.admin"]},
            MIDDLEWARE={"append": "django.contrib.messages.middleware.MessageMiddleware"},
        ),
        override_settings(TEMPLATES=[templates], ROOT_URLCONF=tuple(urlpatterns())),
    ):
        yield


@pytest.fixture
def staff(client):
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client


def test_the_log_is_listed_newest_first_and_searched_by_channel(staff):
    send_event("orders", "first <b>")
    send_event("orders", "x" * 500)
    send_event("other", "third")
    url = reverse("admin:serversent_event_changelist")
    page = staff.get(url).content.decode()
    assert page.index("third") < page.index("x" * 79 + "…") < page.index("first &lt;b&gt;")
    assert "x" * 81 not in page
    found = staff.get(url, {"q": "other"}).content.decode()
    assert "third" in found
    assert "first" not in found


def test_nothing_can_be_changed(staff):
    send_event("orders", "kept")
    event = Event.objects.get()
    change = reverse("admin:serversent_event_change", args=[event.pk])
    assert "kept" in staff.get(change).content.decode()
    assert staff.post(change, {"channel": "orders", "data": "changed"}).status_code == 403
    assert staff.get(reverse("admin:serversent_event_add")).status_code == 403
    assert staff.post(reverse("admin:serversent_event_delete", args=[event.pk]), {"post": "yes"}).status_code == 403
    assert Event.objects.get().data == "kept"


def test_others_see_nothing(client):
    client.force_login(get_user_model().objects.create_user("ada", is_staff=True))
    assert client.get(reverse("admin:serversent_event_changelist")).status_code == 403
