"""What every broker promises."""

import asyncio
import contextlib
import threading
from contextlib import aclosing

import pytest
from django.db import connections, transaction

from serversent.brokers import OutgoingEvent
from serversent.brokers.channel_names import ENDED, REVOKED
from serversent.brokers.database import pages
from serversent.brokers.sql import sql
from serversent.errors import CursorExpired
from serversent.wire.cursor import Cursor

DEADLINE_SECONDS = 20

FAR = 2**62


def events(*texts, channel="a", event="message"):
    return [OutgoingEvent(channel, event, text) for text in texts]


async def in_thread(call, *args):
    """Run a publisher's call as another thread of the project does, and leave no connection."""

    def run():
        try:
            return call(*args)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


async def send(broker, *texts, **options):
    await in_thread(broker.append, events(*texts, **options))


async def read_all(broker, channels, after=0):
    """Every event of the channels after an offset, page by page."""
    head, found = await broker.head(), []
    while True:
        page = await broker.read(channels, after, head.offset)
        assert page.after == (after or 0)
        found += page.events
        after = page.end
        if after >= head.offset:
            return found


def texts(found):
    return [event.data for event in found]


async def test_the_latest_of_each_channel(broker):
    await send(broker, "a1", "a2")
    await send(broker, "b1", channel="b")
    await send(broker, "c1", channel="c")
    await send(broker, "c's end", channel="c", event="end")
    end = (await broker.head()).offset
    await send(broker, "a3")
    found = await broker.latest({"a", "b", "c", "none"}, end)
    assert (texts(found.events), found.end) == (["a2", "b1", "c1"], end)
    assert [event.offset for event in found.events] == sorted(event.offset for event in found.events)
    assert texts((await broker.latest({"a"}, FAR)).events) == ["a3"]
    assert not (await broker.latest({"none"}, FAR)).events
    many = {"a", *(f"none-{number}" for number in range(250))}
    assert texts((await broker.latest(many, FAR)).events) == ["a3"]


async def test_sent_events_are_read_in_order(broker):
    await send(broker, "1", "2")
    await send(broker, "3", channel="b")
    await send(broker, "4", event="kind")
    found = await read_all(broker, ["a"])
    assert texts(found) == ["1", "2", "4"]
    assert [event.event for event in found] == ["message", "message", "kind"]
    assert texts(await read_all(broker, ["a", "b"])) == ["1", "2", "3", "4"]
    offsets = [event.offset for event in await read_all(broker, ["b", "a"])]
    assert offsets == sorted(set(offsets))
    assert await read_all(broker, ["nobody"]) == []


async def test_the_head_is_after_everything_that_was_committed(broker):
    empty = await broker.head()
    await send(broker, "1")
    head = await broker.head()
    assert head.epoch == empty.epoch
    assert head.offset > empty.offset
    assert await read_all(broker, ["a"], head.offset) == []
    assert await in_thread(broker.cursor) == head
    assert Cursor.parse(str(head)) == head


async def test_any_text_comes_back_as_it_was_sent(broker):
    data = "é🚀\u2028\u0085\r\n\t'\"\\%s%%{} \ud7ff" + "x" * 100_000
    await send(broker, data)
    assert texts(await read_all(broker, ["a"])) == [data]


async def test_channels_differ_in_case_and_in_nothing_less(broker):
    await send(broker, "upper", channel="A")
    await send(broker, "lower", channel="a")
    assert texts(await read_all(broker, ["a"])) == ["lower"]


async def test_a_page_is_bounded_and_the_next_goes_on(broker):
    await send(broker, *(str(number) + "." * 50_000 for number in range(20)))
    head = await broker.head()
    page = await broker.read(["a"], 0, head.offset)
    assert 1 < len(page.events) < 20
    assert page.end == page.events[-1].offset
    assert [text.rstrip(".") for text in texts(await read_all(broker, ["a"]))] == [str(n) for n in range(20)]


async def test_pages_of_many_channels_miss_nothing(broker):
    """A busy channel among quiet ones: a page ends where any of them may have more."""
    names = [f"c{number}" for number in range(100)]
    for start in range(0, 3000, 300):
        sent = [OutgoingEvent("busy", "message", str(n)) for n in range(start, start + 300)]
        sent[::30] = [OutgoingEvent(names[(start + n) % 100], "message", str(start + n)) for n in range(0, 300, 30)]
        await in_thread(broker.append, sent)
    broker.options = {**broker.options, "keep": 10_000}
    found = await read_all(broker, ["busy", *names[:90]], None)
    offsets = [event.offset for event in found]
    assert offsets == sorted(set(offsets))
    kept = [event for event in found if event.channel == "busy"]
    assert texts(kept) == [str(n) for n in range(3000) if n % 30][-len(kept) :]


async def test_pages_of_more_channels_than_one_statement_takes(broker):
    """Rare ones, a few busy ones, and some between: whichever ends a page, the next begins there."""
    wanted = []
    for number in range(12):
        batch = [OutgoingEvent("busy", "message", f"busy {number} {each}") for each in range(60)]
        batch += [
            OutgoingEvent(f"c{each}", "message", f"{number} {each}") for each in range(number % 3, 250, 1 + number)
        ]
        await in_thread(broker.append, batch)
        wanted += [event.data for event in batch]
    channels = ["busy", *(f"c{number}" for number in range(250))]
    assert texts(await read_all(broker, channels)) == wanted
    assert texts(await read_all(broker, channels, None)) == wanted


async def test_a_pruning_in_the_middle_of_a_read_is_no_silent_gap(broker, kind, monkeypatch):
    if kind == "memory":
        pytest.skip("it reads in one step")
    await send(broker, *map(str, range(5)))
    head = await broker.head()
    fetch = pages._fetch

    def prune_first(connection, offsets):
        monkeypatch.setattr(pages, "_fetch", fetch)
        broker.prune(86_400, 2)
        return fetch(connection, offsets)

    monkeypatch.setattr(pages, "_fetch", prune_first)
    with pytest.raises(CursorExpired):
        await broker.read(["a"], head.offset - 5, head.offset)
    monkeypatch.setattr(pages, "_fetch", prune_first)
    assert texts((await broker.read(["a"], None, head.offset)).events) == ["3", "4"]


async def test_read_ends_where_it_was_told(broker):
    await send(broker, "1", "2", "3")
    found = await read_all(broker, ["a"])
    page = await broker.read(["a"], 0, found[1].offset)
    assert texts(page.events) == ["1", "2"]
    assert page.end == found[1].offset


async def test_a_cursor_is_good_while_exactly_the_next_event_is_kept(broker):
    await send(broker, "1", "2", "3", "4")
    found = await read_all(broker, ["a"])
    assert await in_thread(broker.prune, 86_400, 2) == 2
    head = await broker.head()
    assert texts((await broker.read(["a"], found[1].offset, head.offset)).events) == ["3", "4"]
    with pytest.raises(CursorExpired) as expired:
        await broker.read(["a"], found[0].offset, head.offset)
    assert expired.value.floor == found[1].offset
    assert texts((await broker.read(["a"], None, head.offset)).events) == ["3", "4"]


async def test_pruning_a_busy_channel_does_not_touch_a_quiet_one(broker):
    await send(broker, "q", channel="quiet")
    cursor = await broker.head()
    await send(broker, *map(str, range(10)))
    await in_thread(broker.prune, 86_400, 1)
    assert texts(await read_all(broker, ["quiet"], cursor.offset)) == []
    assert texts(await read_all(broker, ["quiet"])) == ["q"]
    with pytest.raises(CursorExpired):
        await broker.read(["quiet", "a"], cursor.offset, FAR)


async def test_everything_can_be_pruned_and_offsets_go_on(broker):
    await send(broker, "1", "2")
    head = await broker.head()
    assert await in_thread(broker.prune, -60) == 2
    assert await broker.head() == head
    await send(broker, "3")
    assert (await broker.head()).offset > head.offset
    assert texts(await read_all(broker, ["a"], head.offset)) == ["3"]


async def test_revocations_of_urls_are_kept_whatever_the_retention(make_broker, monkeypatch):
    broker = make_broker(keep=1)
    for number in range(5):
        for channel in (REVOKED, ENDED, "a"):
            await send(broker, str(number), channel=channel)
    cursor = await broker.head()

    async def kept(*channels):
        return texts((await broker.read(channels, None, cursor.offset)).events)

    await in_thread(broker.prune)
    assert await kept(REVOKED) == ["0", "1", "2", "3", "4"]
    assert await kept(ENDED, "a") == ["4", "4"]
    await in_thread(broker.prune, -60)
    assert await kept(REVOKED) == ["0", "1", "2", "3", "4"]
    assert await kept(ENDED, "a") == []
    # When no URL from before can be valid any more, it goes as well.
    for module in ("database.pruning", "memory"):
        monkeypatch.setattr(f"serversent.brokers.{module}.REVOKED_SECONDS", -60)
    assert await in_thread(broker.prune) == 5
    assert await broker.head() == cursor
    await broker.aclose()


async def test_a_revocation_has_a_later_offset_than_urls_signed_before_its_commit(broker, kind, database_alias):
    """A page that is rendered meanwhile still sees the permission."""
    holding, release = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=database_alias("sqlite" if kind == "memory" else kind)):
            broker.append([OutgoingEvent(REVOKED, "revoked", "{}")])
            holding.set()
            assert release.wait(DEADLINE_SECONDS)

    held = asyncio.ensure_future(in_thread(hold))
    await asyncio.to_thread(holding.wait, DEADLINE_SECONDS)
    signed = await in_thread(broker.cursor)
    release.set()
    await held
    (revoked,) = await read_all(broker, {REVOKED})
    assert revoked.offset > signed.offset
    assert (await in_thread(broker.cursor)).offset >= revoked.offset


async def test_a_log_without_its_row_can_be_pruned(broker, kind):
    if kind == "memory":
        pytest.skip("it has no row")

    def empty_and_prune():
        sql(connections[kind], "DELETE FROM serversent_log")  # as a flush does
        broker.append(events("1"))
        broker.prune(-60)

    await in_thread(empty_and_prune)
    head = await broker.head()
    await send(broker, "2")
    assert texts(await read_all(broker, ["a"], head.offset)) == ["2"]


async def test_the_tail_yields_the_events_after_a_cursor(broker, make_broker):
    await send(broker, "before")
    head = await broker.head()
    sender = make_broker()

    async def publish():
        for number in range(50):
            await send(sender, str(number), channel=f"c{number % 3}")

    found = []
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        publishing = asyncio.ensure_future(publish())
        after = head.offset
        async for piece in tail:
            assert piece.after == after
            assert piece.epoch == head.epoch
            after = piece.end
            found += piece.events
            if len(found) == 50:
                break
        await publishing
    assert texts(found) == [str(number) for number in range(50)]


async def test_the_tail_tells_of_a_gap(broker):
    await send(broker, "0")
    head = await broker.head()
    await send(broker, "1", "2", "3")
    await in_thread(broker.prune, 86_400, 1)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        piece = await anext(tail)
    assert piece.after > head.offset
    assert texts(piece.events) == ["3"]


async def test_the_tail_tells_of_another_epoch(broker):
    await send(broker, "1")
    head = await broker.head()
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        waiting = asyncio.ensure_future(anext(tail))
        epoch = await in_thread(broker.new_epoch)
        piece = await waiting
    assert piece.epoch == epoch != head.epoch
    assert (await broker.head()).epoch == epoch


async def test_recent_events_are_complete_after_their_start(broker):
    await send(broker, *(f"{number:02}" + "." * 998 for number in range(50)))
    head = await broker.head()
    recent = await broker.recent(head.offset, 10_500)
    assert [text[:2] for text in texts(recent.events)] == [f"{number:02}" for number in range(40, 50)] or len(
        recent.events
    ) in (10, 11)
    assert recent.end == head.offset
    assert [event.offset for event in recent.events] == [
        event.offset for event in await read_all(broker, ["a"], recent.after)
    ]


async def test_a_channel_is_closed_by_its_newest_event(broker):
    await send(broker, "1")
    await send(broker, "{}", event="end")
    await send(broker, "{}", channel="b", event="end")
    await send(broker, "again", channel="b")
    assert await broker.closed(["a", "b", "c"], FAR) == {"a"}
    _, end_of_a, end_of_b, _ = await read_all(broker, ["a", "b"])
    assert await broker.closed(["a", "b", "c"], end_of_b.offset) == {"a", "b"}
    assert await broker.closed(["a", "b", "c"], end_of_a.offset) == {"a"}
    assert await broker.closed(["a", "b", "c"], end_of_a.offset - 1) == set()


async def test_stats(broker):
    await send(broker, "1")
    await send(broker, "2", channel="b")
    stats = await in_thread(broker.stats)
    assert stats["events"] == 2
    assert stats["channels"] == 2
    assert stats["head"] == (await broker.head()).offset


async def test_many_publishers_at_once(broker, make_broker):
    """Each one's events stay in its order; none is lost, none doubled."""
    async with asyncio.TaskGroup() as group:
        for publisher in range(8):

            async def publish(publisher=publisher):
                sender = make_broker()
                for number in range(25):
                    await send(sender, f"{publisher} {number}")

            group.create_task(publish())
    found = [tuple(map(int, text.split())) for text in texts(await read_all(broker, ["a"]))]
    assert sorted(found) == [(publisher, number) for publisher in range(8) for number in range(25)]
    for publisher in range(8):
        assert [number for who, number in found if who == publisher] == list(range(25))


@pytest.fixture
def transactional(kind, database_alias):
    """Return a database whose transactions may overlap, and the broker's events with them."""
    if kind == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    return database_alias("sqlite" if kind == "memory" else kind)


async def test_an_open_transaction_with_sent_events_delays_no_other_event(broker, transactional):
    holding, release = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=transactional):
            broker.append(events("held", channel="b"))
            holding.set()
            assert release.wait(DEADLINE_SECONDS)

    async with asyncio.timeout(DEADLINE_SECONDS):
        held = asyncio.ensure_future(in_thread(hold))
        await asyncio.to_thread(holding.wait, DEADLINE_SECONDS)
        try:
            # MariaDB's own patience with a lock is 50 s, so these would not get through in time.
            for number in range(3):
                await send(broker, f"{number}", f"{number}+")
                assert len(await read_all(broker, ["a", "b"])) == 2 * number + 2
        finally:
            release.set()
            await held
    assert texts(await read_all(broker, ["a", "b"])) == ["0", "0+", "1", "1+", "2", "2+", "held"]


async def test_two_channels_in_opposite_orders_in_two_transactions(broker, transactional):
    """No lock is held by a transaction that sends, so there is nothing to wait for each other with."""
    both = threading.Barrier(2, timeout=DEADLINE_SECONDS)

    def publish(first, second):
        for number in range(5):
            with transaction.atomic(using=transactional):
                broker.append(events(f"{first}{number}", channel=first))
                both.wait()  # each has sent to its first channel, and neither has committed
                broker.append(events(f"{second}{number}", channel=second))
                both.wait()

    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(in_thread(publish, "a", "b"), in_thread(publish, "b", "a"))
    found = await read_all(broker, ["a", "b"])
    assert sorted(texts(found)) == sorted([f"{channel}{n}" for channel in "ab" for n in range(5)] * 2)


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_failure_after_the_commit_is_no_error_of_the_sender(
    broker, kind, transactional, in_transaction, caplog
):
    """It is stored: a sender that took it for lost would send it again."""
    if kind == "memory":
        pytest.skip("nothing can fail there after the commit")

    def rename(old, new):
        with connections[transactional].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    def send_first():
        with transaction.atomic(using=transactional) if in_transaction else contextlib.nullcontext():
            broker.append(events("first"))

    await in_thread(rename, "serversent_event", "serversent_event_away")
    try:
        await in_thread(send_first)
    finally:
        await in_thread(rename, "serversent_event_away", "serversent_event")
    assert "Sent events are stored" in caplog.text
    await send(broker, "second")
    assert texts(await read_all(broker, ["a"])) == ["first", "second"]


async def test_transactions_by_hand(broker, kind, database_alias):
    """Without autocommit Django calls nothing after a commit. A hub finds the event by itself."""
    if kind == "memory":
        pytest.skip("it has no transactions of its own")

    def send_by_hand():
        transaction.set_autocommit(False, using=database_alias(kind))
        try:
            broker.append(events("rolled back"))
            transaction.rollback(using=database_alias(kind))
            broker.append(events("by hand"))
            transaction.commit(using=database_alias(kind))
        finally:
            transaction.set_autocommit(True, using=database_alias(kind))

    head = await broker.head()
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(broker.tail(head)) as tail:
        waiting = asyncio.ensure_future(anext(tail))
        await in_thread(send_by_hand)
        assert texts((await waiting).events) == ["by hand"]


async def test_closing_twice_is_nothing(broker):
    await broker.head()
    await broker.aclose()
    await broker.aclose()
    await broker.head()  # and it opens again
