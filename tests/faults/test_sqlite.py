"""SQLite with the settings of a plain startproject: writers in several processes, and one with subscribers."""

import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.parse

import pytest

from tests.conftest import migrate
from tests.processes import ROOT, serve
from tests.waiting import wait_for


@pytest.fixture
def environment(tmp_path):
    environment = {"TEST_SQLITE": str(tmp_path / "db.sqlite3")}
    migrate(environment)
    return environment


def write(environment, count, writers=4):
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sqlite_writer", f"w{number}", str(count)],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
        )
        for number in range(writers)
    ]
    results = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    return [text for result in results for text in result["sent"]], sum(result["failed"] for result in results)


def test_subscribers_lock_out_no_writer(environment, server_folder):
    count = 150
    # Read-then-write transactions of several processes fail against each other; subscribers must not add to that.
    _, failed_alone = write(environment, count)
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        with server.open("/channels/?channel=sqlite", seconds=60) as stream:
            assert stream.next().event == "ready"
            sent, failed = write(environment, count)
            received = [event.data for event in stream.take(len(sent))]
    assert sorted(received) == sorted(sent)
    for name in ("w0", "w1", "w2", "w3"):
        mine = [text for text in received if text.startswith(name)]
        assert mine == [text for text in sent if text.startswith(name)]
    print(f"failed: {failed_alone} of {4 * count} alone, {failed} with a subscriber")
    # The writers' conflicts with each other vary by half from run to run, and this guards against another order of
    # magnitude: a subscriber's process that wrote as well.
    assert failed <= failed_alone * 2 + 4 * count * 0.2, (failed, failed_alone)


def test_a_subscriber_takes_no_write_lock(environment, server_folder):
    """Sharper than the count above: somebody else has the lock all the time, and a subscriber does not notice."""
    with (
        serve("uvicorn-httptools", server_folder, environment=environment) as server,
        contextlib.closing(sqlite3.connect(environment["TEST_SQLITE"], isolation_level=None)) as writer,
    ):
        server.get("/send/?channel=lock&data=before")
        writer.execute("BEGIN IMMEDIATE")
        with server.open("/channels/?channel=lock&oldest=1") as stream:
            assert [event.event for event in stream.take(2)] == ["ready", "message"]
            with server.open("/channels/?channel=lock", headers={"Last-Event-ID": "other-1"}) as other:
                assert other.next().event == "reset"
            writer.execute("INSERT INTO serversent_outbox (channel, data) VALUES ('lock', 'after')")
            writer.execute("COMMIT")
            assert stream.next().data == "after"
        assert "locked" not in server.log


def test_from_a_second_process_to_runserver(environment, server_folder):
    with (
        serve("runserver", server_folder, environment=environment) as server,
        serve("uvicorn-httptools", server_folder, environment=environment) as sender,
        server.open("/channels/?channel=quick") as stream,
    ):
        stream.next()
        delays = []
        for number in range(30):
            moment = time.monotonic()
            sender.get("/send/?" + urllib.parse.urlencode({"channel": "quick", "data": number}))
            assert stream.next().data == str(number)
            delays.append(time.monotonic() - moment)
            time.sleep(0.013)  # not in step with the poll
        # The target is 150 ms.
        assert statistics.median(delays) < 1.5

        # The sender had no subscriber, and polls for none.
        assert "serversent-stream" not in sender.state()["threads"]
    print(f"median arrival {statistics.median(delays) * 1000:.0f} ms")


def test_a_hub_without_subscribers_stops(environment, server_folder):
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        with server.open("/channels/?channel=some") as stream:
            stream.next()
            assert "serversent-stream" in server.state()["threads"]
        wait_for(lambda: "serversent-stream" not in server.state()["threads"], "the end of the tail", 60)
        with server.open("/channels/?channel=some") as stream:
            stream.next()
            server.get("/send/?channel=some&data=again")
            assert stream.next().data == "again"


def test_published_by_sqlite3(environment, server_folder):
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        with server.open("/channels/?channel=sql") as stream:
            stream.next()
            connection = sqlite3.connect(environment["TEST_SQLITE"])
            with connection:
                connection.execute("INSERT INTO serversent_outbox (channel, data) VALUES ('sql', 'from sqlite3')")
            connection.close()
            assert stream.next().data == "from sqlite3"
