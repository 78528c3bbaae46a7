"""What only PostgreSQL does: sends of one call, beside time limits, transactions by hand, and read-only roles."""

import asyncio
import contextlib

import pytest
from django.db import connections, transaction

from serversent.access import auth_signals
from serversent.brokers import OutgoingEvent
from serversent.brokers.database import DatabaseBroker
from serversent.brokers.database.session import own_connection
from serversent.brokers.database.wakeup import ListenWakeup
from serversent.brokers.sql import sql
from serversent.errors import BrokerUnavailable
from tests.processes import free_port

pytestmark = pytest.mark.service("postgresql")


@pytest.fixture
def alias(database_alias, django_db_blocker):
    with django_db_blocker.unblock():
        alias = database_alias("postgresql")
        for table in ("outbox", "event", "channel", "log"):
            sql(connections[alias], f"DELETE FROM serversent_{table}")
        yield alias
        connections[alias].close()


@pytest.fixture
def broker(alias):
    return DatabaseBroker("default", {"database": alias})


@contextlib.contextmanager
def another(alias, **settings):
    """Another alias of the same database, with some settings of its own."""
    changed = {**connections[alias].settings_dict, **settings}
    connections.settings["another"] = changed
    try:
        yield DatabaseBroker("default", {"database": "another"})
    finally:
        connections["another"].close()
        del connections["another"]
        del connections.settings["another"]


def events(*texts):
    return [OutgoingEvent("a", "message", text) for text in texts]


def logged(alias):
    return [data for (data,) in sql(connections[alias], "SELECT data FROM serversent_event ORDER BY id")]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_time_limit_after_the_commit_is_no_error_of_the_sender(alias, broker, in_transaction, caplog):
    holder = own_connection(alias)
    sql(connections[alias], "SET statement_timeout = '300ms'")
    sql(holder, "BEGIN")
    sql(holder, "LOCK TABLE serversent_event IN SHARE MODE")
    try:
        with transaction.atomic(using=alias) if in_transaction else contextlib.nullcontext():
            broker.append(events("first"))
    finally:
        sql(holder, "ROLLBACK")
        holder.close()
    assert "Sent events are stored" in caplog.text
    broker.append(events("second"))
    assert logged(alias) == ["first", "second"]


def test_a_transaction_begun_by_hand_is_left_alone(alias, broker):
    for text, ending in (("rolled back", "ROLLBACK"), ("committed", "COMMIT")):
        sql(connections[alias], "BEGIN")
        broker.append(events(text))
        broker.append(events(f"{text} too"))
        sql(connections[alias], ending)
    asyncio.run(_head(broker))  # as a hub's poll does
    assert logged(alias) == ["committed", "committed too"]


async def _head(broker):
    try:
        return await broker.head()
    finally:
        await broker.aclose()


@pytest.mark.parametrize("count", [1, 2])
def test_a_database_that_is_gone_is_named(alias, count):
    with another(alias, PORT=free_port()) as gone, pytest.raises(BrokerUnavailable, match="another"):
        gone.append(events(*"ab"[:count]))


def test_a_role_that_may_only_read(alias, broker, caplog):
    connection = connections[alias]
    tables = "serversent_outbox, serversent_event, serversent_channel, serversent_log"
    broker.append(events("first"))
    broker.cursor()  # makes the row about the log, where a test has emptied it
    sql(connection, "CREATE ROLE reader LOGIN")
    try:
        sql(connection, f"GRANT SELECT ON {tables} TO reader")
        sql(connection, "INSERT INTO serversent_outbox (channel, data) VALUES ('a', 'pending')")
        with another(alias, USER="reader") as readers:
            head = asyncio.run(_head(readers))
        assert head.offset > 0
        assert "cannot be numbered" in caplog.text
    finally:
        sql(connection, "DROP OWNED BY reader")
        sql(connection, "DROP ROLE reader")


def test_wake_ups_do_not_pile_up(alias):
    """One read answers all that came before it. Those left over would each end a wait for nothing, for a long time."""
    wakeup, connection, other = ListenWakeup(alias), own_connection(alias), own_connection(alias)
    try:
        wakeup.prepare(connection)
        for _ in range(100):
            sql(other, "SELECT pg_notify('serversent', '')")
        # PostgreSQL hands them on when it gets to it: on a busy machine not all of them at once.
        waits = 0
        while wakeup.wait(connection):
            wakeup.prepare(connection)
            waits += 1
        assert 1 <= waits <= 20
    finally:
        connection.close()
        other.close()


def test_a_revocation_that_fails_takes_nothing_with_it(alias, broker, monkeypatch, caplog):
    """PostgreSQL ends a transaction with the first statement that fails, and commits it as a rollback."""

    def fail():
        sql(connections[alias], "INSERT INTO no_such_table VALUES (1)")

    monkeypatch.setattr(auth_signals, "broker", lambda name: broker)
    with transaction.atomic(alias):
        sql(connections[alias], "INSERT INTO serversent_event (channel, data) VALUES ('a', 'of the project')")
        auth_signals._say(fail)
    assert "could not be ended" in caplog.text
    assert logged(alias) == ["of the project"]
