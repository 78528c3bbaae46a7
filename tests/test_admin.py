"""The log in Django's admin: everything can be read there, and nothing changed."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from serversent import send_event
from serversent.models import Event

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("admin_site")]


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


def test_a_log_of_millions_is_not_counted(staff, monkeypatch):
    """Nor looked through for the types that are in it."""
    monkeypatch.setattr("serversent.admin.MAX_ROWS", 150)
    for number in range(160):
        send_event("orders", str(number), event=f"kind{number}")
    with CaptureQueriesContext(connection) as queries:
        page = staff.get(reverse("admin:serversent_event_changelist")).content.decode()
    asked = [query["sql"] for query in queries if "serversent_event" in query["sql"]]
    assert asked
    assert all("LIMIT" in sql for sql in asked)
    assert not any("COUNT(" in sql or "DISTINCT" in sql for sql in asked)
    assert "159" in page
    assert "150" in page


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
