"""The endpoints: what a user sees and may do, and that nobody reaches what is another's."""

import json
from unittest import mock

import pytest
from django.conf import settings
from django.db import connections
from django.db.models import QuerySet
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from serversent.notifications import send_notification
from serversent.notifications.models import Notification

ROOT = "/notifications/"
CHANGES = ["read-all/", "1/read/", "1/delete/"]


@pytest.fixture
def client(ada):
    client = Client()
    client.force_login(ada)
    return client


@pytest.fixture
def made(ada, users):
    for number in range(5):
        send_notification(ada, f"text {number}", url="/a/?b=1&c=2")
        send_notification(users[1], "another's")
    return list(Notification.objects.filter(user=ada).order_by("pk"))


def test_the_list_and_its_pages(client, made):
    page = client.get(ROOT + "?limit=2").json()
    assert [item["text"] for item in page["notifications"]] == ["text 4", "text 3"]
    assert page["notifications"][0] == json.loads(json.dumps(made[4].payload(), default=str)) | {
        "created_at": page["notifications"][0]["created_at"]
    }
    assert page["unread"] == 5
    page = client.get(page["next"]).json()
    assert [item["text"] for item in page["notifications"]] == ["text 2", "text 1"]
    page = client.get(page["next"]).json()
    assert ([item["text"] for item in page["notifications"]], page["next"]) == (["text 0"], None)
    made[2].mark = Notification.objects.filter(pk=made[2].pk).mark_all_as_read()
    page = client.get(ROOT + "?unread=1&limit=2").json()
    assert [item["text"] for item in page["notifications"]] == ["text 4", "text 3"]
    assert [item["text"] for item in client.get(page["next"]).json()["notifications"]] == ["text 1", "text 0"]


@pytest.mark.parametrize("query", ["limit=0", "limit=" + "9" * 18, "before=", "unread=x", "nothing=1"])
def test_any_query_is_answered(client, made, query):
    assert client.get(f"{ROOT}?{query}").json()["unread"] == 5


@pytest.mark.parametrize("number", ["x", "-1", "9" * 400, "²", "1,234", "1.234", "1\u202f234"])
def test_a_number_that_cannot_be_read_is_an_error(client, made, number):
    """As if it were not there, it would mean all notifications, those after the page included."""
    assert client.get(ROOT, {"before": number}).status_code == 400
    answer = client.post(f"{ROOT}read-all/", {"upto": number})
    assert answer.status_code == 400
    assert "upto" in answer.json()["detail"]
    assert Notification.objects.filter(user=made[0].user).unread().count() == 5


@override_settings(USE_THOUSAND_SEPARATOR=True, LANGUAGE_CODE="de")
def test_numbers_for_scripts_and_forms_are_not_formatted_for_people(client, made):
    Notification.objects.filter(pk=made[0].pk).update(id=1234567)
    page = client.get(ROOT, headers={"Accept": "text/html"}).content.decode()
    assert 'name="upto" value="1234567"' in page
    with mock.patch.object(QuerySet, "count", return_value=4321):
        html = client.get("/bell/").content.decode()
    assert 'data-unread="4321"' in html


class Replica:
    """Reads go to a database that is late: it never has anything."""

    def __init__(self, alias):
        self._alias = alias

    def db_for_read(self, model, **hints):
        return self._alias if model._meta.app_label in ("auth", "sessions") else "late"

    def db_for_write(self, model, **hints):
        return self._alias


def test_views_read_the_database_that_is_written_to(client, made, alias):
    with override_settings(DATABASE_ROUTERS=[Replica(alias)]):
        assert client.get(ROOT + "count/").json() == {"unread": 5}
        assert len(client.get(ROOT).json()["notifications"]) == 5
        assert client.post(f"{ROOT}{made[1].pk}/read/").json() == {"unread": 4}
        assert client.post(f"{ROOT}{made[2].pk}/delete/").json() == {"unread": 3}


def test_any_text(client, made):
    send_notification(made[0].user, "🎉 日本語")
    assert client.get(ROOT).json()["notifications"][0]["text"] == "🎉 日本語"


def test_a_page_for_a_browser(client, made):
    send_notification(made[0].user, "<script>alert(1)</script>")
    Notification.objects.filter(text="text 0").update(url="javascript:alert(1)")  # past all checks
    answer = client.get(ROOT, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    page = answer.content.decode()
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Accept" in answer.headers["Vary"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert 'href="/a/?b=1&amp;c=2"' in page
    assert "javascript:" not in page
    assert "another" not in page


def test_the_templates_are_the_projects_if_it_wants(client, made, tmp_path):
    folder = tmp_path / "serversent/notifications"
    folder.mkdir(parents=True)
    (folder / "base.html").write_text("<p>the site's own</p>{% block content %}{% endblock %}")
    templates = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    with override_settings(TEMPLATES=templates):
        page = client.get(ROOT, headers={"Accept": "text/html"}).content.decode()
    assert "<p>the site's own</p>" in page
    assert "text 4" in page


def test_read_and_delete(client, made):
    assert client.get(ROOT + "count/").json() == {"unread": 5}
    assert client.post(f"{ROOT}{made[1].pk}/read/").json() == {"unread": 4}
    assert client.post(f"{ROOT}{made[1].pk}/read/").json() == {"unread": 4}
    assert client.post(f"{ROOT}{made[0].pk}/delete/").json() == {"unread": 3}
    assert client.post(f"{ROOT}read-all/", {"upto": made[2].pk}).json() == {"unread": 2}
    assert client.post(f"{ROOT}read-all/").json() == {"unread": 0}
    assert Notification.objects.unread().count() == 5  # another's
    assert not Notification.objects.filter(pk=made[0].pk).exists()


def test_without_javascript_the_form_leads_back(client, made):
    answer = client.post(f"{ROOT}{made[1].pk}/read/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, ROOT)


def test_notifications_of_another_user_are_not_found(client, made, users):
    theirs = Notification.objects.filter(user=users[1]).first()
    for what in ("read", "delete"):
        assert client.post(f"{ROOT}{theirs.pk}/{what}/").status_code == 404
        assert client.post(f"{ROOT}{10**12}/{what}/").status_code == 404
        assert client.post(f"{ROOT}{10**30}/{what}/").status_code == 404
    assert Notification.objects.filter(user=users[1]).unread().count() == 5
    theirs_alone = {item["text"] for item in client.get(ROOT).json()["notifications"]}
    assert "another's" not in theirs_alone


@pytest.mark.parametrize("path", ["", "stream/", "count/"])
@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "*/*"])
def test_an_anonymous_request_is_refused_and_not_redirected(alias, path, accept):
    login = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with override_settings(
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            login,
        ]
    ):
        answer = Client().get(ROOT + path, headers={"Accept": accept})
    assert answer.status_code == 403
    assert "Location" not in answer.headers


def test_an_inactive_user_is_refused(client, ada, alias):
    ada.is_active = False
    ada.save()
    assert client.get(ROOT).status_code == 403


@pytest.mark.parametrize("path", CHANGES)
def test_changes_are_posted(client, made, path):
    path = path.replace("1", str(made[0].pk))
    assert client.get(ROOT + path).status_code == 405
    assert Client().post(ROOT + path).status_code == 403
    assert Notification.objects.unread().count() == 10


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("use_sessions", [False, True])
@pytest.mark.parametrize("middleware", [False, True])
def test_csrf_is_checked(ada, made, path, use_sessions, middleware):
    """Whether or not the project has the middleware for it."""
    path = ROOT + path.replace("1", str(made[0].pk))
    names = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        *["django.middleware.csrf.CsrfViewMiddleware"] * middleware,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    with override_settings(CSRF_USE_SESSIONS=use_sessions, MIDDLEWARE=names):
        client = Client(enforce_csrf_checks=True)
        client.force_login(ada)
        assert client.post(path).status_code == 403
        page = client.get(ROOT, headers={"Accept": "text/html"}).content.decode()
        token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        assert client.post(path, headers={"X-CSRFToken": "wrong"}).status_code == 403
        assert client.post(path, headers={"Authorization": "Bearer wrong"}).status_code == 403
        assert client.post(path, headers={"X-CSRFToken": token}).status_code == 200
        assert client.post(path, {"csrfmiddlewaretoken": token}).status_code in (200, 404)


def by_token(request):
    """A project's authentication by a header."""
    from django.contrib.auth import get_user_model

    name = request.headers.get("Authorization", "").rpartition(" ")[2]
    return get_user_model().objects.filter(username=name).first()


def test_any_authentication_that_the_project_has(ada, made):
    with override_settings(SERVERSENT={**settings.SERVERSENT, "NOTIFICATION_USER": f"{__name__}.by_token"}):
        client, headers = Client(enforce_csrf_checks=True), {"Authorization": "Bearer ada"}
        assert client.get(ROOT + "count/", headers=headers).json() == {"unread": 5}
        assert client.get(ROOT + "count/", headers={"Authorization": "Bearer nobody"}).status_code == 403
        assert client.get(ROOT + "count/").status_code == 403
        assert client.post(ROOT + "read-all/", headers=headers).json() == {"unread": 0}
        # What a browser adds by itself does not say that its user wants this.
        assert client.get(ROOT + "count/", headers={"Authorization": "Basic ada"}).status_code == 200
        assert client.post(ROOT + "read-all/", headers={"Authorization": "Basic ada"}).status_code == 403


@pytest.mark.parametrize("count", [10, 10_000])
def test_opening_the_bell_costs_five_queries_at_most(client, ada, alias, count):
    Notification.objects.bulk_create(Notification(user=ada, text="x", created_at=timezone.now()) for _ in range(count))
    for accept in ("application/json", "text/html"):
        with CaptureQueriesContext(
            connections[alias],
        ) as queries:
            client.get(ROOT, headers={"Accept": accept})
        assert len(queries) == 4, [query["sql"] for query in queries]  # the session, the user, the page, the number
