"""The database goes away and comes back: streams stay open, nothing is lost, no connection is leaked."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.parse

import pytest

from serversent.wire.cursor import Cursor
from tests import processes
from tests.conftest import migrate
from tests.processes import serve
from tests.waiting import wait_for

pytestmark = pytest.mark.service("postgresql")


@pytest.fixture(scope="module")
def database():
    with processes.postgresql("-c", "fsync=off") as server:
        migrate({"TEST_DATABASE": json.dumps(server.settings)})
        yield server


@pytest.fixture(scope="module")
def environment(database):
    return {"TEST_DATABASE": json.dumps(database.settings)}


@pytest.fixture(scope="module")
def server(server_folder, environment):
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def sender(server_folder, environment):
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


def send(server, channel, data):
    return server.get("/send/?" + urllib.parse.urlencode({"channel": channel, "data": data})).status


def kill_every_connection(database):
    database.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where datname = 'serversent' and pid <> pg_backend_pid()"
    )


def test_the_tails_connection_is_killed(database, server, sender):
    with server.open("/channels/?channel=killed") as stream:
        assert stream.next().event == "ready"
        for number in range(5):
            kill_every_connection(database)
            wait_for(lambda number=number: send(sender, "killed", str(number)) == 200, "a send after the outage")
            assert stream.next().data == str(number)
        assert server.process.poll() is None


@pytest.mark.parametrize("at_once", [True, False], ids=["immediate", "fast"])
def test_the_server_is_restarted(database, server, sender, at_once):
    channel = f"restarted-{at_once}"
    with server.open(f"/channels/?channel={channel}", seconds=60) as stream:
        cursor = Cursor.parse(stream.next().id)
        send(sender, channel, "before")
        assert stream.next().data == "before"
        database.stop(at_once=at_once)
        assert send(sender, channel, "lost by its sender, who is told") == 500
        # A process that knows where the log stands opens streams; another one says when to try again.
        with server.open(f"/channels/?channel={channel}", seconds=60) as late:
            assert late.next().event == "ready"
            refused = sender.get(f"/channels/?channel={channel}")
            assert (refused.status, "retry-after" in refused.headers) == (503, True), refused.body
            database.start()
            wait_for(lambda: send(sender, channel, "after") == 200, "a send after the restart")
            event = stream.next()
            assert event.data == "after"
            assert Cursor.parse(event.id).epoch == cursor.epoch
            assert late.next() == event
        assert "can be read again" in server.log
    wait_for(
        lambda: int(database.sql("select count(*) from pg_stat_activity where datname = 'serversent'")) <= 1 + 2 * 5,
        "no leaked connection",
    )


def test_connections_do_not_grow_with_outages(database, server, sender):
    def count():
        return int(database.sql("select count(*) from pg_stat_activity where datname = 'serversent'"))

    with server.open("/channels/?channel=grow") as stream:
        stream.next()
        for number in range(6):
            kill_every_connection(database)
            wait_for(lambda number=number: send(sender, "grow", str(number)) == 200, "a send")
            assert stream.next().data == str(number)
        # The tail's, two readers', and those of requests that have not ended yet.
        wait_for(lambda: count() <= 6, "no more connections than before")


def test_from_one_process_to_http_from_another_in_milliseconds(server, sender):
    delays = []
    with server.open("/channels/?channel=quick") as stream:
        stream.next()
        for number in range(50):
            moment = time.monotonic()
            send(sender, "quick", str(number))
            assert stream.next().data == str(number)
            delays.append(time.monotonic() - moment)
    assert "Events are polled for" not in server.log
    assert statistics.median(delays) < 1  # the target is 10 ms, without the sender's own request


def test_published_by_psql(database, server):
    with server.open("/channels/?channel=psql") as stream:
        stream.next()
        database.sql("INSERT INTO serversent_outbox (channel, data) VALUES ('psql', 'from psql 🚀')")
        assert stream.next().data == "from psql 🚀"
        database.sql("INSERT INTO serversent_outbox (channel, event, data) VALUES ('psql', E'a\\nb', 'bad type')")
        database.sql("INSERT INTO serversent_outbox (channel, event, data) VALUES ('psql', 'kind', 'good')")
        assert stream.next().event == "kind"
        database.sql("INSERT INTO serversent_outbox (channel, data) VALUES ('psql', 'called')")
        database.sql("CALL serversent_number()")
        assert stream.next().data == "called"
        database.sql("CALL serversent_send('psql', 'kind', 'in one call')")
        assert stream.next().data == "in one call"
    assert "was left out" in server.log


def test_a_stopped_numbering_process_stalls_no_other(database, environment, server, sender):
    """Stopped at any moment: numbering is one statement, which the server ends without its client."""
    code = (
        "import django; django.setup(); from serversent import send_event; import itertools\n"
        "for number in itertools.count(): send_event('stopped', str(number))"
    )
    variables = {**environment, "DJANGO_SETTINGS_MODULE": "tests.project.settings"}
    with server.open("/channels/?channel=free", seconds=10) as stream:
        stream.next()
        for number in range(15):
            writer = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **variables}, cwd=processes.ROOT)
            try:
                time.sleep(0.5 + number * 0.013)  # a random moment of its work
                writer.send_signal(signal.SIGSTOP)
                moment = time.monotonic()
                assert send(sender, "free", str(number)) == 200
                assert stream.next().data == str(number)
                assert time.monotonic() - moment < 5
            finally:
                writer.kill()
                writer.wait()
