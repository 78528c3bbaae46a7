"""Every broker, on every database: the same tests run over all of them."""

import itertools

import pytest
from django.db import connections

from serversent.brokers.database import DatabaseBroker, log
from serversent.brokers.memory import MemoryBroker
from tests.conftest import BROKERS

_number = itertools.count()


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
