"""LogReader that are shared: by those who lag behind at different places, and by those who ask at the same time."""

import asyncio
import random

import pytest

from serversent.brokers import Batch, LoggedEvent
from serversent.channels.log_reader import KEPT_BYTES, KEPT_PAGES, LogReader
from serversent.errors import BrokerUnavailable, CursorExpired
from serversent.wire.cursor import Cursor

EVENTS = 20_000
PAGE = 500
CHANNELS = frozenset({"c"})


class Log:
    """A broker of events 1 to ``EVENTS``, that counts what it is asked."""

    alias = "log"
    seconds = 0.001
    data = "x" * 50

    def __init__(self, floor=0):
        self.floor = floor
        self.asked = []
        self.at_once = self.most_at_once = 0
        self.error = None

    async def answer(self, *question):
        self.asked.append(question)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        if self.error is not None:
            raise self.error

    async def head(self):
        await self.answer("head")
        return Cursor("e", EVENTS)

    async def read(self, channels, after, end):
        await self.answer("read", after)
        start = self.floor if after is None else after
        if start < self.floor:
            raise CursorExpired(start, self.floor)
        offsets = range(start + 1, min(start + PAGE, end) + 1)
        return Batch([LoggedEvent(offset, "c", "message", self.data) for offset in offsets], start, offsets[-1])

    async def closed(self, channels, end):
        await self.answer("closed", end, frozenset(channels))
        return {channel for channel in channels if channel.startswith("closed")}


def reads_of(log):
    return LogReader(log, lambda page: [(event.offset, event.data.encode()) for event in page.events])


async def follow(reads, position):
    """Return the offsets that a stream which stands at a position is sent, up to the head."""
    found = []
    while position < EVENTS:
        frames, position = await reads.page(CHANNELS, position, EVENTS)
        found += [offset for offset, _ in frames]
        await asyncio.sleep(random.choice([0, 0, 0.001]))
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_a_thousand_lagging_streams_cost_no_more_reads_than_ten(seed):
    chance = random.Random(seed)
    positions = [chance.randrange(EVENTS) for _ in range(1000)]
    positions[:10] = range(0, EVENTS, EVENTS // 10)
    counts = []
    for several in (positions[:10], positions):
        log = Log()
        reads = reads_of(log)
        async with asyncio.timeout(30):
            found = await asyncio.gather(*(follow(reads, position) for position in several))
        for position, offsets in zip(several, found, strict=True):
            assert offsets == list(range(position + 1, EVENTS + 1))
        counts.append(len(log.asked))
    assert counts[1] <= counts[0], counts


async def test_kept_pages_are_bounded():
    log = Log()
    log.data = "x" * 1000
    reads = reads_of(log)
    await follow(reads, 0)
    assert 0 < reads._pages._bytes <= KEPT_BYTES
    assert reads._pages._bytes == sum(page.size() for page in reads._pages._pages.values())
    log.data = ""
    for after in range(1000):
        await reads.page(frozenset({f"c{after}"}), after, EVENTS)
    assert len(reads._pages._pages) == KEPT_PAGES


async def test_an_expired_cursor_fails_no_other_stream():
    reads = reads_of(Log(floor=1000))
    late, other = await asyncio.gather(
        reads.page(CHANNELS, 999, EVENTS), reads.page(CHANNELS, 1000, EVENTS), return_exceptions=True
    )
    assert isinstance(late, CursorExpired)
    assert other[0][0][0] == 1001


async def test_from_the_oldest():
    log = Log(floor=1000)
    reads = reads_of(log)
    for frames, end in await asyncio.gather(*(reads.first(CHANNELS, "oldest", EVENTS) for _ in range(50))):
        assert (frames[0][0], end) == (1001, 1500)
    assert len(log.asked) == 1
    assert not reads._pages._pages


async def test_an_outage_reaches_all_waiting_streams_and_is_over_with_the_next_read():
    log = Log()
    log.error = BrokerUnavailable("log", "gone")
    reads = reads_of(log)
    found = await asyncio.gather(*(reads.page(CHANNELS, 0, EVENTS) for _ in range(50)), return_exceptions=True)
    assert {type(error) for error in found} == {BrokerUnavailable}
    assert len(log.asked) == 1
    log.error = None
    assert (await reads.page(CHANNELS, 0, EVENTS))[1] == PAGE


async def test_simultaneous_questions_are_one_call():
    log = Log()
    reads = reads_of(log)
    names = [frozenset({f"open-{number}", f"closed-{number}"}) for number in range(1000)]
    found = await asyncio.gather(*(reads.closed(each, 7) for each in names))
    assert all(f"closed-{number}" in each and f"open-{number}" not in each for number, each in enumerate(found))
    assert len(log.asked) == 1
    # What is asked while an answer is on its way may not be part of it: that waits for the next one.
    log.seconds = 0.1
    first = asyncio.create_task(reads.closed(names[0], 8))
    while len(log.asked) < 2:
        await asyncio.sleep(0)
    later = await asyncio.gather(*(reads.closed(each, 8) for each in names[1:]))
    assert all(f"closed-{number}" in each for number, each in enumerate(later, 1))
    assert "closed-0" in await first
    assert len(log.asked) <= 3
    assert log.most_at_once == 1


async def test_nothing_is_read_from_a_broker_that_is_being_closed():
    log = Log()
    reads = reads_of(log)
    reading = asyncio.create_task(reads.page(CHANNELS, 0, EVENTS))
    asking = asyncio.create_task(reads.closed(CHANNELS, 7))
    waiting = asyncio.create_task(reads.page(CHANNELS, 10_000, EVENTS))
    await asyncio.sleep(0)
    reads.close()
    found = await asyncio.gather(reading, asking, waiting, return_exceptions=True)
    assert {type(error) for error in found} == {BrokerUnavailable}
    assert log.asked == []
