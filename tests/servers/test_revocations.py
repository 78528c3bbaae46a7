"""What is taken back in one process ends the streams of another, and refuses what was signed before."""

import json
import time
import urllib.parse

import pytest

from tests.conftest import migrate
from tests.processes import serve
from tests.waiting import wait_for

# The target is 1 s on PostgreSQL and 2 s on SQLite.
WITHIN_SECONDS = {"sqlite": 20, "postgresql": 10}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def database(request):
    return request.param


@pytest.fixture(scope="module")
def environment(request, database, server_folder):
    """A database of its own: here are users, and a log, that other tests do not expect."""
    environment = {"TEST_SQLITE": str(server_folder / "revocations.sqlite3")}
    if database == "postgresql":
        server = request.getfixturevalue("postgresql_server")
        server.sql("create database revocations")
        environment = {"TEST_DATABASE": json.dumps({**server.settings, "NAME": "revocations"})}
    migrate(environment)
    return environment


@pytest.fixture(scope="module")
def here(server_folder, environment):
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


@pytest.fixture
def user(request, here):
    """A user for each test: some are deleted."""
    return "user-" + request.node.name[-30:].translate(str.maketrans("[]", "--"))


def log_in(server, user):
    answer = server.get("/login/?" + urllib.parse.urlencode({"user": user}))
    assert answer.status == 200, answer.body
    return {"Cookie": answer.cookies[0].split(";")[0]}


def call(server, path, cookie=None):
    answer = server.get(path, headers=cookie)
    assert answer.status == 200, answer.body
    answer.read_to_end()
    return answer


def signed_url(server, cookie, *channels):
    query = urllib.parse.urlencode([("channel", channel) for channel in channels])
    return call(server, f"/url/?{query}", cookie).body.decode()


def status(server, path, cookie):
    with server.open(path, headers=cookie) as stream:
        return stream.status


def open_all(server, cookie):
    """One of each kind: a generator's, somebody's own, and channels."""
    url = signed_url(server, cookie, "news")
    streams = [
        server.open(path, headers=cookie) for path in ("/private/", "/user-plain/", "/channels/?channel=news", url)
    ]
    assert [stream.status for stream in streams] == [200] * 4
    for stream in streams:
        stream.next()
    return streams


def check_ended(streams, database, since):
    for stream in streams:
        stream.read_to_end()
        assert stream.ended, "cut, and not ended"
        stream.close()
    assert time.monotonic() - since < WITHIN_SECONDS[database]


def is_open(stream):
    return not stream.ended and not stream.closed


def test_a_logout_ends_the_streams_of_its_session(here, elsewhere, database, user):
    cookie, other_session, other_user = log_in(here, user), log_in(here, user), log_in(here, user + "-2")
    streams = open_all(elsewhere, cookie)
    others = [*open_all(elsewhere, other_session), *open_all(elsewhere, other_user)]
    began = time.monotonic()
    call(here, "/logout/", cookie)
    check_ended(streams, database, began)
    call(here, "/send/?channel=news&data=after")
    for stream in others:
        assert is_open(stream)
        if "channels" in stream.path or "events" in stream.path:
            assert stream.next().data == "after"
        stream.close()
    assert status(elsewhere, "/private/", cookie) == 302


def test_a_password_ends_them_all(here, elsewhere, database, user):
    cookie, other_session = log_in(here, user), log_in(here, user)
    streams = [*open_all(elsewhere, cookie), *open_all(elsewhere, other_session)]
    before, others = signed_url(here, cookie, "news"), signed_url(here, other_session, "news")
    began = time.monotonic()
    changed = call(here, "/password/", cookie)
    # The streams of channels that asked nobody for their user are public: they stay.
    public = [stream for stream in streams if "/channels/" in stream.path]
    check_ended([stream for stream in streams if stream not in public], database, began)
    for stream in public:
        assert is_open(stream)
        stream.close()
    old_cookie, cookie = cookie, {"Cookie": changed.cookies[0].split(";")[0]}
    assert status(elsewhere, before, cookie) == 200, "the session goes on, under another key"
    for url, gone in [(before, old_cookie), (others, other_session), (others, cookie)]:
        assert status(elsewhere, url, gone) == 403
    assert status(elsewhere, signed_url(here, cookie, "news"), cookie) == 200
    assert status(elsewhere, "/private/", cookie) == 200


@pytest.mark.parametrize("change", ["deactivate", "delete"])
def test_the_end_of_an_account_ends_them_all(here, elsewhere, database, user, change):
    cookie = log_in(here, user)
    streams = open_all(elsewhere, cookie)
    url = signed_url(here, cookie, "news")
    began = time.monotonic()
    call(here, f"/user/{change}/?user={user}")
    check_ended([stream for stream in streams if "/channels/" not in stream.path], database, began)
    for stream in streams:
        stream.close()
    assert status(elsewhere, url, cookie) == 403


def test_end_streams_in_another_process(here, elsewhere, database, user, server_folder, environment):
    cookie, other = log_in(here, user), log_in(here, user + "-2")
    before = {name: signed_url(elsewhere, cookie, name, f"{name}-too") for name in ("secret", "open")}
    streams = {name: elsewhere.open(url, headers=cookie) for name, url in before.items()}
    others = elsewhere.open(signed_url(elsewhere, other, "secret"), headers=other)
    for stream in (*streams.values(), others):
        stream.next()
    began = time.monotonic()
    call(here, f"/end/?user={user}&channel=secret")
    check_ended([streams["secret"]], database, began)
    assert is_open(streams["open"])
    assert is_open(others)
    # What was signed before is refused, also by a process that was not there then. Later ones are not.
    with serve("uvicorn-httptools", server_folder, environment=environment) as late:
        for server in (elsewhere, here, late):
            assert status(server, before["secret"], cookie) == 403
            assert status(server, before["open"], cookie) == 200
            with server.open(signed_url(here, cookie, "secret"), headers=cookie) as stream:
                assert stream.next().event == "ready"
                call(here, "/send/?channel=secret&data=again")
                assert stream.next().data == "again"
    call(here, "/end/?channel=secret")
    check_ended([others], database, time.monotonic())
    streams["open"].close()


def test_a_stream_of_a_generator_alone_keeps_no_connection_for_it(here, user):
    """Where no channel is listened to, the log is asked now and then, and let go."""
    cookie = log_in(here, user)
    with here.open("/private/", headers=cookie) as stream:
        stream.next()
        wait_for(lambda: "serversent-stream" not in here.state()["threads"], "no thread between two looks")


def test_the_session_by_its_key(here, elsewhere, database, user):
    cookie = log_in(here, user)
    url = signed_url(here, cookie, "news")
    stream = elsewhere.open("/private/", headers=cookie)
    stream.next()
    key = cookie["Cookie"].partition("=")[2]
    began = time.monotonic()
    call(here, f"/end/?session={key}")
    check_ended([stream], database, began)
    assert status(elsewhere, url, cookie) == 403
    assert status(elsewhere, "/private/", cookie) == 200  # the session goes on, and its view says who may
