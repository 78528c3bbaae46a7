"""Open streams hold no database connection and no thread, on PostgreSQL."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.processes import serve
from tests.waiting import wait_for

pytestmark = pytest.mark.service("postgresql")


@pytest.fixture(scope="module", params=["daphne", "uvicorn-httptools"])
def server(request, server_folder, postgresql_settings):
    environment = {"TEST_DATABASE": json.dumps(postgresql_settings)}
    with serve(request.param, server_folder, environment=environment) as server:
        server.cookie = server.get("/login/").cookies[0].split(";")[0]
        yield server


@pytest.fixture
def connections(postgresql_settings):
    """Count the connections to the database that are not ours."""
    settings = postgresql_settings
    with psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], user=settings["USER"], dbname=settings["NAME"], autocommit=True
    ) as connection:

        def count():
            row = connection.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            ).fetchone()
            return row[0]

        yield count


def open_streams(server, path, count, stack):
    """Open all at once: those that wait for a first event get their headers after 250 ms only."""

    def open_one(_):
        return server.open(path, headers={"Cookie": server.cookie}, seconds=60)

    with ThreadPoolExecutor(count) as pool:
        streams = [stack.enter_context(stream) for stream in pool.map(open_one, range(count))]
    assert [stream.status for stream in streams] == [200] * count
    return streams


@pytest.mark.parametrize("path", ["user", "user-plain"])
def test_200_streams_that_touched_the_user(server, connections, path):
    wait_for(lambda: connections() == 0, "no connection before")
    before = server.state()
    with contextlib.ExitStack() as stack:
        for stream in open_streams(server, f"/{path}/", 200, stack):
            assert stream.next().data.startswith("ada")
        wait_for(lambda: connections() == 0, "no connection after the hand-off")
        wait_for(lambda: len(server.state()["threads"]) <= len(before["threads"]), "no thread after the hand-off")
        state = server.state()
        assert state["started"].count(path) - state["closed"].count(path) == 200
    server.wait_closed(path, before["closed"].count(path) + 200)


def test_50_streams_that_query_and_sleep(server, connections):
    path = "query-and-sleep"
    before = server.state()
    with contextlib.ExitStack() as stack:
        open_streams(server, f"/{path}/", 50, stack)
        wait_for(lambda: server.state()["started"].count(path) - before["started"].count(path) == 50)
        wait_for(lambda: connections() == 0, "no connection while they sleep")
        wait_for(lambda: "serversent-stream" not in server.state()["threads"], "no thread while they sleep")
        assert server.state()["closed"].count(path) == before["closed"].count(path)
    server.wait_closed(path, before["closed"].count(path) + 50)
    wait_for(lambda: connections() == 0, "no connection after they were cancelled")
    wait_for(lambda: "serversent-stream" not in server.state()["threads"], "no thread after they were cancelled")


def test_a_server_side_cursor_across_pauses_needs_hold_connection(server, connections):
    with server.open("/held-cursor/") as stream:
        assert [event.data for event in stream.take(3)] == ["ada", "grace", "hedy"]
        assert connections() == 1
        assert stream.next().event == "end"
    wait_for(lambda: connections() == 0, "no connection after the end")


def test_without_the_app_the_error_says_how_to_install_it(server):
    with server.open("/cursor/") as stream:
        stream.next()
        stream.read_to_end()
    wait_for(lambda: "declare it with @event_stream(hold_connection=True)" in server.log, "the hint in the log")


def test_a_transaction_is_not_cut_by_a_pause(server):
    with server.open("/transaction/") as stream:
        assert [event.data for event in stream.take(2)] == ["1", "1"]
        assert stream.next().event == "end"


def test_psycopg_2(server_folder, postgresql_settings):
    """It has no way to wait for NOTIFY that would be worth a dependency: events are polled for."""
    environment = {"TEST_DATABASE": json.dumps(postgresql_settings), "TEST_WITHOUT": "psycopg"}
    with (
        serve("uvicorn-httptools", server_folder, environment=environment) as server,
        server.open("/channels/?channel=psycopg2") as stream,
    ):
        assert stream.next().event == "ready"
        for number in range(3):
            assert server.get(f"/send/?channel=psycopg2&data={number}").status == 200
            assert stream.next().data == str(number)
        assert "Traceback" not in server.log
