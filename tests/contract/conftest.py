"""Every broker, on every database: the same tests run over all of them."""

import itertools

import pytest
from django.core.management import call_command
from django.db import connections

from serversent.brokers import log
from serversent.brokers.database import DatabaseBroker
from serversent.brokers.memory import MemoryBroker

_number = itertools.count()

BROKERS = [
    pytest.param("memory"),
    pytest.param("sqlite"),
    pytest.param("postgresql", marks=pytest.mark.service("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.service("mariadb")),
]


@pytest.fixture(scope="session")
def database_alias(request, server_folder, django_db_blocker):
    """Make a database of the project's of one kind, migrated, and return its alias."""
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


@pytest.fixture(params=BROKERS)
def kind(request):
    return request.param


@pytest.fixture
def make_broker(kind, database_alias, django_db_blocker):
    """Return what makes instances of one broker, whose log is empty at first."""
    with django_db_blocker.unblock():
        if kind == "memory":
            name = f"memory-{next(_number)}"
            yield lambda **options: MemoryBroker(name, options)
            return
        alias = database_alias(kind)
        with connections[alias].cursor() as cursor:
            for table in ("outbox", "event", "channel", "log"):
                cursor.execute(f"DELETE FROM serversent_{table}")
        log.head(connections[alias])
        yield lambda **options: DatabaseBroker("default", {"database": alias, **options})
        connections[alias].close()


@pytest.fixture
async def broker(make_broker):
    broker = make_broker()
    yield broker
    await broker.aclose()
