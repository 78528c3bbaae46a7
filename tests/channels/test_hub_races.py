"""What happens to streams while their hub starts and stops, and while an answer of the log is on its way."""

import asyncio
import contextvars
import threading

import pytest
from django.test import override_settings
from django.urls import path

from serversent import Subscription, channel_stream, close_channel, cursor, send_event
from serversent.access.identity import Identity
from serversent.asgi import get_asgi_application
from serversent.brokers import broker, memory
from serversent.brokers.database import DatabaseBroker
from serversent.brokers.memory import MemoryBroker
from serversent.channels import hub as hub_module
from serversent.channels.hub import Hub, hub, stop_hubs
from serversent.concurrency.tasks import run_eagerly
from serversent.errors import BrokerUnavailable
from serversent.servers.base import ServerAdapter
from serversent.serving import channel_stream as subscribe
from serversent.serving.channel_stream import ChannelStream
from serversent.serving.connection import Connection
from serversent.serving.grant import Grant
from serversent.testing import open_stream
from tests.channel_client import Client
from tests.waiting import DEADLINE_SECONDS

MEMORY = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}


@pytest.fixture(autouse=True)
def memory_broker():
    memory.clear()
    with override_settings(SERVERSENT=MEMORY):
        yield


@pytest.fixture
def slow(monkeypatch):
    """Return a function that makes a method of the broker answer late; what it returns, an event, lets it."""

    def hold(name):
        gate, original = asyncio.Event(), getattr(MemoryBroker, name)

        async def late(self, *arguments):
            found = await original(self, *arguments)
            await gate.wait()
            return found

        monkeypatch.setattr(MemoryBroker, name, late)
        return gate

    return hold


# The end of channels.


async def test_an_event_between_two_ends_is_not_lost(monkeypatch):
    """The log is asked what is closed as of the stream's position: it is ahead of the hub, by an event and an end."""
    async with Client(["a", "b"]) as client:
        await client.take(1)
        original, take, held = MemoryBroker.closed, Hub._on_batch, []

        async def closed(self, *arguments):
            if not held:
                monkeypatch.setattr(Hub, "_on_batch", lambda self, piece: held.append((self, piece)))
                send_event("b", "x")
                close_channel("b")
                await asyncio.sleep(0.02)
            found = await original(self, *arguments)
            monkeypatch.setattr(Hub, "_on_batch", take)
            return found

        monkeypatch.setattr(MemoryBroker, "closed", closed)
        close_channel("a")
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not held:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        for arguments in held:
            take(*arguments)
        await client.wait_over()
        assert client.seen[1:] == [("message", "x"), ("end", "{}")]


@pytest.mark.parametrize("how", ["none", "known", "malformed", "of another epoch"])
async def test_a_stream_of_closed_channels_ends_whatever_its_cursor(how):
    send_event("c", "1")
    close_channel("c")
    last_event_id = {"none": "", "known": str(cursor()), "malformed": "???", "of another epoch": "zzz-1"}[how]
    async with Client("c", last_event_id=last_event_id) as client:
        await client.wait_over()
        assert client.seen[-1] == ("end", "{}")


async def test_an_answer_from_before_the_last_end_is_not_taken(slow):
    async with Client(["a", "b"]) as first, Client(["a", "b"]) as second:
        await first.take(1)
        await second.take(1)
        go = asyncio.Event()
        write = second.write

        def slow_write(frame):
            write(frame)
            return go.wait()

        second.write = slow_write
        gate = slow("closed")
        send_event("a", "x")
        await asyncio.sleep(0.02)  # the second waits for its client
        close_channel("a")
        await asyncio.sleep(0.02)  # the first asks
        close_channel("b")
        await asyncio.sleep(0.02)
        go.set()  # the second reads up to the head, and asks too
        await asyncio.sleep(0.02)
        gate.set()
        await first.wait_over()
        await second.wait_over()


async def test_open_channels_are_asked_for_once(monkeypatch):
    asked, original = [], MemoryBroker.closed

    async def closed(self, *arguments):
        asked.append(arguments)
        return await original(self, *arguments)

    monkeypatch.setattr(MemoryBroker, "closed", closed)
    async with Client("c") as first, Client("c") as second, Client("c") as third:
        for client in (first, second, third):
            await client.take(1)
        assert len(asked) == 1
        send_event("c", "x")
        await third.take(2)
        async with Client("c", last_event_id=str(cursor())) as fourth:
            send_event("c", "y")
            await fourth.take(1)
        assert len(asked) == 1
        close_channel("c")
        await first.wait_over()
        assert len(asked) == 2


async def test_an_outage_while_the_end_is_asked_for_delays_it(monkeypatch):
    monkeypatch.setattr(subscribe, "RETRY_SECONDS", 0.01)
    original, failed = MemoryBroker.closed, []

    async def closed(self, *arguments):
        if not failed:
            failed.append(True)
            raise BrokerUnavailable("default", "a moment")
        return await original(self, *arguments)

    close_channel("c")
    monkeypatch.setattr(MemoryBroker, "closed", closed)
    async with Client("c") as client:
        await client.wait_over()
        assert [event.event for event in client.events] == ["ready", "end"]


@pytest.mark.parametrize("ends_first", [False, True])
async def test_a_read_of_the_old_log_is_not_shared_with_the_new(slow, ends_first):
    async with Client("c") as first:
        await first.take(1)
        for number in range(3):
            send_event("c", f"old {number}")
        await first.take(4)
        here = hub("default")
        here._buffer.clear(here.cursor.offset)  # it is in the log alone
        gate = slow("read")
        async with Client("c", last_event_id=f"{here.cursor.epoch}-0"):
            await asyncio.sleep(0.01)
            log = memory._logs["default"]
            with log.lock:  # flushed, and filled again up to the same offset
                log.epoch, log.head = "other", 0
                log.channels.clear()
                log.newest.clear()
            for number in range(3):
                send_event("c", f"new {number}")
            async with asyncio.timeout(DEADLINE_SECONDS):
                while here.cursor.epoch != "other":
                    await asyncio.sleep(0.001)
            here._buffer.clear(here.cursor.offset)
            if ends_first:
                gate.set()
                await asyncio.sleep(0.01)
            async with Client("c", last_event_id="other-0") as second:
                await asyncio.sleep(0.01)
                gate.set()
                assert [event.data for event in await second.take(3)] == ["new 0", "new 1", "new 2"]


# How streams begin.


async def test_an_outage_in_the_initial_state_ends_the_stream():
    """It is not taken for one of the hub's: the stream would go on without its first event."""

    async def initial():
        raise BrokerUnavailable("default", "the project's own call of cursor()")

    async with Client(Subscription("c", initial=initial)) as client:
        await client.wait_over()
        assert client.events == []


async def test_a_head_read_before_the_cursor_was_given_resets_no_client(slow, monkeypatch):
    async with Client("c") as first:
        await first.take(1)
        gate, here = slow("head"), hub("default").cursor
        unknown = Client("c", last_event_id=f"{here.epoch}-99")
        known = Client("c")
        entering = [asyncio.ensure_future(unknown.__aenter__())]
        await asyncio.sleep(0.01)
        held, take = [], Hub._on_batch
        monkeypatch.setattr(Hub, "_on_batch", lambda self, piece: held.append((self, piece)))
        send_event("c", "seen in another process")
        known.driver._last_event_id = str(cursor())
        entering.append(asyncio.ensure_future(known.__aenter__()))
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(*entering)
        monkeypatch.setattr(Hub, "_on_batch", take)
        for arguments in held:
            take(*arguments)
        send_event("c", "after")
        assert [event.data for event in await known.take(1)] == ["after"]
        assert (await unknown.take(1))[0].event == "reset"
        unknown.driver.cancel()
        known.driver.cancel()


async def test_a_stream_that_is_not_live_has_heartbeats_while_its_channel_is_busy():
    gate, sent = asyncio.Event(), []

    async def initial():
        await gate.wait()
        return "state"

    async def send(message):
        sent.append(message["body"])

    async with Client("c") as other:
        await other.take(1)
        driver = ChannelStream(Grant(Subscription("c", initial=initial), name="test"))
        await driver.begin()
        connection = Connection(ServerAdapter(send), asyncio.Event().wait, driver)
        serving = asyncio.ensure_future(connection.serve())
        await asyncio.sleep(0.01)
        for second in range(60):
            send_event("c", second)
            await other.take(second + 2)
            connection.on_tick(1000.0 + second, 15)
            await asyncio.sleep(0)
        assert b": hb\n" in sent
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


# The hub's life.


async def test_the_first_requests_context_is_not_kept():
    variable = contextvars.ContextVar("variable")
    seen = []

    async def request():
        variable.set("the first request's")
        client = Client("c")
        await client.__aenter__()
        await client.take(1)
        return client

    client = await asyncio.create_task(request())
    try:
        take = hub("default")._on_batch
        hub("default")._on_batch = lambda piece: (seen.append(variable.get(None)), take(piece))
        send_event("c", "x")
        await client.take(2)
        assert seen == [None]
    finally:
        del hub("default")._on_batch
        await client.__aexit__()


async def test_a_hub_that_stops_before_a_waiting_stream_has_joined(monkeypatch):
    monkeypatch.setattr(hub_module, "LINGER_SECONDS", 0.0)
    async with Client("c") as client:
        await client.take(1)
        send_event("c", "x")
        assert (await client.take(2))[1].data == "x"


async def test_a_stop_with_live_streams_loses_nothing():
    async with Client("c") as client:
        await client.take(1)
        await stop_hubs()
        send_event("c", "1")
        async with Client("d") as other:
            await other.take(1)
            send_event("c", "2")
            assert [event.data for event in (await client.take(3))[1:]] == ["1", "2"]


async def test_a_stop_during_the_start_leaves_one_tail(slow):
    gate = slow("recent")
    starting = asyncio.ensure_future(hub("default").start())
    await asyncio.sleep(0.01)
    await hub("default").stop()
    client = Client("c")
    entering = asyncio.ensure_future(client.__aenter__())
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(entering, starting)
    await client.take(1)
    send_event("c", "1")
    await client.take(2)
    send_event("c", "2")
    assert [event.data for event in await client.take(3)] == ["{}", "1", "2"]
    await client.__aexit__()
    assert not [task for task in asyncio.all_tasks() if "Hub._" in repr(task)]


async def test_reads_that_run_as_their_broker_is_closed_end():
    gate = threading.Event()

    def wait(connection):
        assert gate.wait(DEADLINE_SECONDS)
        return "read"

    broker = DatabaseBroker("default", {})
    reading = [asyncio.ensure_future(broker._read(wait)) for _ in range(3)]  # two have a reader, one waits for one
    await asyncio.sleep(0.05)
    await broker.aclose()
    gate.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        *read, waited = await asyncio.gather(*reading, return_exceptions=True)
    assert read == ["read", "read"]
    assert isinstance(waited, BrokerUnavailable)


async def test_a_stream_that_waits_for_the_hub_is_woken_by_its_end():
    async with Client("c") as client:
        await client.take(1)
        waiting = asyncio.ensure_future(hub("default").wait_for_batch())
        await asyncio.sleep(0)
        client.driver.cancel()
        await stop_hubs()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await waiting


@channel_stream
async def stream(request):
    return "c"


urlpatterns = [path("stream/", stream)]


@override_settings(ROOT_URLCONF=__name__)
async def test_closing_one_of_two_test_streams_leaves_the_other():
    application = get_asgi_application()
    async with open_stream(application, "/stream/") as one:
        assert (await one.next()).event == "ready"
        async with open_stream(application, "/stream/") as two:
            assert (await two.next()).event == "ready"
        send_event("c", "x")
        assert (await one.next()).data == "x"


async def test_a_page_from_the_oldest_is_nothing_to_resume_from(settings):
    """One of its channels may have lost more than the other."""
    options = {"BACKEND": "serversent.brokers.memory.MemoryBroker", "OPTIONS": {"keep": 3}}
    settings.SERVERSENT = {"BROKERS": {"default": options}, "REPLAY_BYTES": 0}
    send_event("a", "first")
    for number in range(10):
        send_event("b", number)
    send_event("a", "last")
    here = broker("default").cursor()
    async with Client(Subscription(["a", "b"], start="oldest")) as oldest:
        await oldest.take(6)
        assert [data for _, data in oldest.seen[1:]] == ["first", "7", "8", "9", "last"]
        resuming = Client(["a", "b"], last_event_id=f"{here.epoch}-{here.offset - 8}")
        await resuming.driver.begin()
        resuming.driver.attach(resuming.write, lambda _: None)
        assert (await resuming.take(1))[0].event == "reset"
        resuming.driver.cancel()


async def test_a_write_that_was_begun_is_ended_before_its_stream_is():
    lock = asyncio.Lock()
    gate = asyncio.Event()

    async def send():
        async with lock:  # as a server's own
            await gate.wait()

    async with Client() as client:
        await client.take(1)
        while not client.driver.is_caught_up:
            await asyncio.sleep(0)
        client.write = lambda frame: run_eagerly(send())
        client.driver.push(b"data: x\n\n")
        assert lock.locked()
        client.driver.cancel()  # before anything else has its turn
        await client.driver.wait_closed(DEADLINE_SECONDS)
        assert not lock.locked()


async def test_a_cancellation_raised_by_a_servers_send_takes_no_other_stream_with_it():
    def fail(frame):
        raise asyncio.CancelledError

    async with Client() as bad, Client() as good:
        await bad.take(1)
        await good.take(1)
        bad.write = fail
        send_event("c", "x")
        send_event("c", "y")
        await good.take(3)
        assert [data for _, data in good.seen[1:]] == ["x", "y"]
        await bad.wait_over()


async def test_a_channel_closed_as_the_hub_stops_ends_its_stream():
    async with Client() as client:
        await client.take(1)
        while not client.driver.is_caught_up:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(hub("default").stop())
        await asyncio.sleep(0)
        close_channel("c")
        await stopping
        await client.wait_over()
        assert client.seen[-1][0] == "end"


# A stream that is cancelled while it begins: its connection has gone, and nobody cancels it again.


async def test_a_stream_that_is_cancelled_before_it_joins_leaves_no_subscriber():
    stream = ChannelStream(Grant(Subscription("c"), name="test"))
    stream.cancel()
    await stream.begin()
    assert not hub("default")._subscribers
    await stop_hubs()


async def test_a_stream_that_is_cancelled_while_its_url_is_checked(monkeypatch):
    stream = ChannelStream(Grant(Subscription("c"), name="test", url_identity=Identity("1", (), "", 0.0)))

    async def check_url(identity, channels):
        stream.cancel()

    monkeypatch.setattr(subscribe, "check_url", check_url)
    await stream.begin()
    assert not hub("default")._subscribers
    await stop_hubs()
