"""A restart at noon: 500 open streams, events flowing, each server. Nothing is lost, and nobody comes back at once."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from tests.crowd import Crowd
from tests.processes import ASGI_SERVERS, ROOT, serve
from tests.waiting import DEADLINE_SECONDS

STREAMS = 500
DRAIN_SECONDS = 3
RETRY_SECONDS = 0.5

# Its own limit is 3 s by default, which on a busy machine 500 streams may well take.
PATIENT = {"hypercorn": [sys.executable, *ASGI_SERVERS["hypercorn"], "--graceful-timeout", "30"]}

WRITER = """
import signal, sys, time
import django; django.setup()
from serversent import send_event
stops = []
signal.signal(signal.SIGTERM, lambda *_: stops.append(True))
count = 0
while not stops:
    send_event(sys.argv[1], str(count))
    count += 1
    time.sleep(0.02)
print(count)
"""


@pytest.mark.parametrize(
    "kind", ["uvicorn-httptools", "uvicorn-4", "daphne", "hypercorn", "granian", "gunicorn-uvicorn"]
)
async def test_restart(kind, server_folder, sqlite_file):
    settings = f'{{"DRAIN_SECONDS": {DRAIN_SECONDS}, "RETRY_MILLISECONDS": {RETRY_SECONDS * 1000:.0f}}}'
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": settings}
    channel = f"restart-{kind}"
    with serve(kind, server_folder, environment=environment, command=PATIENT.get(kind)) as server:
        async with Crowd(server.port, f"/channels/?channel={channel}", STREAMS) as crowd:
            writer = start_writer(channel, environment)
            await until(lambda: all(client.data for client in crowd.clients), "an event for everybody")
            server.process.terminate()
            began = time.monotonic()
            await asyncio.to_thread(server.process.wait, 10 * DRAIN_SECONDS)
            stopped_within = time.monotonic() - began
            again = serve(kind, server_folder, environment=environment, port=server.port)
            await asyncio.to_thread(again.__enter__)
            try:
                await until(lambda: all(len(client.statuses) > 1 for client in crowd.clients), "everybody's return")
                writer.terminate()
                count = int((await asyncio.to_thread(writer.communicate, timeout=60))[0])
                await until(
                    lambda: all(client.data[-1] == str(count - 1) for client in crowd.clients), "the last event"
                )
            finally:
                await crowd.stop()
                await asyncio.to_thread(again.__exit__, None, None, None)
    expected = [str(number) for number in range(count)]
    for client in crowd.clients:
        assert client.data == expected
        assert (client.events, client.statuses, client.cuts) == (["ready"], [200, 200], 0)
    assert stopped_within < DRAIN_SECONDS + 1
    check_spread([client.ends[0] - RETRY_SECONDS for client in crowd.clients])


def check_spread(delays):
    """They cover the time, and no tenth of it has more than a fifth of them."""
    assert min(delays) >= 0
    assert max(delays) <= DRAIN_SECONDS
    tenths = [int(delay / DRAIN_SECONDS * 10) for delay in delays]
    counts = [tenths.count(tenth) for tenth in range(10)]
    assert min(counts) > 0
    assert max(counts) <= len(delays) / 5, counts


def start_writer(channel, environment):
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    command = [sys.executable, "-W", "ignore", "-c", WRITER, channel]
    return subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.PIPE)


async def until(condition, what):
    deadline = time.monotonic() + 3 * DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.05)
