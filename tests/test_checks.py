"""The system checks of brokers: each id, and what it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connection, connections
from django.test import override_settings

import serversent.checks
import serversent.notifications.checks
from serversent.brokers.database import broker as database_broker

ROOT = Path(__file__).resolve().parent.parent

DATABASE = "serversent.brokers.database.DatabaseBroker"
MEMORY = "serversent.brokers.memory.MemoryBroker"


def ids(**options):
    """Return the ids of the messages, but for those about notifications and static files."""
    found = [
        message.id or ""
        for message in run_checks(tags=["serversent", *["database"] * ("databases" in options)], **options)
    ]
    return [id for id in found if id.startswith("serversent.") and id not in ("serversent.W010", "serversent.W020")]


def configured(backend, **options):
    return override_settings(SERVERSENT={"BROKERS": {"default": {"BACKEND": backend, "OPTIONS": options}}})


def test_a_new_project_has_nothing_to_hear():
    assert ids() == []


@pytest.mark.parametrize(
    ("backend", "options", "wanted"),
    [
        ("serversent.brokers.Nothing", {}, "serversent.E004"),
        ("nowhere.Broker", {}, "serversent.E004"),
        (DATABASE, {"databse": "default"}, "serversent.E004"),
        (DATABASE, {"database": "elsewhere"}, "serversent.E005"),
        (MEMORY, {}, "serversent.W001"),
    ],
)
def test_brokers(backend, options, wanted):
    with configured(backend, **options), override_settings(DEBUG=False):
        assert ids() == [wanted]


def test_memory_is_fine_while_developing():
    with configured(MEMORY), override_settings(DEBUG=True):
        assert ids() == []


def test_a_pooler(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    assert ids() == ["serversent.W002"]


@pytest.mark.django_db
def test_tables_that_are_missing():
    assert ids(databases=["default"]) == []
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE serversent_event")
    assert ids(databases=["default"]) == ["serversent.W004"]


def test_a_new_database_can_be_migrated(tmp_path):
    """`manage.py migrate` runs the checks first: none may keep it from making the tables, or talk about them."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.project.settings",
        "TEST_SQLITE": str(tmp_path / "db.sqlite3"),
        "TEST_DEBUG": "1",
    }
    for _ in range(2):
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.django_db
@pytest.mark.parametrize(("is_mariadb", "wanted"), [(False, ["serversent.E007"]), (True, [])])
def test_mysql_is_not_mariadb(monkeypatch, is_mariadb, wanted):
    """No MySQL can be had here, so what Django says of one is put into its mouth."""
    monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")
    monkeypatch.setattr(type(connections["default"]), "mysql_is_mariadb", is_mariadb, raising=False)
    assert ids(databases=["default"]) == wanted


def test_sqlite_in_production(monkeypatch):
    assert ids(include_deployment_checks=True) == ["serversent.W003"]
    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert ids(include_deployment_checks=True) == []


def test_every_id_has_its_line_in_the_documentation():
    page = (ROOT / "docs/checks.md").read_text()
    for module in (serversent.checks, serversent.notifications.checks, database_broker):
        for word in Path(module.__file__).read_text().split('"'):
            if word.startswith("serversent.") and len(word) == len("serversent.E001"):
                assert f"`{word}`" in page


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n",
            ["serversent.W005"],
        ),
        ("from serversent.asgi import get_asgi_application\napplication = get_asgi_application()\n", []),
        ("# from django.core.asgi import get_asgi_application\napplication = None\n", []),
        ("application = (\n", []),
    ],
    ids=["Django's", "ours", "a comment", "broken"],
)
def test_the_application_of_asgi_py(tmp_path, monkeypatch, settings, source, expected):
    """It is read and not run."""
    (tmp_path / "checked_asgi.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    settings.ASGI_APPLICATION = "checked_asgi.application"
    assert [each for each in ids() if each == "serversent.W005"] == expected


def test_a_project_without_our_urls(settings):
    settings.ROOT_URLCONF = "tests.test_checks"
    assert "serversent.I001" in ids()
    settings.ROOT_URLCONF = "tests.project.urls"
    assert "serversent.I001" not in ids()


urlpatterns = []
