"""The tests that every broker has to pass. Subclass them in the tests of your own broker::

    from serversent.testing.broker_contract import BrokerContract

    class TestMyBroker(BrokerContract):
        def make_broker(self, **options):
            return MyBroker("default", options)

They run with pytest, without a plugin, and with unittest if the class is a ``TestCase``, too.
"""

import asyncio
import threading
import time
from collections.abc import Collection, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from ..brokers import REVOKED, Batch, Broker, Cursor, LoggedEvent, OutgoingEvent
from ..errors import CursorExpired

__all__ = ["BrokerContract"]

T = TypeVar("T")

# Deadlines, not measurements: a broker that is slower than this hangs.
DEADLINE_SECONDS = 20.0

FAR = 2**62


class BrokerContract:
    """The contract of a broker, as tests."""

    def make_broker(self, **options: Any) -> Broker:
        """Return a broker with these options. All instances of one test have the same log, which is empty at first.

        Options that the tests set: ``keep``, the events that are kept of each channel.
        """
        raise NotImplementedError

    # Helpers.

    def run(self, test: Coroutine[Any, Any, T]) -> T:  # type: ignore[override, unused-ignore]
        """Run the async part of a test, within the deadline."""

        async def run() -> T:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await test

        return asyncio.run(run())

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a sync method as another thread of the project does."""
        results: list[Any] = []

        def run() -> None:
            try:
                results.append((function(*args, **kwargs), None))
            except BaseException as error:
                results.append((None, error))
            finally:
                self.close_connections()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(DEADLINE_SECONDS)
        assert results, f"{function} took longer than {DEADLINE_SECONDS:g} s"
        result, error = results[0]
        if error is not None:
            raise error
        return result

    def close_connections(self) -> None:
        """Close the database connections of the current thread."""
        from django.db import connections

        connections.close_all()

    def send(self, broker: Broker, *texts: str, channel: str = "a", event: str = "message") -> None:
        self.call(broker.append, [OutgoingEvent(channel, event, text) for text in texts])

    def head(self, broker: Broker) -> Cursor:
        async def head() -> Cursor:
            try:
                return await broker.head()
            finally:
                await broker.aclose()

        return self.run(head())

    def read(self, broker: Broker, channels: Collection[str], after: int | None = 0) -> list[LoggedEvent]:
        """Return every event of the channels after an offset, batch by batch."""

        async def read() -> list[LoggedEvent]:
            try:
                end, position = (await broker.head()).offset, after
                found: list[LoggedEvent] = []
                while position is None or position < end:
                    batch = await broker.read(channels, position, end)
                    assert position is None or batch.end > position, "a read has to make progress"
                    found += batch.events
                    position = batch.end
                return found
            finally:
                await broker.aclose()

        return self.run(read())

    def ask(self, broker: Broker, method: str, *args: Any) -> Any:
        """Return the answer of an async method."""

        async def ask() -> Any:
            try:
                return await getattr(broker, method)(*args)
            finally:
                await broker.aclose()

        return self.run(ask())

    def next_batch(self, broker: Broker, after: Cursor) -> Batch:
        """Return the first batch of a tail."""

        async def next_batch() -> Batch:
            try:
                tail: Any = broker.tail(after)
                async with aclosing(tail):
                    batch: Batch = await anext(tail)
                    return batch
            finally:
                await broker.aclose()

        return self.run(next_batch())

    # One log with one order.

    def test_events_are_read_in_the_order_in_which_they_were_sent(self) -> None:
        broker = self.make_broker()
        self.send(broker, "1", "2")
        self.send(broker, "3", channel="b")
        self.send(broker, "4", event="kind")
        found = self.read(broker, ["a", "b"])
        assert [event.data for event in found] == ["1", "2", "3", "4"]
        assert [event.event for event in found] == ["message", "message", "message", "kind"]
        offsets = [event.offset for event in found]
        assert offsets == sorted(set(offsets)), "offsets rise"
        assert [event.data for event in self.read(broker, ["a"])] == ["1", "2", "4"]
        assert self.read(broker, ["another"]) == []

    def test_the_head_is_after_every_committed_event(self) -> None:
        broker = self.make_broker()
        before = self.head(broker)
        self.send(broker, "1")
        head = self.head(broker)
        assert head.epoch == before.epoch
        assert head.offset > before.offset
        assert self.call(broker.cursor) == head
        assert self.read(broker, ["a"], head.offset) == []
        assert Cursor.parse(str(head)) == head, "an epoch has letters and digits alone"

    def test_every_instance_has_the_same_log(self) -> None:
        one, another = self.make_broker(), self.make_broker()
        self.send(one, "1")
        assert [event.data for event in self.read(another, ["a"])] == ["1"]
        assert self.head(one) == self.head(another)

    def test_any_text_is_kept_as_it_is(self) -> None:
        broker = self.make_broker()
        text = "é🚀\u2028\u0085\r\n\t'\"\\%s%%{} \ud7ff" + "x" * 100_000
        self.send(broker, text)
        assert [event.data for event in self.read(broker, ["a"])] == [text]

    def test_channels_differ_in_case(self) -> None:
        broker = self.make_broker()
        self.send(broker, "upper", channel="A")
        self.send(broker, "lower", channel="a")
        assert [event.data for event in self.read(broker, ["a"])] == ["lower"]

    def test_many_publishers_lose_and_double_nothing(self) -> None:
        broker = self.make_broker()

        def publish(name: int) -> None:
            for number in range(20):
                broker.append([OutgoingEvent("a", "message", f"{name} {number}")])
            self.close_connections()

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        found = [event.data.split() for event in self.read(broker, ["a"])]
        for name in range(4):
            assert [number for sender, number in found if sender == str(name)] == [str(number) for number in range(20)]
        assert len(found) == 80

    # Reading.

    def test_a_read_ends_at_its_end(self) -> None:
        broker = self.make_broker()
        self.send(broker, "1", "2", "3")
        second = self.read(broker, ["a"])[1].offset
        batch = self.ask(broker, "read", ["a"], 0, second)
        assert [event.data for event in batch.events] == ["1", "2"]
        assert (batch.after, batch.end) == (0, second)

    def test_a_large_read_is_divided(self) -> None:
        broker = self.make_broker()
        texts = [str(number) + "." * 50_000 for number in range(20)]
        self.send(broker, *texts)
        batch = self.ask(broker, "read", ["a"], 0, self.head(broker).offset)
        assert 0 < len(batch.events) < 20, "one read returns about PAGE_BYTES"
        assert batch.end == batch.events[-1].offset
        assert [event.data for event in self.read(broker, ["a"])] == texts

    def test_the_latest_event_of_each_channel(self) -> None:
        broker = self.make_broker()
        self.send(broker, "a1", "a2")
        self.send(broker, "b1", channel="b")
        self.send(broker, "{}", channel="b", event="end")
        end = self.head(broker).offset
        self.send(broker, "a3")
        batch = self.ask(broker, "latest", ["a", "b", "none"], end)
        assert [event.data for event in batch.events] == ["a2", "b1"]
        assert batch.end == end

    def test_recent_events_are_complete(self) -> None:
        broker = self.make_broker()
        self.send(broker, *(str(number) for number in range(20)))
        end = self.head(broker).offset
        batch = self.ask(broker, "recent", end, 5)
        assert batch.end == end
        complete = self.read(broker, ["a"], batch.after)
        assert [event.data for event in batch.events] == [event.data for event in complete]

    def test_a_channel_is_closed_by_its_newest_event(self) -> None:
        broker = self.make_broker()
        self.send(broker, "1")
        self.send(broker, "{}", event="end")
        self.send(broker, "{}", channel="b", event="end")
        self.send(broker, "again", channel="b")
        offsets = [event.offset for event in self.read(broker, ["a", "b"])]
        assert self.ask(broker, "closed", ["a", "b", "c"], FAR) == {"a"}
        assert self.ask(broker, "closed", ["a", "b", "c"], offsets[2]) == {"a", "b"}
        assert self.ask(broker, "closed", ["a", "b", "c"], offsets[0]) == set()

    def test_a_pruned_channel_hides_no_event_of_another(self) -> None:
        broker = self.make_broker()
        self.send(broker, *(f"a{number}" for number in range(12)))
        self.send(broker, *(f"b{number}" for number in range(30)), channel="b")
        self.call(broker.prune, 86_400, 12)
        end = self.head(broker).offset
        assert [event.data for event in self.ask(broker, "latest", ["a", "b"], end).events] == ["a11", "b29"]
        assert self.ask(broker, "closed", ["a", "b"], end) == set()

    # The tail.

    def test_the_tail_yields_every_event_after_a_cursor(self) -> None:
        broker, sender = self.make_broker(), self.make_broker()
        self.send(broker, "before")
        head = self.head(broker)

        async def follow() -> list[str]:
            found: list[str] = []
            tail: Any = broker.tail(head)
            publishing = asyncio.get_running_loop().run_in_executor(None, publish)
            position = head.offset
            async with aclosing(tail):
                async for batch in tail:
                    assert batch.after == position, "no gap"
                    assert batch.epoch == head.epoch
                    position = batch.end
                    found += [event.data for event in batch.events]
                    if len(found) == 30:
                        break
            await publishing
            await broker.aclose()
            return found

        def publish() -> None:
            for number in range(30):
                sender.append([OutgoingEvent(f"c{number % 3}", "message", str(number))])
            self.close_connections()

        assert self.run(follow()) == [str(number) for number in range(30)]

    def test_the_tail_shows_a_gap(self) -> None:
        broker = self.make_broker()
        self.send(broker, "0")
        head = self.head(broker)
        self.send(broker, "1", "2", "3")
        self.call(broker.prune, 86_400, 1)
        batch = self.next_batch(broker, head)
        assert batch.after > head.offset
        assert [event.data for event in batch.events] == ["3"]

    def test_another_epoch_is_another_log(self) -> None:
        broker = self.make_broker()
        self.send(broker, "1")
        head = self.head(broker)
        epoch = self.call(broker.new_epoch)
        assert epoch != head.epoch
        assert self.head(broker).epoch == epoch
        assert self.next_batch(broker, head).epoch == epoch

    # Pruning, and exact floors.

    def test_a_cursor_is_expired_if_and_only_if_an_event_after_it_was_pruned(self) -> None:
        broker = self.make_broker()
        self.send(broker, *(str(number) for number in range(5)))
        self.send(broker, "quiet", channel="b")
        offsets = [event.offset for event in self.read(broker, ["a"])]
        assert self.call(broker.prune, 86_400, 2) == 3
        assert [event.data for event in self.read(broker, ["a"], offsets[2])] == ["3", "4"]
        try:
            self.read(broker, ["a"], offsets[1])
        except CursorExpired:
            pass
        else:
            raise AssertionError("event 2 was pruned, and the cursor is before it")
        assert [event.data for event in self.read(broker, ["b"])] == ["quiet"], "no event of this channel was pruned"
        assert [event.data for event in self.read(broker, ["a", "b"], None)] == ["3", "4", "quiet"]

    def test_offsets_go_on_after_everything_was_pruned(self) -> None:
        broker = self.make_broker()
        self.send(broker, "1")
        head = self.head(broker)
        assert self.call(broker.prune, -60) == 1
        assert self.head(broker) == head
        self.send(broker, "2")
        assert [event.data for event in self.read(broker, ["a"], head.offset)] == ["2"]

    def test_revocations_that_reject_urls_outlive_other_events(self) -> None:
        broker = self.make_broker(keep=1)
        self.send(broker, "0", "1", "2", channel=REVOKED)
        self.send(broker, "0", "1", "2")
        self.call(broker.prune)
        self.call(broker.prune, -60)
        assert [event.data for event in self.read(broker, [REVOKED], None)] == ["0", "1", "2"]
        assert self.read(broker, ["a"], None) == []

    # Pages.

    def test_a_page_begins_where_the_log_stood_when_its_request_began(self) -> None:
        from ..brokers.database.committed import committed_offsets

        broker = self.make_broker()
        self.send(broker, "before")
        before = self.head(broker)
        time.sleep(0.05)
        at, committed = time.monotonic(), committed_offsets()
        time.sleep(0.05)
        self.send(broker, "since")
        cursor = self.call(broker.cursor_before, at, committed)
        assert cursor.epoch == before.epoch
        assert cursor.offset <= before.offset, "an event of the request is not missed"

    def test_figures(self) -> None:
        broker = self.make_broker()
        self.send(broker, "1")
        head = self.head(broker)
        figures = self.call(broker.stats)
        assert (figures["epoch"], figures["head"]) == (head.epoch, head.offset)
