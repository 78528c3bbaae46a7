"""What is written past ASGI, and what is not: the same events in the same order, also over TLS, also with the setting
off. A reader that sleeps meanwhile gets all of it as well, from the log.
"""

import itertools
import json
import time

import pytest

from tests.processes import serve
from tests.servers.test_channels import listen, ready, send

KINDS = ["uvicorn-httptools", "uvicorn-tls", "uvicorn-h11", "hypercorn", "granian", "daphne"]

BIG = 300_000


@pytest.fixture(scope="module", params=[True, False], ids=["shortcuts", "plain ASGI"])
def shortcuts(request):
    return request.param


@pytest.fixture(scope="module", params=KINDS)
def server(request, shortcuts, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": json.dumps({"SERVER_SHORTCUTS": shortcuts})}
    with serve(request.param, server_folder, environment=environment) as server:
        yield server


_channels = itertools.count(int(time.time()))


def test_events_come_once_and_in_order_also_to_one_that_sleeps(server, sqlite_file, server_folder):
    channel = f"shortcuts-{next(_channels)}"
    awake = [listen(server, channel) for _ in range(3)]
    asleep = listen(server, channel)
    for stream in (*awake, asleep):
        ready(stream)
    for number in range(60):
        send(server, channel, f"{number}:", padding=BIG if number % 2 else 0)
        for stream in awake:
            assert int(stream.next().data.partition(":")[0]) == number
    assert [int(asleep.next().data.partition(":")[0]) for _ in range(60)] == list(range(60))
    for stream in (*awake, asleep):
        stream.close()
