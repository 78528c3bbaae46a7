"""Any interleaving of what publishers, clients and the log's keeper may do, against a model of what clients must see.

A client must get exactly the committed events of its channels after its cursor, in offset order; or one ``reset``, and
that only if an event of its channels after its cursor was pruned, or the log was given a new epoch.
"""

import asyncio
import contextlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serversent.brokers import OutgoingEvent, memory
from serversent.channels.hub import hub, stop_hubs
from serversent.channels.subscription import Subscription
from serversent.event import EventParser
from serversent.serving.channel_stream import ChannelStream
from serversent.serving.grant import Grant
from serversent.wire.cursor import Cursor
from tests.conftest import BROKERS

CHANNELS = ["a", "b", "c"]
DEADLINE_SECONDS = 20

channel = st.sampled_from(CHANNELS)
client = st.integers(0, 3)
publisher = st.integers(0, 1)

few = st.integers(0, 3)

operations = st.lists(
    st.one_of(
        st.tuples(st.just("send"), publisher, channel, st.integers(1, 4)),
        st.tuples(st.just("begin"), publisher),
        st.tuples(st.just("savepoint"), publisher),
        st.tuples(st.just("end"), publisher, st.booleans()),
        st.tuples(st.just("connect"), client, st.sampled_from([True, True, True, False])),
        st.tuples(st.just("disconnect"), client),
        st.tuples(st.just("block"), client),
        st.tuples(st.just("unblock"), client),
        st.tuples(st.just("prune"), few),
        st.tuples(st.just("close"), channel),
        st.tuples(st.just("restart")),
        st.tuples(st.just("epoch")),
        st.tuples(st.just("turn"), st.integers(1, 5)),
        st.tuples(st.just("settle")),
        # What chance alone would put together too seldom: away, or asleep, while much is sent and some of it pruned.
        st.tuples(st.just("away"), client, channel, st.integers(1, 6), few),
        st.tuples(st.just("asleep"), client, channel, st.integers(1, 6), few),
    ),
    min_size=8,
    max_size=40,
)

# Each client listens to the same channels all the time, so that it has something to resume.
# Those of each client. Two have the same, and one of these is written to through its server's transport.
SETS = [frozenset("a"), frozenset("ab"), frozenset("abc"), frozenset("abc")]
DIRECT = [False, True, False, True]


class Publisher:
    """A thread of the project's with a connection, and a transaction that stays open over several steps."""

    def __init__(self, broker, alias):
        self.broker = broker
        self.alias = alias
        self.thread = ThreadPoolExecutor(1)
        self.blocks = []

    async def run(self, call, *args):
        return await asyncio.get_running_loop().run_in_executor(self.thread, call, *args)

    def begin(self):
        block = transaction.atomic(using=self.alias)
        block.__enter__()
        self.blocks.append(block)

    def end(self, *, commit):
        if self.blocks:
            error = None if commit else ValueError()
            self.blocks.pop().__exit__(type(error) if error else None, error, None)

    def finish(self):
        while self.blocks:
            self.end(commit=True)
        connections.close_all()


class Direct:
    """What ``servers.write_all`` needs to see of a response; it belongs to one connection of a client."""

    disconnected = response_complete = False

    def __init__(self, client):
        self.client = client
        self.flow = self.transport = self

    @property
    def write_paused(self):
        return self.client.blocked is not None

    def write(self, chunk):
        with self.client.world.heard():
            assert self.client.direct is self, "written to a connection that is gone"
            size, _, rest = chunk.partition(b"\r\n")
            assert len(rest) == int(size, 16) + 2
            assert self.client.write(rest[:-2]) is None


class Client:
    """What one browser has seen, over all its connections."""

    def __init__(self, world, channels, is_direct):
        self.world = world
        self.is_direct = is_direct
        self.direct = None
        self.driver = None
        self.channels = channels
        self.sending = False
        self.cursor = ""
        self.blocked = None
        self.ended = False

    async def connect(self, resumes):
        await self.disconnect()
        if not resumes:
            self.cursor = ""
        if self.cursor == "end":  # answered with 204
            return
        self.sending = False
        self.parser = EventParser(self.cursor)
        self.start = Cursor.parse(self.cursor) if self.cursor else None
        self.got = []
        self.ended = False
        self.driver = ChannelStream(Grant(Subscription(self.channels), name="property", last_event_id=self.cursor))
        await self.driver.begin()
        self.direct = Direct(self) if self.is_direct else None
        self.driver.attach(self.write, self.end, self.direct)

    def write(self, frame):
        with self.world.heard():
            assert not self.sending, "two sends at once"
            for event in self.parser.feed(frame):
                self.see(event)
        return None if self.blocked is None else self.wait(self.blocked)

    async def wait(self, blocked):
        self.sending = True
        await blocked.wait()
        self.sending = False

    def see(self, event):
        self.cursor = event.id
        if event.event == "end":
            self.world.claims.append(("end", self.start, self.got, self.channels))
        elif event.event == "ready":
            assert self.start is None
            self.start = Cursor.parse(event.id)
        elif event.event == "reset":
            self.world.claims.append(("reset", self.start, self.got, self.channels))
            self.start, self.got = Cursor.parse(event.id), []
        else:
            cursor = Cursor.parse(event.id)
            assert cursor.epoch == self.start.epoch
            self.got.append((cursor.offset, event.data))

    def check(self, *, complete=False):
        """What came since the start is the beginning of what was committed, or all of it."""
        if self.start is None:
            return
        wanted = self.world.committed(self.start, self.channels)
        assert self.got == (wanted if complete else wanted[: len(self.got)])

    def end(self, _):
        self.ended = True

    async def disconnect(self):
        if self.driver is None:
            return
        self.unblock()
        self.driver.cancel()
        await self.driver.wait_closed(DEADLINE_SECONDS)
        self.driver = self.direct = None
        self.check()

    def block(self):
        if self.blocked is None:
            self.blocked = asyncio.Event()

    def unblock(self):
        if self.blocked is not None:
            self.blocked.set()
            self.blocked = None


class World:
    """The broker, its publishers and clients, and the truth: everything that was ever committed."""

    def __init__(self, make_broker, alias, publishers):
        self.broker = make_broker()
        self.publishers = [Publisher(self.broker, alias) for _ in range(publishers)]
        self.clients = [Client(self, *each) for each in zip(SETS, DIRECT, strict=True)]
        self.truth = []  # (offset, channel, event, data)
        self.seen = 0
        self.pruned = set()
        # What clients were told in this step: that they may know sooner than this test.
        self.claims = []
        self.closed_before = set()
        self.errors = []
        self.numbers = itertools.count()

    async def look(self):
        """Take in what was committed since the last look."""
        head = await self.broker.head()
        while self.seen < head.offset:
            page = await self.broker.read(CHANNELS, self.seen, head.offset)
            self.truth += page.events
            self.seen = page.end

    def committed(self, start, channels):
        """Events after a cursor, however often the epoch was changed: the log stays the same one."""
        return [
            (event.offset, event.data)
            for event in self.truth
            if event.channel in channels and event.event != "end" and event.offset > start.offset
        ]

    def may_reset(self, position, channels):
        return position.epoch != self.epoch or any(
            event.offset > position.offset and event.channel in channels and event.offset in self.pruned
            for event in self.truth
        )

    def may_end(self, start, got, channels):
        """Whether all channels were closed at some offset up to which the client got everything."""
        newest = dict.fromkeys(self.closed_before, "end")
        wanted = self.committed(start, channels)
        for offset, channel, kind in [
            (0, "", ""),
            *((event.offset, event.channel, event.event) for event in self.truth),
        ]:
            newest[channel] = kind
            if all(newest.get(each) == "end" for each in channels) and got == [e for e in wanted if e[0] <= offset]:
                return True
        return False

    @contextlib.contextmanager
    def heard(self):
        """Note an error in what a stream calls: there it is only logged."""
        try:
            yield
        except Exception as error:
            self.errors.append(error)
            raise

    def check_claims(self):
        claims, self.claims = self.claims, []
        for claim, start, got, channels in claims:
            if claim == "end":
                assert self.may_end(start, got, channels), "an end too soon"
                continue
            assert got == self.committed(start, channels)[: len(got)]
            position = Cursor(start.epoch, got[-1][0] if got else start.offset)
            assert self.may_reset(position, channels), f"a reset of {position} for nothing"
        if self.errors:
            raise self.errors[0]

    async def step(self, name, *args):
        await getattr(self, f"do_{name}")(*args)
        await self.look()
        self.epoch = (await self.broker.head()).epoch
        self.check_claims()

    async def do_send(self, who, channel, count):
        chosen = self.publishers[who % len(self.publishers)]
        events = [OutgoingEvent(channel, "message", str(next(self.numbers))) for _ in range(count)]
        await chosen.run(self.broker.append, events)

    async def do_begin(self, who):
        chosen = self.publishers[who % len(self.publishers)]
        if not chosen.blocks:
            await chosen.run(chosen.begin)

    async def do_savepoint(self, who):
        chosen = self.publishers[who % len(self.publishers)]
        if chosen.blocks and len(chosen.blocks) < 4:
            await chosen.run(chosen.begin)

    async def do_end(self, who, commit):
        chosen = self.publishers[who % len(self.publishers)]
        await chosen.run(lambda: chosen.end(commit=commit))

    async def do_connect(self, who, resumes):
        await self.clients[who].connect(resumes)

    async def do_disconnect(self, who):
        await self.clients[who].disconnect()

    async def do_block(self, who):
        self.clients[who].block()

    async def do_unblock(self, who):
        self.clients[who].unblock()

    async def do_prune(self, keep):
        if self.is_writing():
            return
        await self.look()
        await asyncio.to_thread(self.broker.prune, 86_400, keep)
        kept = {event.offset for event in (await self.broker.read(CHANNELS, None, self.seen)).events}
        self.pruned = {event.offset for event in self.truth if event.offset not in kept}

    async def do_away(self, who, channel, count, keep):
        await self.do_disconnect(who)
        for _ in range(count):
            await self.do_send(0, channel, 1)
        await self.look()
        await self.do_prune(keep)
        await self.do_connect(who, True)

    async def do_asleep(self, who, channel, count, keep):
        await self.do_block(who)
        await self.do_send(0, channel, 1)
        await self.do_settle()
        for _ in range(count):
            await self.do_send(0, channel, 1)
            await self.do_settle()
        await self.do_prune(keep)
        await self.do_unblock(who)

    async def do_close(self, channel):
        await self.publishers[0].run(self.broker.append, [OutgoingEvent(channel, "end", "{}")])

    async def do_restart(self):
        """A deploy: every connection is cut, and the next ones meet a hub that knows nothing."""
        for each in self.clients:
            await each.disconnect()
        await stop_hubs()

    async def do_epoch(self):
        if not self.is_writing():
            await asyncio.to_thread(self.broker.new_epoch)

    async def do_turn(self, count):
        for _ in range(count):
            await asyncio.sleep(0)

    async def do_settle(self):
        head = await self.broker.head()
        connected = [each for each in self.clients if each.driver is not None and each.blocked is None]
        if not connected:
            return

        def is_settled():
            return all(each.ended or (hub("default").cursor == head and each.driver.is_caught_up) for each in connected)

        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_settled():
                await asyncio.sleep(0.001)
        await self.look()
        self.epoch = head.epoch
        for each in connected:
            each.check(complete=not each.ended and not each.sending)

    def is_writing(self):
        """SQLite has one writer at a time: who waits for another transaction of this test waits for ever."""
        return any(publisher.blocks for publisher in self.publishers)

    async def finish(self):
        for each in self.publishers:
            await each.run(each.finish)
        await self.look()
        self.epoch = (await self.broker.head()).epoch
        for each in self.clients:
            each.unblock()
        await self.do_settle()
        for each in self.clients:
            await each.disconnect()
        self.check_claims()
        await stop_hubs()
        await self.broker.aclose()
        for each in self.publishers:
            each.thread.shutdown()


async def play(make_broker, alias, publishers, steps):
    world = World(make_broker, alias, publishers)
    world.epoch = (await world.broker.head()).epoch
    world.seen = (await world.broker.head()).offset
    world.closed_before = await world.broker.closed(CHANNELS, world.seen)
    try:
        for step in steps:
            await world.step(*step)
    finally:
        await world.finish()


@pytest.fixture(params=BROKERS)
def play_all(request, database_alias, django_db_blocker, settings):
    kind = request.param
    with django_db_blocker.unblock():
        if kind == "memory":
            # Its transactions are those of any database; not one in memory, which cannot be closed.
            backend, options, alias = "memory.MemoryBroker", {}, database_alias("sqlite")
        else:
            alias = database_alias(kind)
            backend, options = "database.DatabaseBroker", {"database": alias}
        settings.SERVERSENT = {
            # A ring of a few events: most of what is missed is read from the log.
            "REPLAY_BYTES": 700,
            "BROKERS": {"default": {"BACKEND": f"serversent.brokers.{backend}", "OPTIONS": options}},
        }
        from serversent.brokers import new_broker

        def run(steps):
            asyncio.run(play(lambda: new_broker("default"), alias, 1 if kind == "sqlite" else 2, steps))

        yield run
        connections[alias].close()
        memory.clear()


@settings(
    max_examples=int(os.environ.get("TEST_EXAMPLES", "80")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(steps=operations)
def test_each_client_sees_the_committed_events(play_all, steps):
    play_all(steps)


@pytest.mark.long
@settings(
    max_examples=1500,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(steps=operations)
def test_each_client_sees_the_committed_events_at_length(play_all, steps):
    play_all(steps)
