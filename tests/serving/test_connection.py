"""One connection, moment by moment: when it says that it is alive, and when it ends."""

import asyncio
import time

from django.test import override_settings

from serversent.servers.base import ServerAdapter
from serversent.serving.connection import AGE_JITTER, Connection
from serversent.serving.source import StreamSource


class Source(StreamSource):
    name = "test"

    def opening(self):
        return b""

    def cancel(self):
        pass

    def attach(self, write, on_end, fast_path=None):
        pass


class Client:
    """What a server's ``send`` was given."""

    def __init__(self):
        self.body = b""
        self.connection = Connection(ServerAdapter(self.send), self.gone, Source())

    async def send(self, message):
        self.body += message.get("body", b"")

    async def gone(self):
        await asyncio.get_running_loop().create_future()

    async def write(self, frame):
        if pause := self.connection._writer.write(frame):
            await pause

    async def silence(self, seconds):
        """Let the timer look as if so many seconds had passed without a word."""
        now = time.monotonic()
        for passed in range(int(seconds) + 1):
            self.connection.on_tick(now + passed, 15)
        await asyncio.sleep(0.01)


async def test_a_heartbeat_comes_after_a_silence():
    client = Client()
    await client.write(b"data: x\n\n")
    await client.silence(10)
    assert client.body == b"data: x\n\n"
    await client.silence(16)
    assert client.body == b"data: x\n\n: hb\n"


async def test_no_heartbeat_in_the_middle_of_a_line():
    """It would become part of somebody's data."""
    client = Client()
    await client.write(b"data: half")
    await client.silence(60)
    assert client.body == b"data: half"
    await client.write(b" a line\n")
    await client.silence(16)
    assert client.body == b"data: half a line\n: hb\n"


@override_settings(SERVERSENT={"MAX_STREAM_SECONDS": 100})
async def test_streams_that_were_opened_at_one_time_do_not_end_at_one_time():
    ages = sorted(Client().connection._ends_at - time.monotonic() for _ in range(300))
    assert ages[0] >= 100 * (1 - AGE_JITTER) - 1
    assert ages[-1] <= 100
    assert ages[-1] - ages[0] > 100 * AGE_JITTER / 2
    assert len({round(age, 3) for age in ages}) > 250


@override_settings(SERVERSENT={"MAX_STREAM_SECONDS": None})
async def test_without_a_limit_of_age_none_ends():
    assert Client().connection._ends_at == 0
