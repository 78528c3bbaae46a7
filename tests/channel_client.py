"""A client of the hub, in the test's own event loop."""

import asyncio
import contextlib

from serversent import Subscription
from serversent.channels.hub import stop_hubs
from serversent.event import EventParser
from serversent.serving.channel_stream import ChannelStream
from serversent.serving.grant import Grant
from serversent.signals import events_written

from .waiting import DEADLINE_SECONDS

__all__ = ["Client", "collected_events_written"]


@contextlib.contextmanager
def collected_events_written():
    """Collect the frames of each ``events_written`` signal."""
    frames = []

    def collect(sender, channels, events, **kwargs):
        frames.append(events.frames)

    events_written.connect(collect)
    try:
        yield frames
    finally:
        events_written.disconnect(collect)


class Client:
    """A stream of channels without a server: what it was sent is parsed into ``events``."""

    def __init__(self, subscription="c", last_event_id="", **options):
        if not isinstance(subscription, Subscription):
            subscription = Subscription(subscription)
        self.driver = ChannelStream(Grant(subscription, name="test", last_event_id=last_event_id, **options))
        self.events = []
        self.writes = 0
        self.parser = EventParser()
        self.over = asyncio.Event()

    async def __aenter__(self):
        await self.driver.begin()
        # Late: a test may put another function into the place of ``write``.
        self.driver.attach(lambda frame: self.write(frame), lambda _: self.over.set())
        return self

    async def __aexit__(self, *error):
        self.driver.cancel()
        await self.driver.wait_closed(DEADLINE_SECONDS)
        await stop_hubs()

    def write(self, frame):
        self.writes += 1
        self.events += self.parser.feed(frame)

    async def take(self, count):
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.events) < count:
                await asyncio.sleep(0.001)
        return self.events

    async def wait_over(self):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.over.wait()

    @property
    def seen(self):
        return [(event.event, event.data) for event in self.events]
