"""Where the log stood a while ago: what was committed after that is after it, whenever it was sent."""

import time

import pytest
from django.db import transaction
from django.test import override_settings

from serversent.brokers.database.committed import committed_offsets
from serversent.brokers.dialects.sqlite import TRANSACTION_SECONDS

from .test_contract import events, in_thread, send


@pytest.fixture(autouse=True)
def default_broker(kind, make_broker):
    """What is noted of a request's start is of the logs that the settings name."""
    broker = {"BACKEND": "serversent.brokers.database.DatabaseBroker", "OPTIONS": {"database": kind}}
    if kind == "memory":
        broker = {"BACKEND": "serversent.brokers.memory.MemoryBroker"}
    with override_settings(SERVERSENT={"BROKERS": {"default": broker}}):
        yield


async def test_the_head_at_a_time(broker, kind):
    def before(at, committed):
        return in_thread(broker.cursor_before, at, committed)

    await send(broker, "1", "2")
    head = await broker.head()
    assert await before(time.monotonic(), committed_offsets()) == head
    noted, began = committed_offsets(), time.monotonic()
    await send(broker, "3")
    assert await before(began, noted) == head
    assert (await before(time.monotonic() - 3600, {})).offset < head.offset
    assert (await before(time.monotonic() - 3600, {})).epoch == head.epoch


async def test_an_event_that_is_committed_later_is_after_the_cursor(broker, kind):
    """The race: an event of a transaction that is open when a request begins, and committed when its page is made."""
    await send(broker, "before")
    head = await broker.head()

    def run():
        if kind == "memory":
            broker.append(events("late"))
            return broker.cursor_before(time.monotonic() - 60, {})
        with transaction.atomic(broker.database):
            broker.append(events("late"))
            time.sleep(TRANSACTION_SECONDS if kind == "sqlite" else 0.05)
            noted, began = committed_offsets(), time.monotonic()
            time.sleep(0.05)
        return broker.cursor_before(began, noted)

    found = await in_thread(run)
    assert found.offset <= head.offset
    if kind != "memory":
        assert found == head  # and no earlier than it need be
    assert (await broker.head()).offset > head.offset
