"""Each statement of the hub's fails once, hangs once and loses its connection once: everything arrives all the same.

At the start, while streams are live and while one catches up; nobody restarts anything.
"""

import asyncio
import threading
import time

import pytest
from django.db import OperationalError, connections
from django.test import override_settings

from serversent.brokers.database import broker as database_broker
from serversent.brokers.database import session, wakeup
from serversent.channels.hub import stop_hubs
from serversent.errors import BrokerUnavailable
from tests.channel_client import Client
from tests.relay import relay

from .test_contract import DEADLINE_SECONDS, events, in_thread

READ_SECONDS = 0.3
AT_MOST = 14  # statements of one run, in all of its phases


class Fault:
    """Hits one statement of our own connections, by its number."""

    def __init__(self, what, number):
        self._what = what
        self._left = number
        self._lock = threading.Lock()
        self.hit = None

    def install(self, connection):
        connection.execute_wrappers.append(self)
        return connection

    def __call__(self, execute, statement, parameters, many, context):
        with self._lock:
            self._left -= 1
            is_hit = self._left == 0
        if not is_hit:
            return execute(statement, parameters, many, context)
        self.hit = statement
        if self._what == "fails":
            raise OperationalError("put in")
        if self._what == "hangs":
            time.sleep(3 * READ_SECONDS)
        else:
            context["connection"].connection.close()  # as the server does, or an administrator
        return execute(statement, parameters, many, context)


@pytest.fixture
def hub_on(kind, make_broker, monkeypatch):
    """Return what puts a fault into all connections of a hub on this database."""
    if kind == "memory":
        pytest.skip("it has no statements")
    monkeypatch.setattr(session, "READ_SECONDS", READ_SECONDS)
    monkeypatch.setattr(wakeup, "MAX_WAIT_SECONDS", 0.1)
    original = session.own_connection

    def install(fault):
        for module in (session, wakeup, database_broker):
            monkeypatch.setattr(module, "own_connection", lambda alias: fault.install(original(alias)))

    broker = {"BACKEND": "serversent.brokers.database.DatabaseBroker", "OPTIONS": {"database": kind}}
    with override_settings(SERVERSENT={"BROKERS": {"default": broker}, "REPLAY_BYTES": 0, "HEARTBEAT_SECONDS": 0.2}):
        yield install


async def opened(*arguments, **options):
    """A client that comes back until it is not refused, as browsers do."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            client = Client(*arguments, **options)
            try:
                await client.driver.begin()
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
            else:
                client.driver.attach(client.write, id)
                return client


async def play(publisher, texts):
    """Two live streams, one that resumes, and events meanwhile. Returns what each got."""
    first = await opened("a")
    cursor = (await first.take(1))[0].id
    await in_thread(publisher.append, events(*texts[:2]))
    await first.take(3)
    late = await opened("a", last_event_id=cursor)
    await in_thread(publisher.append, events(*texts[2:]))
    found = [[event.data for event in await first.take(len(texts) + 1)][1:]]
    found.append([event.data for event in await late.take(len(texts))])
    for client in (first, late):
        client.driver.cancel()
        await client.driver.wait_closed(DEADLINE_SECONDS)
    return found


@pytest.mark.parametrize("what", ["fails", "hangs", "is killed"])
async def test_each_statement(kind, make_broker, hub_on, what):
    publisher, hits = make_broker(), []
    for number in range(1, AT_MOST + 1):
        fault = Fault(what, number)
        hub_on(fault)
        texts = [f"{number} {event}" for event in range(5)]
        assert await play(publisher, texts) == [texts, texts], fault.hit
        await stop_hubs()
        hits.append(fault.hit)
    assert sum(hit is not None for hit in hits) > AT_MOST / 2
    statements = " ".join(filter(None, hits))
    for part in ("serversent_log", "WITH candidates", "serversent_event"):
        assert part in statements


@pytest.mark.parametrize("moment", ["live", "another stream"])
async def test_a_connection_that_is_swallowed(kind, make_broker, hub_on, moment, monkeypatch):
    """What is sent vanishes, and neither end is ever told: the read is given up, and another connection made."""
    if kind == "sqlite":
        pytest.skip("it has no network")
    settings = connections[kind].settings_dict
    publisher = make_broker()
    with relay(int(settings["PORT"])) as between:
        monkeypatch.setitem(connections.settings, "swallowed", {**settings, "PORT": between.port})
        broker = {"BACKEND": "serversent.brokers.database.DatabaseBroker", "OPTIONS": {"database": "swallowed"}}
        with override_settings(SERVERSENT={"BROKERS": {"default": broker}, "REPLAY_BYTES": 0}):
            client = await opened("a")
            await in_thread(publisher.append, events("before"))
            await client.take(2)  # so the tail has its connection
            between.swallow()
            await in_thread(publisher.append, events("x"))
            if moment == "another stream":
                other = await opened("a")
                other.driver.cancel()
            assert (await client.take(3))[2].data == "x"
            client.driver.cancel()
            await stop_hubs()
        del connections["swallowed"]
