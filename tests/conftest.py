"""Fixtures: real servers, and the skipping, by name, of what this machine has not got."""

import collections
import gc
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections
from django.test import modify_settings, override_settings
from django.urls import path

from . import processes, selection

# A deadline per example measures how busy the machine is.
hypothesis.settings.register_profile("serversent", deadline=None)
hypothesis.settings.load_profile("serversent")

# What a test may need of the machine, by the program or the file that it is found by.
SERVICES = {
    "postgresql": "initdb",
    "mariadb": "mariadbd",
    "nginx": "nginx",
    "chromium": "chromium",
    "pgbouncer": "pgbouncer",
    "ip": "ip",
    "firefox": "firefox-esr",
    "webkit": "WebKitWebDriver",
    "npm": str(processes.ROOT / "node_modules"),
}

DATABASES = [
    pytest.param("sqlite"),
    pytest.param("postgresql", marks=pytest.mark.service("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.service("mariadb")),
]
BROKERS = [pytest.param("memory"), *DATABASES]

_missing: collections.Counter[str] = collections.Counter()


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--matrix"):
        os.environ.setdefault("TEST_FUZZ_EXAMPLES", "200")
    # Below the shell's "&" and nohup SIGINT is ignored, and so it would be in every server that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix",
        action="store_true",
        help="each test on every database and server, and the slow ones; without it, each behaviour once",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--matrix"):
        chosen = selection.once_each(items)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("service"):
        name = mark.args[0]
        if processes.find_program(SERVICES[name]):
            continue
        if os.environ.get("CI") == "true":
            pytest.fail(f"needs {name}, which is not installed: make services")
        _missing[name] += 1
        pytest.skip(f"needs {name}: make services")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missing:
        counted = ", ".join(f"{name} ({count})" for name, count in sorted(_missing.items()))
        terminalreporter.section("skipped, because a program is missing")
        terminalreporter.line(f"{counted}. To install all of them: make services")


class _Records(logging.Filter):
    """Keeps what is logged. A filter, because configuring the logging again, as each application does, keeps these."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[str, str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        self.messages.append((record.levelname, record.getMessage()))
        return True


@pytest.fixture
def logged():
    """What this package logs in a test, as ``(level, message)``, also within an application that is made in it."""
    records = _Records()
    logging.getLogger("serversent").addFilter(records)
    yield records.messages
    logging.getLogger("serversent").removeFilter(records)


@pytest.fixture
def collect_garbage():
    """Return a function that collects what the test has made. A collection of a whole run takes 1 s."""
    gc.freeze()
    yield gc.collect
    gc.unfreeze()


@pytest.fixture
def without_garbage_collector():
    """What a test drops is closed at once, or not at all."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def sqlite_file(server_folder: Path) -> str:
    """A migrated SQLite file with one user, for servers in processes of their own."""
    path = str(server_folder / "db.sqlite3")
    migrate({"TEST_SQLITE": path})
    return path


@pytest.fixture(scope="session")
def postgresql_server():
    with processes.postgresql("-c", "fsync=off") as server:
        migrate({"TEST_DATABASE": json.dumps(server.settings)})
        yield server


@pytest.fixture(scope="session")
def postgresql_settings(postgresql_server):
    return postgresql_server.settings


@pytest.fixture(scope="session")
def mariadb_settings():
    with processes.mariadb() as settings:
        migrate({"TEST_DATABASE": json.dumps(settings)})
        yield settings


@pytest.fixture(scope="session")
def database_alias(request, server_folder, django_db_setup, django_db_blocker):
    """Make a database of the project's of one kind, migrated, and return its alias.

    After ``django_db_setup``, which would put a database in memory into the place of each one that it finds.
    """
    made = set()

    def alias_of(kind):
        if kind not in made:
            if kind == "sqlite":
                settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(server_folder / "contract.sqlite3")}
            else:
                settings = request.getfixturevalue(f"{kind}_settings")
            connections.settings.update({kind: connections.configure_settings({"default": {}, kind: settings})[kind]})
            made.add(kind)
            with django_db_blocker.unblock():
                call_command("migrate", database=kind, verbosity=0)
        return kind

    yield alias_of
    with django_db_blocker.unblock():
        for kind in made:
            connections[kind].close()
            del connections[kind]
            del connections.settings[kind]


def migrate(environment: dict[str, str]) -> None:
    code = (
        "import django; django.setup();"
        "from django.core.management import call_command as call; call('migrate', verbosity=0);"
        "from django.contrib.auth import get_user_model as model;"
        "[model().objects.create_user(name) for name in ('ada', 'grace', 'hedy')]"
    )
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=variables, cwd=processes.ROOT)


@pytest.fixture
def admin_site(monkeypatch):
    """The project with Django's admin."""
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
    with (
        modify_settings(
            INSTALLED_APPS={"append": ["django.contrib.messages", "django.contrib.admin"]},
            MIDDLEWARE={"append": "django.contrib.messages.middleware.MessageMiddleware"},
        ),
        override_settings(TEMPLATES=[templates], ROOT_URLCONF=(path("admin/", admin.site.urls),)),
    ):
        # The table of the admin's history is not made.
        monkeypatch.setattr("django.contrib.admin.models.LogEntryManager.log_actions", lambda *args, **kwargs: None)
        yield


@pytest.fixture
def staff(client):
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client
