"""Streams on real servers: the hand-off seen from outside."""

import json
import re
import socket
import time

import pytest

from tests.client import Stream, get, request_bytes
from tests.processes import nginx, serve
from tests.waiting import wait_for

ENDLESS = ["async", "sync", "plain-async", "plain-sync"]


@pytest.mark.parametrize("path", ENDLESS)
def test_events_arrive_one_by_one(server, path):
    begin = time.monotonic()
    with server.open(f"/{path}/") as stream:
        events = stream.take(4)
        assert time.monotonic() - begin < 10  # the generator never ends: nothing waits for its end
    numbers = [json.loads(event.data) for event in events]
    expected = [0, 1, 2, 3] if path.startswith("plain") else [{"number": number} for number in range(4)]
    assert numbers == expected
    assert [event.id for event in events] == [""] * 4


@pytest.mark.parametrize("path", ENDLESS)
def test_headers(server, path):
    with server.open(f"/{path}/") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["incremental"] == "?1"
        assert "content-encoding" not in stream.headers
        assert "connection" not in stream.headers
    with server.open("/async/") as stream:
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_opening_and_plain_bytes(server):
    with server.open("/async/") as stream:
        stream.next()
        assert stream.body.startswith(b': stream, heartbeat 15 s\nretry: 3000\ndata: {"number": 0}\n\n')
        assert stream.parser.retry == 3000
    with server.open("/plain-async/") as stream:
        stream.next()
        assert stream.body.startswith(b"data: 0\n\n")


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("path", ENDLESS)
def test_the_generator_ends_when_the_client_leaves(server, path, reset):
    before = server.state()["closed"].count(path)
    stream = server.open(f"/{path}/")
    stream.next()
    stream.close(reset=reset)
    server.wait_closed(path, before + 1)


def test_a_waiting_generator_ends_when_the_client_leaves(server):
    before = server.state()["closed"].count("silent")
    server.open("/silent/").close()
    server.wait_closed("silent", before + 1)


@pytest.mark.parametrize("path", ENDLESS)
def test_nothing_is_left_behind(server, path):
    for _ in range(5):
        with server.open(f"/{path}/") as stream:
            stream.next()
    state = wait_for(
        lambda: (state := server.state()) and "serversent-stream" not in state["threads"] and state, "threads' end"
    )
    assert state["started"].count(path) == state["closed"].count(path)


def test_a_generator_that_returns_says_so(server):
    with server.open("/three/") as stream:
        body = stream.read_to_end()
        assert stream.ended
    assert (
        body
        == b": stream, heartbeat 15 s\nretry: 3000\ndata: 0\n\ndata: 1\n\ndata: 2\n\nevent: end\nid: end\ndata: {}\n\n"
    )


@pytest.mark.parametrize("where", ["header", "query"])
def test_a_client_that_returns_after_the_end_gets_204_without_a_call_of_the_view(server, where):
    before = server.state()["started"].count("three")
    headers = {"Last-Event-ID": "end"} if where == "header" else {}
    answer = server.get("/three/" + ("?lastEventId=end" if where == "query" else ""), headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert server.state()["started"].count("three") == before


def test_restart(server):
    with server.open("/restart/", headers={"Last-Event-ID": "end"}) as stream:
        assert stream.take(2)[0].data == "again"


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("404", 404), ("403", 403)])
def test_an_exception_before_the_first_event_is_a_real_status(server, kind, status):
    answer = server.get(f"/error/{kind}/", headers={"Accept": "text/event-stream"})
    assert answer.status == status
    assert b"a secret" not in answer.body
    assert not answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("path", ["error-later", "unencodable"])
def test_an_exception_after_the_first_event_is_logged_and_ends_the_body(server, path):
    with server.open(f"/{path}/") as stream:
        assert stream.next().data == "first"
        body = stream.read_to_end()
        assert stream.ended
    assert b"secret" not in body
    assert b"Traceback" not in body
    assert re.search(rb"data: first\n\nevent: retry\nretry: \d+\n\n\Z", body)
    name = path.replace("-", "_")
    wait_for(lambda: f"The stream tests.project.views.{name} failed" in server.log, "the log line")
    server.wait_closed(path)


def test_an_error_names_the_value_that_cannot_be_encoded(server):
    server.get("/unencodable/")
    wait_for(lambda: "data: object cannot be written as JSON" in server.log, "the reason in the log")


def test_headers_come_before_a_late_first_event(server):
    with server.open("/late/") as stream:  # its headers are there
        server.get("/late/send/")
        assert stream.next().data == "late"


def test_framed_text_is_warned_about_once(server):
    for _ in range(3):
        with server.open("/framed/") as stream:
            assert stream.next().data == "data: framed by hand\n\n"
    assert server.log.count("tests.project.views.framed yields text that is framed already") == 1


def test_head_gives_headers_alone(server):
    for path in ("async", "plain-async", "plain-sync"):
        before = server.state()["started"].count(path)
        answer = server.get(f"/{path}/", method="HEAD")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert "content-encoding" not in answer.headers
        assert server.state()["started"].count(path) == before


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT", "DELETE"])
def test_other_methods_are_refused(server, method):
    answer = server.get("/async/", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_post_with_a_body(server):
    with server.open("/echo/", method="POST", body=b'{"a": "\xc3\xa9"}') as stream:
        assert json.loads(stream.next().data) == {"a": "é"}
        assert stream.next() == ("done", "done", "7")
    assert server.get("/echo/").status == 405


def test_methods_of_a_class(server):
    with server.open("/class/") as stream:
        assert json.loads(stream.next().data) == {"method": "get"}
    with server.open("/class/", method="POST", body=b"x") as stream:
        assert json.loads(stream.next().data) == {"method": "post", "body": "x"}
    assert server.get("/class/", method="HEAD").status == 200


def test_scopes_and_context_variables_work_across_yields(server):
    with server.open("/scope/") as stream:
        assert [event.data for event in stream.take(2)] == ["1", "1"]
        assert stream.next().event == "end"
    assert "was created in a different Context" not in server.log


def test_a_generator_that_swallows_its_cancellation_ends(server):
    before = server.state()["closed"].count("stubborn")
    with server.open("/stubborn/") as stream:
        stream.next()
    server.wait_closed("stubborn", before + 1)


def test_huge_data_arrives_whole(server):
    with server.open("/big/") as stream:
        assert stream.next().data == "x" * 10_000_000


def test_login_required(server):
    answer = server.get("/private/")
    assert (answer.status, answer.headers["location"]) == (302, "/login/?next=/private/")
    welcome = server.get("/login/")
    assert welcome.status == 200, server.log[-4000:]
    cookie = welcome.cookies[0].split(";")[0]
    with server.open("/private/", headers={"Cookie": cookie}) as stream:
        assert stream.status == 200
        stream.next()


# Hostile clients


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00\xff\x16\x03\x01 garbage\r\n\r\n",
        b"GET /async/ HTTP/1.1\r\nHost: x\r\n",
        request_bytes("POST", "/echo/", {"Content-Length": "100"}) + b"half",
        request_bytes("GET", "/async/"),
        request_bytes("GET", "/plain-sync/"),
        request_bytes("GET", "/sync/") + request_bytes("GET", "/async/"),
    ],
    ids=["nothing", "garbage", "half a head", "half a body", "async", "plain-sync", "pipelined"],
)
def test_a_client_that_sends_this_and_closes_leaves_no_trace(server, sent):
    before = len(server.log)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(sent)
    with server.open("/async/") as stream:  # it still serves
        stream.next()
    wait_for(lambda: sorted(server.state()["started"]) == sorted(server.state()["closed"]), "the streams' end")
    log = server.log[before:]
    assert "Traceback" not in log
    assert "Task was destroyed" not in log
    assert "never retrieved" not in log


def test_last_event_ids_that_make_no_sense(server):
    for value in ("é", "x" * 2000, "\xff\xfe", "end\t"):
        with server.open("/three/", headers={"Last-Event-ID": value}) as stream:
            assert stream.status in (200, 204)


# Through middleware and proxies

MIDDLEWARE = """
django.middleware.gzip.GZipMiddleware
django.middleware.http.ConditionalGetMiddleware
django.contrib.sessions.middleware.SessionMiddleware
django.middleware.locale.LocaleMiddleware
django.middleware.common.CommonMiddleware
django.contrib.auth.middleware.AuthenticationMiddleware
django.contrib.auth.middleware.LoginRequiredMiddleware
tests.project.middleware.sync_middleware
tests.project.middleware.async_middleware
"""


@pytest.fixture(scope="module", params=["daphne", "uvicorn-httptools"])
def behind_middleware(request, server_folder, sqlite_file):
    environment = {
        "TEST_SQLITE": sqlite_file,
        "TEST_MIDDLEWARE": MIDDLEWARE,
        "TEST_SAVE_EVERY_REQUEST": "1",
        "TEST_ATOMIC_REQUESTS": "1",
    }
    with serve(request.param, server_folder, environment=environment) as server:
        server.cookie = server.get("/login/").cookies[0].split(";")[0]
        yield server


@pytest.mark.parametrize("path", ENDLESS)
def test_all_middleware_at_once(behind_middleware, path):
    headers = {"Accept-Encoding": "gzip, br", "Cookie": behind_middleware.cookie}
    before = behind_middleware.state({"Cookie": behind_middleware.cookie})["closed"].count(path)
    with behind_middleware.open(f"/{path}/", headers=headers) as stream:
        assert stream.status == 200
        assert "content-encoding" not in stream.headers
        assert "etag" not in stream.headers
        assert any(cookie.startswith("sessionid=") for cookie in stream.cookies)
        stream.take(3)
    wait_for(
        lambda: behind_middleware.state({"Cookie": behind_middleware.cookie})["closed"].count(path) > before,
        "the generator's end",
    )


def test_login_required_middleware(behind_middleware):
    assert behind_middleware.get("/async/").status == 302


@pytest.mark.parametrize(("wanted", "language"), [("de", "de"), ("fr", "fr")])
def test_the_language_of_the_request_is_that_of_the_generator(behind_middleware, wanted, language):
    headers = {"Accept-Language": wanted, "Cookie": behind_middleware.cookie}
    with behind_middleware.open("/language/", headers=headers) as stream:
        assert [event.data for event in stream.take(3)] == [language] * 3


@pytest.mark.service("nginx")
@pytest.mark.parametrize("path", ENDLESS)
def test_nginx_does_not_buffer(servers, path):
    with nginx(servers("uvicorn-httptools").port) as port:
        headers = {"Accept-Encoding": "gzip"}
        with Stream(f"http://127.0.0.1:{port}/{path}/", headers=headers) as stream:
            assert "content-encoding" not in stream.headers
            stream.take(3)
        assert get(f"http://127.0.0.1:{port}/three/").body.endswith(b"event: end\nid: end\ndata: {}\n\n")
