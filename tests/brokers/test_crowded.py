"""Very many events at once, and very large ones: batches are bounded, nothing waits behind them, nothing is left."""

import asyncio
import time
from contextlib import aclosing

import pytest
from django.db import connections, transaction

from serversent.brokers import OutgoingEvent
from serversent.brokers.channel_names import REVOKED
from serversent.brokers.sql import sql

from .test_contract import DEADLINE_SECONDS, events, in_thread, read_all, send, texts

MANY = 25_000  # more than twenty batches


async def test_more_than_twenty_batches_are_numbered_before_the_head(broker, kind):
    """A stream that begins at the head must not get them."""
    if kind == "memory":
        pytest.skip("it keeps 1,000 of a channel")
    await send(broker, "first", channel="b")
    first = await broker.head()
    many = [OutgoingEvent("a", "message", str(number)) for number in range(MANY)]

    def send_and_ask():
        broker.append(many)
        return broker.cursor()

    async with asyncio.timeout(DEADLINE_SECONDS * 3):
        assert (await in_thread(send_and_ask)).offset - first.offset == MANY
        assert (await broker.head()).offset - first.offset == MANY
        assert texts(await read_all(broker, ["a"])) == [str(number) for number in range(MANY)]


async def test_the_outbox_of_another_process_is_numbered_before_the_head(broker, kind, database_alias):
    if kind in ("memory", "sqlite"):
        pytest.skip("it has no outbox")
    insert = "INSERT INTO serversent_outbox (channel, data) VALUES ('a', 'left')"

    def leave():
        with transaction.atomic(using=kind), connections[kind].cursor() as cursor:
            cursor.executemany(insert, [[]] * 2500)

    await in_thread(leave)
    await broker.head()
    assert await in_thread(lambda: sql(connections[kind], "SELECT COUNT(*) FROM serversent_outbox")[0][0]) == 0
    assert len(await read_all(broker, ["a"])) == 2500


async def test_a_revocation_overtakes_a_crowded_outbox(broker, kind):
    """It is the last of many events, and among the first that are numbered."""
    if kind in ("memory", "sqlite"):
        pytest.skip("it has no outbox")
    many = [OutgoingEvent("a", "message", "x")] * 9000
    revoked = OutgoingEvent(REVOKED, "revoked", "{}")
    await send(broker, "first")
    head = await broker.head()
    await in_thread(broker.append, [*many, revoked])
    offset = (await broker.read({REVOKED}, head.offset, 2**62)).events[0].offset
    assert offset - head.offset < 5000


async def test_events_of_a_megabyte_are_sent_in_several_statements(broker):
    """MariaDB refuses a statement of over 16 MB."""
    large = [OutgoingEvent("a", "message", str(number) * 1_000_000) for number in range(2)] * 10
    await in_thread(broker.append, large)
    found = texts(await read_all(broker, ["a"]))
    assert [text[0] for text in found] == ["0", "1"] * 10
    assert {len(text) for text in found} == {1_000_000}


async def test_a_time_limit_ends_no_numbering_for_good(broker, kind):
    """A batch that takes longer than statement_timeout is tried again, smaller, and so is its rest."""
    if kind != "postgresql":
        pytest.skip("statement_timeout is PostgreSQL's")

    def leave_and_send():
        with transaction.atomic(using=kind):
            sql(
                connections[kind],
                "INSERT INTO serversent_outbox (channel, data) "
                "SELECT 'a', repeat(md5(i::text), 12500) FROM generate_series(1, 300) AS i",
            )
        began = time.monotonic()
        broker.append(events("last"))
        return time.monotonic() - began

    def limit_statements(seconds):
        sql(connections[kind], f"SET statement_timeout = {round(seconds * 1000)}")

    took_unlimited = await in_thread(leave_and_send)
    await in_thread(limit_statements, took_unlimited / 3)
    await in_thread(leave_and_send)
    for _ in range(5):  # each call goes a bit further
        await in_thread(broker.append, events("again"))

    def left():
        return sql(connections[kind], "SELECT COUNT(*) FROM serversent_outbox")[0][0]

    assert await in_thread(left) == 0
    assert len([text for text in texts(await read_all(broker, ["a"])) if len(text) == 400_000]) == 600


async def test_the_tail_says_how_far_behind_it_is(broker):
    await send(broker, "first")
    head = await broker.head()
    await in_thread(broker.append, [OutgoingEvent("a", "message", "x")] * 800)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        pieces = [await anext(tail)]
        while pieces[-1].end < head.offset + 800:
            pieces.append(await anext(tail))
    assert all(piece.head == head.offset + 800 for piece in pieces)
