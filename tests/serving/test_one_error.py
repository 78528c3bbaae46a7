"""One error, of a callback, of one stream or of the database, is nobody else's, and is over when it is over."""

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from django.test import override_settings

from serversent import Subscription, send_event
from serversent.access import revocation_feed as feed_module
from serversent.access.end_streams import end_streams
from serversent.access.identity import Identity
from serversent.access.revocation_feed import RevocationFeed, _Applied, _Watcher, revocation_feed
from serversent.access.revocations import Revocation
from serversent.brokers import memory
from serversent.brokers.memory import MemoryBroker
from serversent.channels.hub import hub, stop_hubs
from serversent.concurrency.turns import AT_ONCE
from serversent.errors import BrokerUnavailable, StreamRefused
from serversent.notifications.marking import SentMarker
from serversent.serving.registry import ConnectionRegistry
from serversent.signals import events_written
from serversent.wire.cursor import Cursor
from tests.channel_client import Client
from tests.processes import ROOT
from tests.waiting import DEADLINE_SECONDS, wait_for

MEMORY = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}, "HEARTBEAT_SECONDS": 0.2}


@pytest.fixture(autouse=True)
def memory_broker():
    memory.clear()
    with override_settings(SERVERSENT=MEMORY):
        yield


# The hub and its callbacks.


async def test_an_error_of_a_receiver_takes_no_event_from_a_stream(caplog):
    def fail(sender, channels, **kwargs):
        if "a" in channels:
            raise RuntimeError("can't start new thread")

    events_written.connect(fail)
    async with Client("a") as told, Client("b") as other:
        await told.take(1)
        await other.take(1)
        for number in range(3):
            send_event("a", number)
            send_event("b", number)
        assert [event.data for event in (await told.take(4))[1:]] == ["0", "1", "2"]
        assert [event.data for event in (await other.take(4))[1:]] == ["0", "1", "2"]
        assert not told.over.is_set()
    events_written.disconnect(fail)
    assert "can't start new thread" in caplog.text


def test_notifications_are_marked_again_after_a_thread_could_not_be_started(monkeypatch, db):
    marker = SentMarker()
    started = []

    def fail(self):
        started.append(self)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        marker.add(b"data: 1\n\n")
    assert started
    marks = []
    monkeypatch.setattr("serversent.notifications.marking.mark_sent", marks.append)
    marker.add(b"data: 2\n\n")
    wait_for(lambda: marks, "the marks")


async def test_an_error_in_one_push_ends_its_streams_alone(caplog, monkeypatch):
    async with Client("a") as broken, Client("b") as other:
        await broken.take(1)
        await other.take(1)
        group = broken.driver._group
        monkeypatch.setattr(type(group), "push", _failing_for(group, type(group).push))
        send_event("a", "lost by nobody")
        send_event("b", "there")
        assert (await other.take(2))[1].data == "there"
        await broken.wait_over()
        async with Client("a", last_event_id=broken.events[0].id) as back:
            assert (await back.take(1))[0].data == "lost by nobody"


def watcher(on_revocation, since):
    return _Watcher(on_revocation, lambda: None, since, asyncio.ensure_future(asyncio.sleep(0)))


def _failing_for(group, push):
    def pushed(self):
        if self is group:
            self._new = []
            raise RuntimeError("a bug")
        push(self)

    return pushed


@pytest.mark.parametrize("method", ["head", "recent", "read"])
@pytest.mark.parametrize("error", [BrokerUnavailable("default", "away"), RuntimeError("a row that cannot be read")])
async def test_a_hub_that_could_not_start_starts_later(monkeypatch, method, error):
    """At whatever moment the database fails."""
    fails = [error]
    original = getattr(MemoryBroker, method)

    async def once(self, *args, **kwargs):
        if fails:
            raise fails.pop()
        return await original(self, *args, **kwargs)

    monkeypatch.setattr(MemoryBroker, method, once)
    feed = revocation_feed()
    feed._watcher = _Watcher(
        lambda revocation: None, lambda: None, time.monotonic() - 1, asyncio.ensure_future(asyncio.sleep(0))
    )
    feed._applied = _Applied(Cursor(memory.MemoryBroker("default", {}).cursor().epoch, 0), time.monotonic())
    send_event("c", "before")
    with suppress(BrokerUnavailable, RuntimeError):
        async with Client("c") as client:
            await client.take(1)
    assert not fails
    async with Client("c") as client:
        await client.take(1)
        send_event("c", "after")
        assert (await client.take(2))[1].data == "after"


async def test_revocations_are_remembered_after_another_epoch_and_an_error(monkeypatch):
    """The first look at the new log fails. What was revoked in it meanwhile is known all the same."""
    async with Client("c") as client:
        await client.take(1)
        default = hub("default")
        recent = MemoryBroker.recent

        async def fail(self, *args):
            raise BrokerUnavailable("default", "away")

        monkeypatch.setattr(MemoryBroker, "recent", fail)
        MemoryBroker("default", {}).new_epoch()
        while (await client.take(2))[-1].event != "reset":
            await asyncio.sleep(0.001)
        signed = Identity("5", (), "", time.monotonic(), default.cursor)
        end_streams(user=5)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not revocation_feed().revocations.rejects_url(signed, ()):
                await asyncio.sleep(0.001)
        monkeypatch.setattr(MemoryBroker, "recent", recent)
        await asyncio.sleep(1.2)  # the look is tried again after a second
        assert revocation_feed().revocations.rejects_url(signed, ())
        with pytest.raises(StreamRefused):
            async with Client("c", url_identity=signed):
                pass


async def test_a_stream_that_begins_while_the_hub_is_behind_gets_nothing_old(monkeypatch):
    """It begins at the newest event, not where the hub is; a revocation overtakes the queue."""
    async with Client("c") as first:
        await first.take(1)
        default, release = hub("default"), asyncio.Event()
        tail = MemoryBroker.tail

        async def slowly(self, after):
            async for piece in tail(self, after):
                events = piece.events[:1]
                if not events:
                    yield piece
                    continue
                yield piece._replace(events=events, end=events[-1].offset)
                await release.wait()

        monkeypatch.setattr(MemoryBroker, "tail", slowly)
        await default.stop()
        await default.start()
        ended = []
        revocation_feed()._watcher = _Watcher(
            ended.append, lambda: None, time.monotonic(), asyncio.ensure_future(asyncio.sleep(0))
        )
        for number in range(50):
            send_event("c", number)
        end_streams(user=7)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not default.is_behind:
                await asyncio.sleep(0.001)
            monkeypatch.setattr(MemoryBroker, "tail", tail)
            while not ended:
                await asyncio.sleep(0.001)
        assert default.is_behind
        assert ended[0].user == "7"
        second = Client("c")
        await second.driver.begin()
        assert second.driver._position.offset == (await default.head()).offset
        second.driver.cancel()
        release.set()


# Clocks.


@pytest.mark.parametrize("step", [-30, 3600])
async def test_a_wall_clock_that_is_set_decides_nothing(monkeypatch, step):
    """Streams that are open are ended, and those that begin later go on."""
    connections = ConnectionRegistry()
    opened = _Served(user="5")
    connections.add(opened)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while revocation_feed()._applied is None:
            await asyncio.sleep(0.001)
    clock = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: clock() + step)
        end_streams(user=5)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not opened.ended:
                await asyncio.sleep(0.01)
    later = _Served(user="5")
    connections.add(later)
    await asyncio.sleep(0.8)  # it is looked up twice a second
    assert not later.ended
    for each in (opened, later):
        connections.discard(each)
    await stop_hubs()


class _Served:
    channels = ()

    def __init__(self, user="", sessions=(), key=""):
        self.identity = Identity(user, sessions, "", time.monotonic(), None, key)
        self.ended = False
        self.looks = 0

    def on_tick(self, now, heartbeat_seconds):
        self.looks += 1

    def drain(self, delay):
        pass

    def end(self):
        self.ended = True


# The timer that looks at all connections.


class _Broken(_Served):
    def on_tick(self, now, heartbeat_seconds):
        raise AttributeError("'H2Stream' object has no attribute 'forceAbortClient'")

    def drain(self, delay):
        raise RuntimeError("a server's own")


async def test_the_error_of_one_connection_stops_no_timer(caplog):
    connections = ConnectionRegistry()
    broken, others = _Broken(), [_Served() for _ in range(3)]
    for each in (others[0], broken, *others[1:]):
        connections.add(each)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while any(each.looks < 3 for each in others):
            await asyncio.sleep(0.01)
    assert broken.ended
    assert not any(each.ended for each in others)
    assert "A connection failed" in caplog.text
    connections.drain()
    for each in (broken, *others):
        connections.discard(each)


async def test_streams_that_come_while_a_server_drains_return_at_different_times():
    connections, delays = ConnectionRegistry(), []
    connections.drain()
    late = [_Served() for _ in range(50)]
    for each in late:
        each.drain = delays.append
        connections.add(each)
    assert max(delays) - min(delays) > 1
    assert max(delays) <= 5  # DRAIN_SECONDS
    for each in late:
        connections.discard(each)


async def test_a_logout_looks_at_its_own_streams_alone(monkeypatch):
    """Whoever else is open, and however many."""
    connections, looked = ConnectionRegistry(), []
    served = [_Served(user=str(number), sessions=(f"s{number}",), key=f"k{number}") for number in range(300)]
    served.append(_Served(user="7", sessions=("another of 7",)))
    for each in served:
        connections.add(each)
    matches = Revocation.matches
    monkeypatch.setattr(
        Revocation, "matches", lambda self, who, channels: looked.append(who) or matches(self, who, channels)
    )
    for revocation, count in ((_revocation(sessions=("s5",)), 1), (_revocation(user="7"), 2), (_revocation("x"), 0)):
        looked.clear()
        connections._end_matching(revocation)
        assert len(looked) == count
    connections.end_session("k9")
    assert [each.identity.user for each in served if each.ended] == ["9"]
    for each in served:
        connections.discard(each)
    assert not connections._index._users
    assert not connections._index._sessions
    assert not connections._index._keys


def _revocation(user="", sessions=()):
    return Revocation(user, sessions, "", False, 0.0)


async def test_a_process_without_a_hub_warns_once_in_an_outage_and_again_in_the_next(monkeypatch, logged):
    """Streams of generators alone: revocations are looked for, on a broker that is made for each look."""
    looks, is_away, make = [], True, feed_module.new_broker

    def look(alias):
        looks.append(is_away)
        if is_away:
            raise OSError("away")
        return make(alias)

    monkeypatch.setattr(feed_module, "new_broker", look)
    monkeypatch.setattr(feed_module, "OUTAGE_SECONDS", 0.001)
    monkeypatch.setattr(feed_module, "POLL_SECONDS", 0.001)
    feed = RevocationFeed(hub("default"))
    watching = asyncio.ensure_future(feed._poll())
    async with asyncio.timeout(DEADLINE_SECONDS):
        for outages in (1, 2):
            is_away, begins = True, len(looks)
            while looks[begins:].count(True) < 5:
                await asyncio.sleep(0.001)
            told = [message for _, message in logged if "not ended by a logout" in message]
            assert len(told) == outages
            is_away, begins = False, len(looks)
            while looks[begins:].count(False) < 2:
                await asyncio.sleep(0.001)
    watching.cancel()


# Initial states.


async def test_an_initial_state_that_is_cancelled_from_within_ends_its_stream(caplog):
    async def initial():
        yield "first"
        task = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    async with Client(Subscription("c", initial=initial)) as client, Client("c") as other:
        await client.wait_over()
        send_event("c", "x")
        assert (await other.take(2))[1].data == "x"
    assert "cancelled from within" in caplog.text


async def test_initial_states_are_not_all_computed_at_once():
    """After a reset all streams want theirs, each with a thread and a database connection."""
    running, most, lock = [0], [0], threading.Lock()

    def initial():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return "state"

    clients = [Client(Subscription("c", initial=initial)) for _ in range(100)]
    for client in clients:
        await client.driver.begin()
        client.driver.attach(client.write, lambda _: None)
    for client in clients:
        await client.take(2)
    assert 1 < most[0] <= AT_ONCE
    MemoryBroker("default", {}).new_epoch()
    for client in clients:
        assert [event.event for event in await client.take(4)] == ["ready", "message", "reset", "message"]
    assert most[0] <= AT_ONCE
    for client in clients:
        client.driver.cancel()
    await stop_hubs()


async def test_initial_states_that_never_end_hold_up_no_others(monkeypatch):
    monkeypatch.setattr("serversent.concurrency.turns.TURN_SECONDS", 0.3)

    async def never():
        await asyncio.sleep(3600)
        yield "never"

    stuck = [Client(Subscription("c", initial=never)) for _ in range(AT_ONCE)]
    for client in stuck:
        await client.driver.begin()
        client.driver.attach(client.write, lambda _: None)
    async with Client(Subscription("c", initial=lambda: "state")) as client:
        assert [event.data for event in await client.take(2)] == ["{}", "state"]
        async with asyncio.timeout(DEADLINE_SECONDS):  # whoever comes now does not even wait: the turns are back
            while hub("default").initial_turns._free.locked():
                await asyncio.sleep(0.01)
    for each in stuck:
        each.driver.cancel()
        await each.driver.wait_closed(DEADLINE_SECONDS)


async def test_a_sync_generator_is_not_made_a_list():
    """It goes on as its client takes what it yields."""
    made = itertools.count()
    yielded = []
    release = asyncio.Event()

    def initial():
        for _ in range(5000):
            yielded.append(next(made))
            yield "x" * 1000

    client = Client(Subscription("c", initial=initial))
    await client.driver.begin()

    async def wait():
        await release.wait()

    def write(frame):
        client.write(frame)
        return wait() if len(client.events) > 100 else None

    client.driver.attach(write, lambda _: None)
    await client.take(101)
    await asyncio.sleep(0.2)
    assert len(yielded) < 200
    release.set()
    await client.take(5001)
    client.driver.cancel()
    await stop_hubs()


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_initial_state_that_is_cut_off_is_closed_at_once_in_its_own_task(kind, caplog, collect_garbage):
    """Not by the garbage collector, in another task and another context."""
    closed = []

    async def async_initial():
        opened = asyncio.current_task()
        try:
            while True:
                yield "state"
        finally:
            closed.append(asyncio.current_task() is opened)

    def sync_initial():
        try:
            while True:
                yield "state"
        finally:
            closed.append(True)

    blocked = asyncio.Event()

    async def wait():
        await blocked.wait()

    client = Client(Subscription("c", initial=async_initial if kind == "async" else sync_initial))
    await client.driver.begin()
    client.driver.attach(lambda frame: (client.write(frame), wait())[1] if client.events else client.write(frame), id)
    await client.take(2)
    client.driver.cancel()
    await client.driver.wait_closed(DEADLINE_SECONDS)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not closed:
            await asyncio.sleep(0.01)
    collect_garbage()
    assert closed == [True]
    assert [record.getMessage() for record in caplog.records if record.name == "serversent"] == []
    await stop_hubs()


# Grants.


async def test_a_forged_cursor_shows_nothing_from_before_the_grant():
    send_event("c", "secret")
    granted = MemoryBroker("default", {}).cursor()
    signed = Identity("5", (), "", time.monotonic(), granted)
    forged = f"{granted.epoch}-0"
    async with Client("c", last_event_id=forged, url_identity=signed, begins_at=str(granted)) as client:
        assert (await client.take(1))[0].event == "reset"
        send_event("c", "after it")
        assert [event.data for event in await client.take(2)] == ["{}", "after it"]
    async with Client("c", last_event_id=f"{granted.epoch}-1", url_identity=signed, begins_at=str(granted)) as honest:
        assert (await honest.take(1))[0].data == "after it"


async def test_an_older_cursor_that_missed_nothing_goes_on():
    """A page that keeps its cursor over a reload has one from before its new URL."""
    send_event("c", "seen")
    kept = MemoryBroker("default", {}).cursor()
    for _ in range(3):
        send_event("another", "x")
    granted = MemoryBroker("default", {}).cursor()
    signed = Identity("5", (), "", time.monotonic(), granted)
    async with Client("c", last_event_id=str(kept), url_identity=signed, begins_at=str(granted)) as client:
        send_event("c", "new")
        assert (await client.take(1))[0].data == "new"


# Event loops.


@pytest.mark.parametrize("way", ["run", "close"])
def test_event_loops_that_end_leave_nothing(way, sqlite_file):
    """Whether they cancel their tasks, as asyncio.run() does, or are just closed."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.loops", way],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", "TEST_SQLITE": sqlite_file},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout.split() == ["0", "0"], ended.stderr
