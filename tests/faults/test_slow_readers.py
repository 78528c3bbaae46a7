"""Clients that do not read: the log is their queue, so the server's memory stays as it is, and nothing is lost."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.client import Stream
from tests.conftest import migrate
from tests.processes import ROOT, serve

EVENT_BYTES = 20_000

# The caches that all readers share (about 5 MB) and what reading allocates. A queue for each of the two readers would
# be twice of what is published, and one for both would be all of it.
SHARED_BYTES = 10_000_000

PUBLISH = """
import sys, django
django.setup()
from serversent import send_events
count, size = int(sys.argv[1]), int(sys.argv[2])
for start in range(0, count, 50):
    send_events([("slow", f"{number} " + "x" * size) for number in range(start, min(start + 50, count))])
"""


def allocated(pid):
    """Return the bytes that a process has for itself. Its part of what it shares grows when others end."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Anonymous")


@pytest.mark.parametrize("kind", ["uvicorn-httptools", "daphne"])
@pytest.mark.parametrize(
    ("megabytes", "seconds"), [(30, 2), pytest.param(100, 20, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_two_clients_that_do_not_read(kind, megabytes, seconds, server_folder, tmp_path):
    environment = {"TEST_SQLITE": str(tmp_path / "db.sqlite3")}
    migrate(environment)
    count = megabytes * 1_000_000 // EVENT_BYTES
    with serve(kind, server_folder, environment=environment) as server, contextlib.ExitStack() as stack:
        pid = server.process.pid
        with server.open("/channels/?channel=slow") as stream:
            cursor = stream.next().id
            # What the first events load and allocate for good belongs to no reader.
            publish(environment, 200)
            assert len(stream.take(200)) == 200
            cursor = stream.parser.last_event_id
        streams = [stack.enter_context(open_slow(server, cursor)) for _ in range(2)]
        before = peak = allocated(pid)
        publishing = threading.Thread(target=publish, args=(environment, count))
        publishing.start()
        until = time.monotonic() + seconds
        while publishing.is_alive() or time.monotonic() < until:
            peak = max(peak, allocated(pid))
            time.sleep(0.05)
        publishing.join()
        print(f"{kind}: {(peak - before) / 1e6:.1f} MB more while {megabytes} MB were published")
        assert peak - before < SHARED_BYTES
        for stream in streams:
            assert [int(event.data.split()[0]) for event in stream.take(count)] == list(range(count))


def open_slow(server, cursor):
    """Open a stream whose client reads nothing until the test asks for it."""
    url, headers = f"{server.url}/channels/?channel=slow", {"Last-Event-ID": cursor}
    return Stream(url, headers=headers, seconds=120, receive_bytes=65_536)


def publish(environment, count):
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    command = [sys.executable, "-c", PUBLISH, str(count), str(EVENT_BYTES)]
    subprocess.run(command, check=True, env=variables, cwd=ROOT)
