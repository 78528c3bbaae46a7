"""Where a log meets what its project and its database do: clocks, settings, plain SQL, deletions, failovers."""

import asyncio
import itertools
import logging
from contextlib import aclosing

import pytest
from django.db import OperationalError, connections, transaction

from serversent.brokers import OutgoingEvent
from serversent.brokers.database import DatabaseBroker
from serversent.brokers.memory import MAX_FLOORS, MemoryBroker
from serversent.brokers.sql import sql
from serversent.errors import BrokerUnavailable, CursorExpired
from serversent.models import Event

from .test_contract import DEADLINE_SECONDS, events, in_thread, read_all, send, texts


@pytest.fixture
def database(kind, database_alias):
    if kind == "memory":
        pytest.skip("it has no database")
    return database_alias(kind)


@pytest.fixture
def another(database, make_broker):
    """Return what makes a broker on the same database, through an alias with other settings."""
    made = []

    def make(**changed):
        name = f"another{len(made)}"
        made.append(name)
        own = {**connections[database].settings_dict, **changed}
        own["OPTIONS"] = dict(own["OPTIONS"])
        connections.settings[name] = own
        return DatabaseBroker("default", {"database": name})

    yield make
    for name in made:
        connections[name].close()
        del connections[name]
        del connections.settings[name]


# Clocks and settings.


@pytest.mark.parametrize("zone", [None, "Pacific/Auckland", "America/Los_Angeles"])
@pytest.mark.parametrize("use_tz", [True, False])
async def test_pruning_goes_by_the_clock_of_the_database(kind, another, settings, use_tz, zone):
    """Whatever the time zones of the project and of the database: they are a day apart."""
    settings.USE_TZ = use_tz
    settings.TIME_ZONE = "Pacific/Kiritimati"
    broker = another(TIME_ZONE=zone if use_tz else None)
    await send(broker, "just now")
    assert await in_thread(broker.prune, 3600) == 0
    await broker.maintain()
    assert texts(await read_all(broker, ["a"])) == ["just now"]
    assert await in_thread(broker.prune, -1) == 1
    await broker.aclose()


async def test_events_from_the_future_stop_no_pruning(kind, broker, database):
    """The clock was ahead for a while, and events of that time are at the front of the log."""
    later = {"postgresql": "now() + interval '1 year'", "mariadb": "UTC_TIMESTAMP(6) + INTERVAL 1 YEAR"}
    future = later.get(kind, "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '+1 year')")
    await in_thread(broker.append, [OutgoingEvent("a", "message", "future")] * 1000)
    await in_thread(lambda: sql(connections[database], f"UPDATE serversent_event SET logged_at = {future}", []))
    assert await in_thread(broker.prune, 3600) == 0  # what is behind them may be from just now
    await send(broker, "old")
    ago = future.replace("+ ", "- ").replace("+1", "-1")
    change = f"UPDATE serversent_event SET logged_at = {ago} WHERE data = 'old'"
    await in_thread(lambda: sql(connections[database], change, []))
    await send(broker, "new")
    await broker.maintain()
    assert texts(await read_all(broker, ["a"], None)) == ["new"]


async def test_autocommit_that_is_off(another):
    """Our own connections have it on, or nothing that they do would ever be committed."""
    broker = another(AUTOCOMMIT=False)
    head = await broker.head()

    def publish():
        broker.append(events("by hand"))
        transaction.commit(using=broker.database)

    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        waiting = asyncio.ensure_future(anext(tail))
        await in_thread(publish)
        assert texts((await waiting).events) == ["by hand"]
    await in_thread(broker.prune, -1)
    assert await read_all(broker, ["a"], None) == []
    await broker.aclose()


# The caller's transaction.


async def test_an_error_in_the_callers_transaction_is_the_databases_own(broker, kind, database):
    """For those who try a transaction again after a deadlock, a lock timeout or a serialization failure."""

    def fail(execute, statement, parameters, many, context):
        if "serversent_" in statement:
            raise OperationalError("deadlock detected")
        return execute(statement, parameters, many, context)

    def publish(in_transaction):
        with connections[database].execute_wrapper(fail):
            if in_transaction:
                with transaction.atomic(using=database):
                    broker.append(events("x"))
            broker.append(events("x"))

    with pytest.raises(OperationalError, match="deadlock detected"):
        await in_thread(publish, True)
    with pytest.raises(BrokerUnavailable, match="deadlock detected"):
        await in_thread(publish, False)

    def ask():
        with connections[database].execute_wrapper(fail), transaction.atomic(using=database):
            broker.cursor()

    with pytest.raises(OperationalError, match="deadlock detected"):
        await in_thread(ask)


@pytest.mark.parametrize("elsewhere", ["memory", "database"])
async def test_a_transaction_by_hand_that_the_log_is_no_part_of(broker, kind, database, elsewhere, database_alias):
    """Django tells nobody of its commit, so an event cannot wait for it; as on_commit(), it is refused."""
    other = MemoryBroker("by-hand", {})
    if elsewhere == "database":
        if kind == "sqlite":
            pytest.skip("it is the other database")
        other = DatabaseBroker("default", {"database": database_alias("sqlite")})
    head = other.cursor() if elsewhere == "memory" else await in_thread(other.cursor)

    def by_hand():
        transaction.set_autocommit(False, using=database)
        try:
            broker.append(events("in the transaction"))
            other.append(events("rolled back"))
        finally:
            transaction.rollback(using=database)
            transaction.set_autocommit(True, using=database)

    with pytest.raises(transaction.TransactionManagementError, match="begun by hand"):
        await in_thread(by_hand)
    assert (other.cursor() if elsewhere == "memory" else await in_thread(other.cursor)) == head


async def test_a_log_that_is_away_at_the_commit(kind, database, another, caplog):
    """The commit is done: its caller gets no error, and the callbacks that follow run."""
    if kind == "sqlite":
        pytest.skip("a file is not away")
    away = another(PORT=1)
    called = []

    def publish():
        with transaction.atomic(using=database):
            away.append(events("lost"))
            transaction.on_commit(lambda: called.append("the next callback"), using=database)

    with caplog.at_level(logging.ERROR):
        await in_thread(publish)
    assert called == ["the next callback"]
    assert "are lost" in caplog.text


# What gets into the log past this package.


@pytest.mark.parametrize(
    "values",
    [
        "('a', 'message', X'00FF')",
        "('a', 'message', CAST(X'FFFE' AS TEXT))",
        "(CAST(X'FF' AS TEXT), 'message', 'x')",
        "('a', CAST(X'FF' AS TEXT), 'x')",
        "('a', 'two\nlines', 'x')",
        "(X'61', X'61', X'61')",
        "(1, 2, 3)",
        "('', '', '')",
    ],
)
async def test_invalid_rows_by_plain_sql_stop_no_stream(broker, kind, database, values):
    """SQLite stores any bytes anywhere."""
    if kind != "sqlite":
        pytest.skip("other databases check what they store")
    head = await broker.head()
    insert = f"INSERT INTO serversent_outbox (channel, event, data) VALUES {values}"
    await in_thread(lambda: sql(connections[database], insert))
    await send(broker, "after it")
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        found = [*(await anext(tail)).events]
    assert found[-1].data == "after it"
    assert all(isinstance(value, str) for event in found for value in event[1:])
    recent = await broker.recent(found[-1].offset, 100_000)
    assert recent.events[-1].data == "after it"
    assert (await read_all(broker, ["a"]))[-1].data == "after it"
    assert await broker.closed(["a"], found[-1].offset) == set()


async def test_events_that_are_deleted_by_the_orm_are_pruned(broker, database):
    """Also the newest: a log that seems to have lost its end would be taken for another."""
    await send(broker, *"123")
    await send(broker, "4", channel="b")
    head = await broker.head()

    def delete():
        Event.objects.using(database).order_by("-id").first().delete(using=database)
        return Event.objects.using(database).filter(data="3").delete()

    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        waiting = asyncio.ensure_future(anext(tail))
        assert (await in_thread(delete))[0] == 1
        assert await broker.head() == head
        await send(broker, "5")
        piece = await waiting
    assert piece.epoch == head.epoch
    assert texts(piece.events) == ["5"]
    with pytest.raises(CursorExpired):
        await broker.read(["a"], head.offset - 2, head.offset)
    assert texts(await read_all(broker, ["a"], head.offset)) == ["5"]


async def test_another_server_that_takes_over_begins_another_epoch(broker, kind, database):
    """A replica may lack the end of the log, and give its offsets out again."""
    if kind != "mariadb":
        pytest.skip("PostgreSQL has its timeline, SQLite has no replicas")
    await send(broker, "1", "2")
    seen = await broker.head()
    before = await in_thread(lambda: sql(connections[database], "SELECT @@server_id")[0][0])

    def take_over():
        sql(connections[database], "DELETE FROM serversent_event WHERE data = '2'")
        sql(connections[database], f"ALTER TABLE serversent_event AUTO_INCREMENT = {seen.offset}")
        sql(connections[database], f"SET GLOBAL server_id = {before + 1}")

    await in_thread(take_over)
    try:
        await send(broker, "another 2", "3")
        head = await broker.head()
        assert head.offset == seen.offset + 1
        assert not head.is_of(seen)
        await send(broker, "4")
        assert (await broker.head()).epoch == head.epoch
    finally:
        await in_thread(lambda: sql(connections[database], f"SET GLOBAL server_id = {before}"))


# Growth.


def test_channels_that_were_used_once_do_not_pile_up():
    broker = MemoryBroker("floors", {"keep": 1})
    names = [f"c{number}" for number in range(MAX_FLOORS + 10)]
    for name, number in itertools.product(names, range(2)):
        broker.append([OutgoingEvent(name, "message", str(number))])
    assert len(broker._log.floors) == MAX_FLOORS
    head = asyncio.run(broker.head())
    with pytest.raises(CursorExpired):
        asyncio.run(broker.read([names[0]], 0, head.offset))
    assert len(asyncio.run(broker.read([names[-1]], head.offset - 1, head.offset)).events) == 1
    assert asyncio.run(broker.read(["quiet"], head.offset - 1, head.offset)).events == []
