"""Servers stop, and reload, with open streams: they never hang, and each stream gets a proper end."""

import contextlib
import os
import re
import signal
import time

import pytest

from tests.processes import ROOT, reload, serve
from tests.waiting import wait_for

OPEN_STREAMS = ["async", "sync", "plain-async", "plain-sync", "silent", "user-plain"]

# DRAIN_SECONDS is 5 by default, and no generator here needs it. What hangs, hangs for longer than this.
STOP_SECONDS = 10


def open_streams(server):
    streams = {path: server.open(f"/{path}/") for path in OPEN_STREAMS}
    for path, stream in streams.items():
        if path != "silent":
            stream.next()
    return streams


def check_ended(streams, *, retry=True):
    with contextlib.ExitStack() as stack:
        for stream in streams.values():
            stack.enter_context(stream)
        bodies = {path: stream.read_to_end() for path, stream in streams.items()}
    for path, stream in streams.items():
        body = bodies[path]
        assert stream.ended, f"{path} was cut: {body[-100:]!r}"
        if retry and path in ("async", "sync", "silent"):
            assert 3000 <= int(re.search(rb"event: retry\nretry: (\d+)\n\n\Z", body)[1]) <= 8000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "kind",
    [
        *[
            "daphne",
            "runserver",
            "uvicorn-httptools",
            "uvicorn-h11",
            "uvicorn-4",
            "hypercorn",
            "hypercorn-0",
            "granian",
        ],
        *["gunicorn-uvicorn", "gunicorn-asgi"],
    ],
)
def test_stop(kind, number, server_folder, sqlite_file):
    with serve(kind, server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        begin = time.monotonic()
        server.process.send_signal(number)
        server.process.wait(STOP_SECONDS)
        seconds = time.monotonic() - begin
        check_ended(streams)
    assert seconds < STOP_SECONDS
    assert "Task was destroyed" not in server.log
    assert "Traceback" not in server.log.replace("KeyboardInterrupt", "")


def test_ctrl_c_in_the_terminal_of_runserver_with_its_reloader(server_folder, sqlite_file):
    """Ctrl-C reaches the whole process group: the reloader and the server."""
    with serve("runserver-reload", server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        os.killpg(server.process.pid, signal.SIGINT)
        server.process.wait(STOP_SECONDS)
        check_ended(streams)


@pytest.mark.parametrize("kind", ["uvicorn-recycled", "hypercorn-recycled", "gunicorn-uvicorn-recycled"])
def test_a_worker_that_has_served_enough(kind, server_folder, sqlite_file):
    """It ends without a signal, and waits for its streams, or cancels them."""
    with serve(kind, server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        with contextlib.suppress(OSError):
            for _ in range(30):
                server.get("/")
        check_ended(streams)
        if kind == "uvicorn-recycled":  # it has nobody to start another
            server.process.wait(STOP_SECONDS)
        else:
            server.wait_ready()
            assert server.get("/").body == b"index"


@pytest.mark.parametrize("kind", ["gunicorn-uvicorn", "hypercorn"])
def test_new_workers_for_old_ones(kind, server_folder, sqlite_file):
    """SIGHUP to the parent: a deploy without a gap."""
    with serve(kind, server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        server.process.send_signal(signal.SIGHUP)
        check_ended(streams)
        server.wait_ready()
        assert server.get("/").body == b"index"


def test_a_stop_for_the_whole_group(server_folder, sqlite_file):
    """As systemd does it: Hypercorn's worker has no handler, and would die at once."""
    with serve("hypercorn", server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        os.killpg(server.process.pid, signal.SIGTERM)
        check_ended(streams)
        server.process.wait(STOP_SECONDS)


def test_reload_of_runserver(server_folder, sqlite_file):
    with serve("runserver-reload", server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        reload(server, ROOT / "tests/project/middleware_for_reload.py", "Starting ASGI/Daphne")
        check_ended(streams)
        server.wait_ready()
        assert server.get("/").body == b"index"


def test_reload_of_uvicorn(server_folder, sqlite_file, tmp_path):
    (tmp_path / "watched.py").touch()
    with serve("uvicorn-reload", tmp_path, environment={"TEST_SQLITE": sqlite_file}) as server:
        streams = open_streams(server)
        reload(server, tmp_path / "watched.py", "Started server process")
        check_ended(streams)
        server.wait_ready()


@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools"])
def test_a_generator_that_does_not_stop_is_left_after_drain_seconds(kind, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"DRAIN_SECONDS": 0.5}'}
    with serve(kind, server_folder, environment=environment) as server:
        with server.open("/slow-cleanup/") as stream:
            stream.next()
            server.process.terminate()
            server.process.wait(STOP_SECONDS)
            stream.read_to_end()
        assert "slow_cleanup did not stop within 0.5 s" in server.log


def stands_still(server):
    first = server.state()["flooded"]
    return first and server.state()["flooded"] == first == server.state()["flooded"]


@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools", "uvicorn-h11"])
def test_a_client_that_does_not_read_does_not_hold_the_server(kind, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"DRAIN_SECONDS": 1}'}
    with serve(kind, server_folder, environment=environment) as server, server.open("/flood/") as stream:
        stream.next()
        wait_for(lambda: stands_still(server), "a full socket")
        assert server.state()["flooded"] < 200  # of 100 kB: the buffers, and no more
        server.process.terminate()
        server.process.wait(STOP_SECONDS)


@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools", "uvicorn-h11"])
def test_a_heartbeat_that_waits_for_a_client_does_not_hold_the_server(kind, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"DRAIN_SECONDS": 1, "HEARTBEAT_SECONDS": 0.1}'}
    with serve(kind, server_folder, environment=environment) as server:
        with server.open("/big-then-silent/") as stream:
            wait_for(lambda: server.state()["started"] == ["big-then-silent"])
            time.sleep(1)  # ten heartbeats fall due, behind megabytes that nobody reads
            server.process.terminate()
            server.process.wait(STOP_SECONDS)
            assert not stream.ended
