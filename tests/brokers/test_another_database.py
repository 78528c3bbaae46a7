"""A broker on another database than the project's data: what a commit and a rollback mean there."""

import pytest
from django.db import connections, transaction

from serversent.brokers import OutgoingEvent
from serversent.brokers.database import DatabaseBroker
from serversent.brokers.memory import MemoryBroker
from serversent.errors import BrokerUnavailable


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def broker(request, database_alias, django_db_blocker):
    with django_db_blocker.unblock():
        alias = database_alias(request.param)
        broker = DatabaseBroker("elsewhere", {"database": alias})
        broker.prune(-60)
        yield broker
        connections[alias].close()
        connections["default"].close()


def send(broker, text, **options):
    broker.append([OutgoingEvent("c", "message", text)], **options)


def logged(broker):
    with connections[broker.database].cursor() as cursor:
        cursor.execute("SELECT data FROM serversent_event WHERE channel = 'c' ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def test_an_event_waits_for_the_commit_of_the_data(broker):
    with transaction.atomic(using="default"):
        send(broker, "with the data")
        assert logged(broker) == []
    assert logged(broker) == ["with the data"]


def test_a_rollback_of_the_data_takes_the_event_with_it(broker):
    with pytest.raises(ValueError), transaction.atomic(using="default"):
        send(broker, "never")
        raise ValueError
    with transaction.atomic(using="default"):
        with pytest.raises(ValueError), transaction.atomic(using="default"):
            send(broker, "nor this")
            raise ValueError
    assert logged(broker) == []


def test_within_its_own_transaction_it_is_part_of_that(broker):
    with transaction.atomic(using="default"), transaction.atomic(using=broker.database):
        send(broker, "both")
    assert logged(broker) == ["both"]
    with pytest.raises(ValueError), transaction.atomic(using="default"):
        with transaction.atomic(using=broker.database):
            send(broker, "its own commit came first")
        raise ValueError
    assert logged(broker) == ["both", "its own commit came first"]


def test_at_once_from_within_a_transaction(broker):
    with pytest.raises(ValueError), transaction.atomic(using="default"):
        send(broker, "progress", on_commit=False)
        assert logged(broker) == ["progress"]
        raise ValueError
    assert logged(broker) == ["progress"]


def test_at_once_from_within_a_transaction_that_has_written(broker):
    with transaction.atomic(using=broker.database):
        send(broker, "later")
        if connections[broker.database].vendor == "sqlite":
            with pytest.raises(BrokerUnavailable, match="locked") as raised:
                send(broker, "progress", on_commit=False)
            assert "SQLite has one writer" in raised.value.__notes__[0]
        else:
            send(broker, "progress", on_commit=False)
            assert logged(broker) == ["progress"]
    assert logged(broker)[-1] == "later"


def test_with_two_transactions_an_event_waits_for_the_default_databases(broker):
    """``send_event()`` cannot know which one the event is of. Most of a project's data is in the default database."""
    memory = MemoryBroker("memory", {})
    cursor = memory.cursor()
    with transaction.atomic(using=broker.database):
        with pytest.raises(ValueError), transaction.atomic(using="default"):
            send(memory, "never")
            raise ValueError
        with transaction.atomic(using="default"):
            send(memory, "with the data")
            assert memory.cursor() == cursor
        assert memory.cursor().offset == cursor.offset + 1
    assert memory.cursor().offset == cursor.offset + 1
