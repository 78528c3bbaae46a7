"""Other ways to be served: below Channels and Django's static files, by plain Django, under WSGI."""

import json

import pytest

from tests.processes import serve
from tests.waiting import wait_for


@pytest.mark.parametrize("application", ["channels_asgi", "static_asgi"])
@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools"])
def test_below_another_application(kind, application, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_DEBUG": "1"}
    name = f"tests.project.{application}:application"
    with serve(kind, server_folder, application=name, environment=environment) as server:
        for path in ("async", "sync", "plain-async", "plain-sync"):
            with server.open(f"/{path}/") as stream:
                stream.take(3)
            server.wait_closed(path)
        assert "served by Django itself" not in server.log
        if application == "static_asgi":
            assert server.get("/static/serversent_demo/demo.css").status in (200, 404)


@pytest.fixture(params=["daphne", "uvicorn-httptools"])
def plain_django(request, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"HEARTBEAT_SECONDS": 0.3}'}
    name = "tests.project.plain_asgi:application"
    with serve(request.param, server_folder, application=name, environment=environment) as server:
        yield server


def test_plain_django_serves_streams_and_says_so_once(plain_django):
    for path in ("async", "sync"):
        for _ in range(2):
            with plain_django.open(f"/{path}/") as stream:
                assert [json.loads(event.data)["number"] for event in stream.take(3)] == [0, 1, 2]
        plain_django.wait_closed(path, 2)
    assert plain_django.get("/three/").body.endswith(b"event: end\nid: end\ndata: {}\n\n")
    assert plain_django.get("/error/404/").status == 404
    with plain_django.open("/silent/") as stream:
        stream.wait_for_bytes(b": hb\n: hb\n")
    plain_django.wait_closed("silent")
    assert plain_django.log.count("A stream is served by Django itself") == 1


def test_runserver_without_daphne_serves_every_stream(server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"HEARTBEAT_SECONDS": 0.3}'}
    with serve("wsgi-runserver", server_folder, environment=environment) as server:
        for path in ("async", "sync"):
            for _ in range(2):
                with server.open(f"/{path}/") as stream:
                    assert [json.loads(event.data)["number"] for event in stream.take(3)] == [0, 1, 2]
            server.wait_closed(path, 2)
        assert server.get("/three/").read_to_end().endswith(b"event: end\nid: end\ndata: {}\n\n")
        with server.open("/silent/") as stream:
            stream.wait_for_bytes(b": hb\n: hb\n")
        server.wait_closed("silent")
        assert server.log.count("runserver serves each open stream with a thread of its own") == 1


def test_gunicorn_streams_sync_generators_and_refuses_async_ones(server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file}
    with serve("gunicorn", server_folder, environment=environment) as server:
        with server.open("/sync/") as stream:
            assert [json.loads(event.data)["number"] for event in stream.take(3)] == [0, 1, 2]
        server.wait_closed("sync")
        assert server.get("/async/").status == 500
        assert "tests.project.views.async_ticks is an async generator stream, and this is a WSGI server" in server.log


@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools"])
def test_the_pool_of_sync_streams_is_bounded(kind, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"MAX_SYNC_STREAMS": 2}'}
    with serve(kind, server_folder, environment=environment) as server:
        with server.open("/sync/") as first, server.open("/plain-sync/") as second:
            first.next()
            second.next()
            for path in ("sync", "plain-sync"):
                answer = server.get(f"/{path}/")
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) > 0
            with server.open("/async/") as third:
                third.next()
        assert "2 sync generator streams are open" in server.log
        # Their threads end with them, and make room.
        wait_for(lambda: server.get("/three/").status == 200)
        wait_for(lambda: server.state()["closed"].count("sync") == 1)
        with wait_for(lambda: opened(server)) as stream:
            stream.next()


def opened(server):
    stream = server.open("/sync/")
    if stream.status == 200:
        return stream
    stream.close()
    return None


@pytest.mark.parametrize("kind", ["daphne", "uvicorn-httptools", "uvicorn-h11"])
def test_heartbeats(kind, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"HEARTBEAT_SECONDS": 0.3}', "TEST_DEBUG": "1"}
    with serve(kind, server_folder, environment=environment) as server:
        with server.open("/silent/") as stream:
            stream.wait_for_bytes(b": stream, heartbeat 0.3 s\nretry: 3000\n: hb\n: hb\n: hb\n")
        with server.open("/user-plain/") as stream:
            stream.wait_for_bytes(b"data: AnonymousUser AnonymousUser\n\n: hb\n: hb\n")
        with server.open("/half-line/") as stream:  # a comment would become a part of the line
            stream.wait_for_bytes(b"data: half and half\n\n")
            assert b"hb" not in stream.body
        with server.open("/error-later/") as stream:
            assert b": ValueError: a secret (shown because DEBUG is on)\n" in stream.read_to_end()
