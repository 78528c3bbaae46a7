"""The hub and its ring, moment by moment."""

import asyncio
import time

import pytest
from django.test import override_settings

from serversent import ServerSentEvent, Subscription, send_event
from serversent.brokers import Batch, LoggedEvent, broker, memory
from serversent.channels.hub import Hub, hub
from serversent.channels.replay_buffer import OVERHEAD_BYTES, ReplayBuffer
from tests.channel_client import Client, collected_events_written
from tests.waiting import DEADLINE_SECONDS


@pytest.fixture(autouse=True)
def memory_broker():
    memory.clear()
    backend = {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}
    with override_settings(SERVERSENT={"BROKERS": backend}):
        yield


ON_BATCH = Hub._on_batch


@pytest.fixture
def told():
    with collected_events_written() as frames:
        yield frames


async def test_a_stream_that_fails_takes_no_other_with_it():
    def fail(frame):
        raise ValueError("a bug in a write")

    async with Client() as bad, Client() as good:
        await bad.take(1)
        await good.take(1)
        bad.write = fail
        for number in range(3):
            send_event("c", number)
            await asyncio.sleep(0)
        assert [event.data for event in (await good.take(4))[1:]] == ["0", "1", "2"]
        async with asyncio.timeout(DEADLINE_SECONDS):
            await bad.over.wait()


async def test_written_events_are_signalled_once_for_all_live_streams(told):
    subscription = Subscription("c", initial=lambda: "state")
    async with Client(subscription) as first, Client() as second:
        await first.take(2)
        await second.take(1)
        assert b"data: state" in b"".join(told)
        start = second.events[0].id
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (first.driver.is_caught_up and second.driver.is_caught_up):
                await asyncio.sleep(0.001)
        told.clear()
        send_event("c", "live")
        await first.take(3)
        assert [frame.count(b"data: live") for frame in told] == [1]
        told.clear()
        async with Client(last_event_id=start) as resumed:
            await resumed.take(1)
            assert b"data: live" in b"".join(told)


@pytest.mark.parametrize("leaves", [False, True])
async def test_events_that_wait_are_signalled_when_they_are_written(leaves, told):
    wait = asyncio.get_running_loop().create_future()
    async with Client() as client:
        await client.take(1)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not client.driver.is_caught_up:
                await asyncio.sleep(0.001)
        told.clear()
        client.write = lambda frame: wait
        send_event("c", "waits")
        for _ in range(20):
            await asyncio.sleep(0)
        assert told == []
        if leaves:
            client.driver.cancel()
        if not wait.cancelled():
            wait.set_result(None)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [b"waits" in frame for frame in told] == ([] if leaves else [True])


@pytest.fixture
def behind(monkeypatch):
    """Return a function that lets the hub fall behind, and returns one that lets it go on."""

    def hold():
        held, take = [], Hub._on_batch
        monkeypatch.setattr(Hub, "_on_batch", lambda self, piece: held.append((self, piece)))

        def release():
            monkeypatch.setattr(Hub, "_on_batch", take)
            for arguments in held:
                take(*arguments)

        return release

    return hold


async def test_a_cursor_of_an_epoch_that_the_hub_has_not_learnt_yet(behind):
    """A client that comes from a process that knows of it already is not reset."""
    async with Client() as first:
        await first.take(1)
        release = behind()
        epoch = broker("default").new_epoch()
        second = Client(last_event_id=f"{epoch}-0")
        entering = asyncio.ensure_future(second.__aenter__())
        done, _ = await asyncio.wait({entering}, timeout=0.1)
        assert not done
        release()
        await entering
        send_event("c", "after")
        assert [(event.event, event.data) for event in await second.take(1)] == [("message", "after")]
        assert [event.event for event in await first.take(3)] == ["ready", "reset", "message"]
        second.driver.cancel()


async def test_a_cursor_that_the_hub_has_not_reached_yet(behind):
    """A client that comes from a process that is ahead waits for this one, and gets nothing twice."""
    async with Client() as first:
        await first.take(1)
        release = behind()
        send_event("c", "seen elsewhere")
        head = await broker("default").head()
        async with Client(last_event_id=str(head)) as second:
            for _ in range(10):  # it neither spins nor goes live
                await asyncio.sleep(0)
            assert not second.driver.is_caught_up
            send_event("c", "after")
            await asyncio.sleep(0.05)
            release()
            assert [event.data for event in await second.take(1)] == ["after"]
            assert [event.data for event in await first.take(3)] == ["{}", "seen elsewhere", "after"]


async def test_events_pruned_before_the_hub_reads_them_reset_live_streams(behind):
    async with Client() as client, Client("quiet") as quiet:
        await client.take(1)
        await quiet.take(1)
        behind()  # for good
        send_event("c", 1)
        send_event("c", 2)
        send_event("c", 3)
        broker("default").prune(keep=1)
        await asyncio.sleep(0.05)
        monitored = hub("default")
        here = monitored.cursor
        newest = LoggedEvent(here.offset + 3, "c", "message", "3")
        ON_BATCH(monitored, Batch([newest], here.offset + 2, here.offset + 3, here.epoch))
        assert (await client.take(2))[1].event == "reset"
        send_event("quiet", "x")
        ON_BATCH(monitored, await broker("default").read(["quiet"], here.offset + 3, here.offset + 4))
        assert [event.event for event in await quiet.take(2)] == ["ready", "message"]


async def test_a_client_that_comes_as_the_hub_stops_has_a_hub():
    async with Client() as first:
        await first.take(1)
    async with Client() as second:
        await second.take(1)
        second.driver.cancel()  # nobody listens
        hub("default")._stop()  # the lingering is over, and in the same turn of the loop somebody comes
        async with Client() as third:
            await third.take(1)
            send_event("c", "x")
            assert (await third.take(2))[1].data == "x"


async def test_events_of_one_turn_are_one_write():
    async with Client() as client:
        await client.take(1)
        before = client.writes
        for number in range(10):
            send_event("c", number)
        await client.take(11)
        assert client.writes - before == 1


async def test_events_during_a_slow_push_are_joined():
    """Under load each stream is written to less often; a single event waits for nothing."""

    async def publish(count):
        for number in range(count):
            send_event("c", number)
            await asyncio.sleep(0.001)

    async with Client() as client:
        await client.take(1)
        write = client.write

        def slow(frame):
            time.sleep(0.01)
            return write(frame)

        client.write = slow
        client.writes = 0
        await publish(100)
        assert [event.data for event in (await client.take(101))[1:]] == [str(number) for number in range(100)]
        # A push of 10 ms, a pause of 10 ms in which about ten events come, and so on.
        assert client.writes < 50


async def test_events_of_a_log_that_is_replaced_while_it_is_read(monkeypatch):
    """What was read from one log is not sent under the name of the other."""
    async with Client() as first:
        await first.take(1)
        before = hub("default").cursor
        for number in range(3):
            send_event("c", number)
        await first.take(4)
        monkeypatch.setattr(ReplayBuffer, "read", lambda *arguments: None)  # all from the log
        read, reading, go_on = memory.MemoryBroker.read, asyncio.Event(), asyncio.Event()

        async def slow_read(self, *arguments):
            page = await read(self, *arguments)
            reading.set()
            await go_on.wait()
            return page

        monkeypatch.setattr(memory.MemoryBroker, "read", slow_read)
        async with Client(last_event_id=str(before)) as second:
            await reading.wait()
            epoch = broker("default").new_epoch()
            while hub("default").cursor.epoch != epoch:
                await asyncio.sleep(0.001)
            go_on.set()
            (reset,) = await second.take(1)
            assert (reset.event, reset.id) == ("reset", str(hub("default").cursor))


async def test_an_initial_state_of_several_events_has_one_cursor():
    def initial():
        yield "first"
        yield ServerSentEvent("second", event="kind", id="mine")
        yield ServerSentEvent(comment="no data, so no id either")

    async with Client(Subscription("c", initial=initial)) as client:
        events = await client.take(3)
        cursor = str(hub("default").cursor)
        assert [(event.event, event.data, event.id) for event in events] == [
            ("ready", "{}", ""),
            ("message", "first", ""),
            ("kind", "second", cursor),
        ]


@pytest.mark.parametrize("empty", ["none", "generator"])
async def test_an_empty_initial_state_leaves_the_cursor_to_ready(empty):
    async def returns_none():
        return None

    def yields_nothing():
        yield from ()

    initial = {"none": returns_none, "generator": yields_nothing}[empty]
    async with Client(Subscription("c", initial=initial)) as client:
        (ready,) = await client.take(1)
        assert (ready.event, ready.id) == ("ready", str(hub("default").cursor))


async def test_an_event_during_the_initial_state_is_not_missed():
    async def initial():
        send_event("c", "meanwhile")
        await asyncio.sleep(0.01)
        return "state"

    async with Client(Subscription("c", initial=initial)) as client:
        assert [event.data for event in await client.take(3)] == ["{}", "state", "meanwhile"]


async def test_an_initial_state_that_fails_ends_the_stream(caplog):
    def initial():
        raise ValueError("a bug in a view")

    async with Client(Subscription("c", initial=initial)) as client:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await client.over.wait()
        assert client.events == []
        assert "a bug in a view" in caplog.text


async def test_the_heartbeat_names_the_cursor_of_all_channels():
    async with Client() as client:
        await client.take(1)
        send_event("another", "x")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while hub("default").cursor.offset == 0:
                await asyncio.sleep(0.001)
        assert client.driver.heartbeat() == f": hb {hub('default').cursor}\n".encode()


def test_the_ring_is_bounded_and_knows_from_where_on_it_is_whole():
    size = 10 * (OVERHEAD_BYTES + 100)
    ring = ReplayBuffer(size)
    for offset in range(1, 1001):
        ring.append(offset, "ab"[offset % 2], b"x" * 100)
        assert ring.bytes <= size
    assert ring.after == 990
    assert [offset for offset, _ in ring.read("a", 990, 10_000)] == [992, 994, 996, 998, 1000]
    assert [offset for offset, _ in ring.read("ab", 995, 10_000)] == [996, 997, 998, 999, 1000]
    assert [offset for offset, _ in ring.read("ab", 990, 250)] == [991, 992, 993]
    assert ring.read("a", 989, 10_000) is None
    assert ring.read(["nobody"], 990, 10_000) == []
    ring.clear(2000)
    assert ring.read("a", 1999, 10_000) is None
    assert ring.read("a", 2000, 10_000) == []
