"""On the open internet: clients that mean harm. Others are served meanwhile, and afterwards all is as it was."""

import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import pytest

from tests.client import Stream, request_bytes
from tests.processes import network, nginx, serve
from tests.waiting import wait_for


class Resources:
    """What a process holds, as the kernel tells it."""

    def __init__(self, pid):
        self._folder = Path(f"/proc/{pid}")

    @property
    def files(self):
        return len(list((self._folder / "fd").iterdir()))

    @property
    def threads(self):
        return len(list((self._folder / "task").iterdir()))

    @property
    def memory_mb(self):
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu_seconds(self):
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def server(server_folder, postgresql_server):
    environment = {"TEST_DATABASE": json.dumps(postgresql_server.settings)}
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        server.resources = Resources(server.process.pid)
        server.connections = lambda: int(
            postgresql_server.sql("select count(*) from pg_stat_activity where datname = 'serversent'")
        )
        yield server


# Each attack goes on until it is cancelled, as fast as it can.


@contextlib.asynccontextmanager
async def connected(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(server, path, headers=None):
    """Ask, read the first bytes, leave without a word."""
    async with connected(server) as (reader, writer):
        writer.write(request_bytes("GET", path, headers))
        with contextlib.suppress(ConnectionError):
            return await reader.read(400)


async def come_and_go(server):
    """Streams that are opened, and left after their first bytes, before them, or in the middle of the request."""
    while True:
        async with connected(server) as (_, writer):
            request = request_bytes("GET", random.choice(["/channels/?channel=a", "/async/", "/sync/", "/silent/"]))
            writer.write(request[: random.choice([10, len(request), len(request)])])
            if random.random() < 0.5:
                await asyncio.sleep(random.random() * 0.01)


async def slowloris(server):
    """Requests that never come to their end, a byte at a time."""
    async with contextlib.AsyncExitStack() as stack:
        writers = [(await stack.enter_async_context(connected(server)))[1] for _ in range(200)]
        for byte in request_bytes("GET", "/channels/?channel=a", {"X-Slow": "x" * 10_000}):
            for writer in writers:
                writer.write(bytes([byte]))
            await asyncio.sleep(0.05)


async def large_requests(server):
    while True:
        for path, headers in [
            ("/channels/?channel=" + "x" * 100_000, {}),
            ("/channels/?" + "channel=a&" * 10_000, {}),
            ("/events/?token=" + "x" * 60_000, {}),
            ("/channels/?channel=a", {"Last-Event-ID": "x" * 100_000}),
            ("/channels/?channel=a", {"Last-Event-ID": "9" * 5000}),
            ("/channels/?channel=a&lastEventId=" + "x" * 50_000, {}),
            ("/channels/?channel=a", {"Cookie": "sessionid=" + "x" * 50_000}),
            ("/channels/?channel=%F0%9F%9A%80", {}),
            ("/channels/?channel=" + urllib.parse.quote("каналى频道"), {}),
            ("/channels/?channel=%00%0A%0D", {}),
        ]:
            with contextlib.suppress(OSError):
                await ask(server, path, headers)


async def forged_tokens(server):
    while True:
        token = "".join(random.choices("abcdefghijklmnopqrstuvwxyz-_:.%", k=random.choice([1, 50, 500])))
        answer = await ask(server, "/events/?token=" + token)
        assert b" 403 " in answer.partition(b"\r\n")[0]


async def oldest_cursor(server):
    """Clients that ask for everything there is, again and again, and read a part of it."""
    ready = await ask(server, "/channels/?channel=flood")
    epoch = ready.partition(b"id: ")[2].partition(b"-")[0].decode()
    while True:
        await ask(server, "/channels/?channel=flood", {"Last-Event-ID": f"{epoch}-0"})


async def do_not_read(server):
    """Streams that are asked for and never read, of a channel on which there is a lot."""
    sleepers = []
    try:
        while len(sleepers) < 100:
            sleeper = socket.socket()
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sleeper.setblocking(False)
            sleepers.append(sleeper)
            with contextlib.suppress(BlockingIOError):
                await asyncio.get_running_loop().sock_connect(sleeper, ("127.0.0.1", server.port))
            await asyncio.get_running_loop().sock_sendall(sleeper, request_bytes("GET", "/channels/?channel=flood"))
        await asyncio.sleep(3600)
    finally:
        for sleeper in sleepers:
            sleeper.close()


ATTACKS = [come_and_go, slowloris, large_requests, forged_tokens, oldest_cursor, do_not_read]


@pytest.fixture(scope="module")
def flooded(server):
    """A channel with much in its log."""
    for _ in range(20):
        server.get("/send/?channel=flood&data=x&padding=50000")


async def attack(server, attacks, seconds):
    """Run attacks, with an ordinary client beside them; return how long its events took, in seconds."""
    delays = []
    with server.open("/channels/?channel=ordinary", seconds=30) as stream:
        stream.next()
        tasks = [asyncio.ensure_future(one(server)) for one in attacks]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for task in tasks:
                assert not task.done(), task.exception()
            moment = time.monotonic()
            await asyncio.to_thread(server.get, "/send/?channel=ordinary&data=x")
            event = await asyncio.to_thread(stream.next)
            assert event.data == "x"
            delays.append(time.monotonic() - moment)
            await asyncio.to_thread(server.get, "/send/?channel=flood&data=x&padding=10000")
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return delays


@pytest.mark.service("postgresql")
@pytest.mark.parametrize(
    ("attacks", "seconds"),
    [
        pytest.param(ATTACKS, 10, id="all"),
        *(pytest.param([one], 60, id=one.__name__, marks=pytest.mark.long) for one in ATTACKS),
    ],
)
async def test_under_attack_others_are_served_and_afterwards_all_is_as_it_was(server, flooded, attacks, seconds):
    await attack(server, attacks, 2)  # what is loaded and kept for good, is by now
    await settled(server)
    files, threads, memory = server.resources.files, server.resources.threads, server.resources.memory_mb
    delays = await attack(server, attacks, seconds)
    await settled(server)
    print(f"events took {statistics.median(delays) * 1e3:.0f} ms, at most {max(delays) * 1e3:.0f};", end=" ")
    print(
        f"memory {memory:.0f} -> {server.resources.memory_mb:.0f} MB, files {files} -> {server.resources.files},",
        end=" ",
    )
    print(f"threads {threads} -> {server.resources.threads}")
    assert max(delays) < 10
    assert server.resources.files <= files + 3
    assert server.resources.threads <= threads + 2
    assert server.resources.memory_mb < memory * 1.1 + 10
    assert "Traceback" not in server.log


async def settled(server):
    """Wait until no stream is open, and what is kept a while for the next one is given back."""

    def is_quiet():
        return server.state()["open"] == 0 and server.connections() <= 1

    await asyncio.to_thread(wait_for, is_quiet, "the end of all streams, and of the connections to the database")


@pytest.mark.service("postgresql")
async def test_repeated_requests_for_the_oldest_events_cost_little_more_than_any_client(server, flooded):
    """What is read from the log is kept for the next, and no more is read than the client takes."""
    ready = await ask(server, "/channels/?channel=flood")
    epoch = ready.partition(b"id: ")[2].partition(b"-")[0].decode()
    costs = {}
    for name, headers in [("new", {}), ("oldest", {"Last-Event-ID": f"{epoch}-0"})] * 2:
        before = server.resources.cpu_seconds
        for _ in range(200):
            await ask(server, "/channels/?channel=flood", headers)
        costs[name] = server.resources.cpu_seconds - before
    assert costs["oldest"] < 10 * costs["new"], costs


# A proxy, and a network.


@pytest.mark.service("nginx")
def test_no_cache_keeps_an_answer_that_is_one_clients(server_folder, sqlite_file):
    """An answer that stops a client for good, or refuses it, in a cache for all others."""
    http = "proxy_cache_path {folder}/cache keys_zone=all:1m;"
    location = "proxy_cache all; proxy_cache_valid any 1m; proxy_cache_key $request_uri;"
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"MAX_CONNECTIONS": 1}'}
    with (
        serve("uvicorn-httptools", server_folder, environment=environment) as server,
        nginx(server.port, http=http, location=location) as port,
    ):

        def status(path, **headers):
            with Stream(f"http://127.0.0.1:{port}{path}", headers=headers) as stream:
                return stream.status

        assert status("/channels/?channel=a", **{"Last-Event-ID": "end"}) == 204
        assert status("/three/", **{"Last-Event-ID": "end"}) == 204
        with server.open("/silent/"):
            assert status("/channels/?channel=a") == 503
        wait_for(lambda: server.state()["open"] == 0, "its place")
        assert status("/channels/?channel=a") == 200
        wait_for(lambda: server.state()["open"] == 0, "its place")
        assert status("/three/") == 200
        url = server.get("/url/?channel=a")
        cookie, url = url.cookies[0].split(";")[0], url.body.decode()
        wait_for(lambda: server.state()["open"] == 0, "its place")
        assert status(url) == 403
        assert status(url, Cookie=cookie) == 200


CLIENT = """
import socket, sys, time
client = socket.create_connection((sys.argv[1], int(sys.argv[2])))
client.sendall(b"GET /channels/?channel=blackhole HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
while b"event: ready" not in (data := client.recv(65536)):
    pass
print("ready", flush=True)
time.sleep(3600)
"""


@pytest.mark.service("ip")
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_network_that_swallows_everything(server_folder, sqlite_file):
    """Neither a read nor an acknowledgement: the kernel alone would go on trying for a quarter of an hour."""
    environment = {
        "TEST_SQLITE": sqlite_file,
        "TEST_SERVERSENT": '{"SEND_TIMEOUT_SECONDS": 2, "HEARTBEAT_SECONDS": 0.4}',
    }
    command = [sys.executable, "-m", "uvicorn", "--host", "0.0.0.0", "--port", "{port}", "{application}"]
    with (
        network() as net,
        serve("uvicorn-httptools", server_folder, environment=environment, command=command) as server,
        server.open("/channels/?channel=blackhole") as ordinary,
    ):
        ordinary.next()
        client = net.popen(sys.executable, "-c", CLIENT, net.here, str(server.port), stdout=subprocess.PIPE)
        try:
            assert client.stdout.readline() == b"ready\n"
            assert server.state()["open"] == 2
            net.blackhole()
            for _ in range(100):  # more than the buffers of the kernel take
                server.get("/send/?channel=blackhole&data=x&padding=100000")
                assert ordinary.next().data.startswith("x")
            wait_for(lambda: server.state()["open"] == 1, "the end of the stream that nobody can be sent")
            server.get("/send/?channel=blackhole&data=last")
            assert ordinary.next().data == "last"
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
