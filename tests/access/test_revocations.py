"""What is taken back while a request is on its way, and what is not meant by it. Processes: tests/servers."""

import asyncio
import time

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.test import TransactionTestCase, override_settings

from serversent import Subscription, aend_streams, end_streams, send_event
from serversent.access.end_streams import end_session
from serversent.access.identity import Identity, session_ids
from serversent.access.revocation_feed import revocation_feed
from serversent.access.revocations import Revocation, Revocations
from serversent.brokers import Batch, OutgoingEvent, memory
from serversent.channels.hub import hub, stop_hubs
from serversent.errors import StreamRefused
from serversent.models import Event
from serversent.serving.channel_stream import ChannelStream
from serversent.serving.grant import Grant
from serversent.serving.registry import ConnectionRegistry
from serversent.wire.cursor import Cursor
from tests.channel_client import Client
from tests.waiting import DEADLINE_SECONDS

SERVERSENT = {"BROKERS": {"default": {"BACKEND": "serversent.brokers.memory.MemoryBroker"}}}


@pytest.fixture(autouse=True)
def memory_broker(request):
    with override_settings(SERVERSENT=SERVERSENT):
        memory.clear()
        yield


class Served:
    """A connection, as far as it can be ended."""

    def __init__(self, user="5", sessions=("s",), channels=(), since=None, signed=None):
        self.identity = Identity(user, sessions, "", time.monotonic() if since is None else since, signed)
        self.channels = channels
        self.ended = False

    def on_tick(self, now, heartbeat_seconds):
        pass

    def end(self):
        self.ended = True


@pytest.fixture
async def connections():
    found = ConnectionRegistry()
    yield found
    for connection in list(found):
        found.discard(connection)
    await stop_hubs()


async def heard():
    """Wait until all that was sent so far was heard."""
    log = memory._logs["default"]
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (
            hub("default").cursor.offset >= log.head
            if hub("default").is_running
            else any(entry.offset >= log.head for entry in revocation_feed().revocations._latest.values())
        ):
            await asyncio.sleep(0.001)


async def test_a_request_that_was_on_its_way_ends_as_it_begins(connections):
    """Its user was asked for before, and its stream is served after."""
    connections.add(Served("another"))  # so that somebody listens
    before = Served()
    await aend_streams(user=5)
    await heard()
    connections.add(before)
    assert before.ended
    after = Served()
    connections.add(after)
    assert not after.ended


async def test_the_first_request_of_a_process_that_was_on_its_way(connections):
    """What was said before anybody listened is asked for as the first one does."""
    before = Served()
    await aend_streams(user=5)
    connections.add(before)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not before.ended:
            await asyncio.sleep(0.001)
    after = Served()
    connections.add(after)
    assert not after.ended


async def test_a_session_that_is_over_ends_whatever_comes_of_it(connections):
    """The signal of a logout comes before the session is gone, and a client may come back in between."""
    connections.add(Served("another"))
    end_session(5, "a key")
    await heard()
    (over,) = revocation_feed().revocations._latest
    connections.add(late := Served(sessions=(over[2],)))
    assert late.ended
    connections.add(other := Served(sessions=("another",)))
    assert not other.ended


async def test_a_url_that_was_signed_later_goes_on(connections):
    """Also when the revocation is heard after it was opened: the place in the log decides, and no clock."""
    connections.add(Served("another"))
    await aend_streams(user=5)
    place = memory._logs["default"].head
    connections.add(later := Served(since=0.0, signed=Cursor("m", place)))
    connections.add(earlier := Served(since=0.0, signed=Cursor("m", place - 1)))
    await heard()
    assert earlier.ended
    assert not later.ended


@pytest.mark.parametrize(
    ("conditions", "ended"),
    [
        ({"user": 5}, ["both", "user"]),
        ({"channel": "c"}, ["both", "channel"]),
        ({"user": 5, "channel": "c"}, ["both"]),
        ({"user": 6}, []),
        ({"user": 5, "session": "another"}, []),
    ],
)
async def test_conditions_hold_together(connections, conditions, ended):
    served = {
        "both": Served("5", (), ("b", "c")),
        "user": Served("5", (), ("b",)),
        "channel": Served("55", (), ("c",)),
        "neither": Served("", (), ()),
    }
    for connection in served.values():
        connections.add(connection)
    await aend_streams(**conditions)
    await heard()
    assert [name for name, connection in served.items() if connection.ended] == ended


async def test_nothing_that_comes_with_it_or_after_it_is_handed_over(connections):
    async with Client("c") as client:
        await client.take(1)
        connection = Served("5", (), ("c",))
        connection.end = client.driver.cancel
        connections.add(connection)
        log = memory._logs["default"]
        with log.lock:  # so that the hub reads them in one piece
            wakes, log.wakes = log.wakes, set()
        end_streams(user=5)
        send_event("c", "a secret")
        log.wakes = wakes
        for wake in wakes:
            wake()
        await heard()
        await asyncio.sleep(0.05)
        assert [event.event for event in client.events] == ["ready"]


async def test_invalid_revocations_are_left_out(connections, caplog):
    connections.add(stays := Served())
    memory_log = hub("default")._broker
    for data in [
        "",
        "{}",
        "[]",
        '{"user": "5"}',
        '{"user": "", "sessions": [], "channel": "", "is_over": true, "at": 0}',
    ]:
        memory_log._append([OutgoingEvent("!revoked", "revoked", data)])
    await aend_streams(user=6)
    await heard()
    assert not stays.ended


# What was not read in one go.


async def test_revocations_in_a_gap_are_applied(connections):
    """The log was pruned beyond the hub, or a standby took it over: the hub goes on from its new head."""
    async with Client("c") as client:
        await client.take(1)
        connections.add(connection := Served())
        await asyncio.sleep(0.05)
        log = memory._logs["default"]
        with log.lock:
            wakes, log.wakes = log.wakes, set()
        end_streams(user=5)
        here = hub("default")
        here._on_batch(Batch([], log.head, log.head, here.cursor.epoch))
        here._on_batch(Batch([], log.head, log.head, here.cursor.epoch))  # and goes on at once
        log.wakes = wakes
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not connection.ended:
                await asyncio.sleep(0.001)


async def test_pruned_revocations_end_every_stream_that_they_may_concern(connections):
    connections.add(known := Served())
    connections.add(unknown := Served("", (), ("c",)))
    async with asyncio.timeout(DEADLINE_SECONDS):
        while revocation_feed()._applied is None:
            await asyncio.sleep(0.001)
    log = memory._logs["default"]
    await aend_streams(user=6)
    with log.lock:
        log.floors["!revoked"] = log.head
        log.channels.clear()
        log.newest.clear()
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not known.ended:
            await asyncio.sleep(0.001)
    assert not unknown.ended


async def test_between_a_look_and_the_start_of_the_hub_nothing_is_missed(connections):
    """Said by a process whose clock is late, or in a transaction that was committed later."""
    connections.add(connection := Served())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while revocation_feed()._applied is None:
            await asyncio.sleep(0.001)
    said = Revocation("5", (), "", False, time.time() - 60)
    hub("default")._broker._append([OutgoingEvent("!revoked", "revoked", said.data())])
    async with Client("c") as client:
        await client.take(1)
        assert connection.ended


async def test_a_revocation_before_the_first_stream_ends_no_later_stream(connections):
    connections.add(first := Served())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while revocation_feed()._applied is None:
            await asyncio.sleep(0.001)
    connections.discard(first)
    said = Revocation("5", (), "", False, time.time() - 60)
    hub("default")._broker._append([OutgoingEvent("!revoked", "revoked", said.data())])
    connections.add(later := Served())
    await heard()
    assert not later.ended


async def test_revoked_urls_are_refused_without_a_query_for_each(connections, monkeypatch):
    """The log is asked once what was taken back; after that the hub hears of it."""
    read, asked = memory.MemoryBroker.read, []

    async def counted(self, channels, after, end):
        asked.extend(channels)
        return await read(self, channels, after, end)

    monkeypatch.setattr(memory.MemoryBroker, "read", counted)
    await aend_streams(user=5)
    async with Client("c") as client:
        await client.take(1)
        here = hub("default").cursor

        def driver(user):
            identity = Identity(user, (), "", time.monotonic(), Cursor(here.epoch, 0))
            return ChannelStream(Grant(Subscription("c"), name="test", url_identity=identity))

        drivers = [driver("6") for _ in range(100)]
        await asyncio.gather(*(each.begin() for each in drivers))
        with pytest.raises(StreamRefused):
            await driver("5").begin()
        assert asked.count("!revoked") == 1
        await aend_streams(user=6)
        await heard()
        with pytest.raises(StreamRefused):
            await driver("6").begin()
        assert asked.count("!revoked") == 1
        for each in drivers:
            each.cancel()


def test_the_end_of_a_session_does_not_replace_the_revocation_of_urls():
    store, identity = Revocations(), Identity("5", ("s",), "", time.monotonic(), Cursor("a", 1))
    store.add(Revocation("5", (), "", False, 0.0), 2, "!revoked", time.monotonic())
    store.add(Revocation("5", (), "", False, 0.0), 3, "!ended", time.monotonic() - 200)
    assert store.rejects_url(identity, ["c"])
    # What ends what is open refuses nothing that is signed for another session.
    other = Revocations()
    other.add(Revocation("5", (), "", False, 0.0), 3, "!ended", time.monotonic())
    assert not other.rejects_url(identity, ["c"])


def test_old_ends_are_not_kept():
    store = Revocations()
    assert not store.add(Revocation("5", (), "", False, 0.0), 1, "!ended", time.monotonic() - 301)
    assert store.add(Revocation("5", (), "", False, 0.0), 1, "!revoked", time.monotonic() - 301)


def test_nobody_is_not_everybody(django_user_model):
    gone = django_user_model(username="gone")
    for conditions in ({"user": AnonymousUser()}, {"user": gone}, {"session": SessionStore()}, {"user": ""}):
        with pytest.raises(TypeError, match="a primary key"):
            end_streams(**conditions, channel="room-1")


class TransactionTests(TransactionTestCase):
    """With the log in the database."""

    def setUp(self):
        settings = override_settings(SERVERSENT={})
        settings.enable()
        self.addCleanup(settings.disable)

    def logged(self):
        return [event.channel for event in Event.objects.order_by("id")]

    def test_end_streams_is_part_of_the_transaction(self):
        with transaction.atomic():
            end_streams(user=1)
            assert transaction.get_connection().in_atomic_block
            transaction.set_rollback(True)
        assert self.logged() == []
        with transaction.atomic():
            end_streams(user=1)
        assert self.logged() == ["!revoked"]

    def test_which_changes_of_a_user_end_their_streams(self):
        user = get_user_model().objects.create_user("ada", password="secret")
        user.first_name = "Ada"
        user.save()
        user.check_password("secret")
        assert self.logged() == [], "nothing that ends a stream has happened"
        user.set_password("another")
        user.save()
        assert self.logged() == ["!ended"]  # the session that goes on keeps its URLs
        user.save()
        assert self.logged() == ["!ended"]
        user.is_active = False
        user.save()
        assert self.logged() == ["!ended", "!revoked"]
        user.delete()
        assert self.logged() == ["!ended", "!revoked", "!revoked"]

    def test_a_logout_says_no_key(self):
        user = get_user_model().objects.create_user("ada", password="secret")
        self.client.force_login(user)
        key = self.client.session.session_key
        self.client.logout()
        (event,) = Event.objects.all()
        assert event.channel == "!ended"
        assert key not in event.data

    def test_a_session_is_found_under_another_key(self):
        user = get_user_model().objects.create_user("ada", password="secret")
        self.client.force_login(user)
        session = self.client.session
        assert session["_auth_user_id"] == str(user.pk)  # it is loaded, as a view's is that looks at its user
        before = session_ids(session)
        session.cycle_key()
        assert len(before) == 2
        assert set(before) & set(session_ids(session))

    def test_an_outage_prevents_no_logout(self):
        user = get_user_model().objects.create_user("ada", password="secret")
        self.client.force_login(user)
        with override_settings(
            SERVERSENT={"BROKERS": {"default": {"BACKEND": "tests.access.test_revocations.Broken"}}}
        ):
            with self.assertLogs("serversent", "ERROR"):
                assert self.client.get("/logout/").status_code == 200


class Broken(memory.MemoryBroker):
    def append(self, events, *, on_commit=True):
        raise RuntimeError("down")
