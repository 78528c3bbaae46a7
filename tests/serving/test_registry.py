"""How many streams there may be, and for how long: who comes too late is told when to come again."""

import asyncio
import json
import time

import pytest
from django.test import RequestFactory, override_settings

from serversent.access.identity import identity_of
from serversent.errors import InvalidChannel
from tests.processes import serve
from tests.waiting import wait_for


@pytest.fixture
def limited(server_folder, sqlite_file):
    """Start a server with some settings."""

    def start(kind="uvicorn-httptools", **settings):
        return serve(
            kind, server_folder, environment={"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": json.dumps(settings)}
        )

    return start


def refused(stream):
    with stream:
        return stream.status, stream.headers, bytes(stream.read_to_end())


def log_in(server, user):
    return {"Cookie": server.get(f"/login/?user={user}").cookies[0].split(";")[0]}


@pytest.mark.parametrize("path", ["/silent/", "/plain-async/", "/sync/", "/channels/?channel=a"])
def test_the_limit_of_a_process(limited, path):
    with limited(MAX_CONNECTIONS=2) as server:
        with server.open("/channels/?channel=b") as first, server.open("/silent/") as second:
            status, headers, body = refused(server.open(path))
            assert status == 503
            assert 5 <= int(headers["retry-after"]) <= 10
            assert body == (
                b"This server serves as many streams as it may.\nTry again in %d seconds.\n"
                % int(headers["retry-after"])
            )
            assert headers["cache-control"] == "no-store"
            assert server.get("/").status == 200
            for stream in (first, second):  # nobody else's place is given away
                assert not stream.closed
                assert not stream.ended
        assert 'SERVERSENT["MAX_CONNECTIONS"] is 2' in server.log
        wait_for(lambda: opens(server, path), "a place that was given back")
        assert server.state()["started"].count("plain-async") <= 1, "a refused generator did not run"


def opens(server, path):
    with server.open(path) as stream:
        return stream.status == 200


def test_the_limit_of_a_user(limited):
    with limited(MAX_CONNECTIONS_PER_USER=2) as server:
        ada, grace = log_in(server, "ada"), log_in(server, "grace")
        elsewhere = log_in(server, "ada")  # another session of hers
        with server.open("/private/", headers=ada), server.open("/private/", headers=elsewhere):
            status, headers, body = refused(server.open("/private/", headers=ada))
            assert (status, "retry-after" in headers) == (429, True)
            assert body.startswith(b"You have as many streams open as one user may.")
            with server.open("/private/", headers=grace) as stream:
                assert stream.status == 200
            with server.open("/silent/") as stream:
                assert stream.status == 200


def test_the_limit_of_an_address(limited):
    with limited(MAX_CONNECTIONS_PER_ADDRESS=1, CLIENT_ADDRESS="tests.project.addresses.forwarded_for") as server:
        first, second = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}
        with server.open("/silent/", headers=first):
            status, headers, body = refused(server.open("/silent/", headers=first))
            assert (status, "retry-after" in headers) == (429, True)
            assert body.startswith(b"As many streams are open as one address may have.")
            with server.open("/silent/", headers=second) as stream:
                assert stream.status == 200


def test_places_are_given_back_however_a_stream_ends(limited):
    with limited(MAX_CONNECTIONS=3) as server:
        for path in ["/three/", "/error/500/", "/error-later/", "/big/", "/channels/?channel=a"] * 3:
            with server.open(path) as stream:
                assert stream.status in (200, 500)
            wait_for(lambda: opens(server, "/silent/"), f"a place after {path}")
        with server.open("/silent/"), server.open("/silent/"), server.open("/silent/"):
            assert refused(server.open("/silent/"))[0] == 503


async def test_many_at_once_do_not_get_the_last_place_twice(limited):
    with limited(MAX_CONNECTIONS=5) as server:

        def open_one():
            return server.open("/channels/?channel=a")

        streams = await asyncio.gather(*(asyncio.to_thread(open_one) for _ in range(40)))
        assert [stream.status for stream in streams].count(200) == 5
        for stream in streams:
            stream.close()


def test_too_many_channels(limited):
    with limited(MAX_CHANNELS=3) as server:
        status, headers, body = refused(server.open("/channels/?channel=a&channel=b&channel=c&channel=d"))
        assert (status, "retry-after" in headers) == (429, True)
        assert body.startswith(b"One stream may have 3 channels at most.")


def test_the_age_of_a_stream(limited):
    with limited(MAX_STREAM_SECONDS=2, HEARTBEAT_SECONDS=0.4) as server:
        began = time.monotonic()
        streams = [server.open(path) for path in ("/silent/", "/channels/?channel=a", "/plain-async/")]
        for stream in streams:
            with stream:
                stream.read_to_end()
                assert stream.ended
                assert b"event: end" not in stream.body, "its client comes back"
        assert time.monotonic() - began >= 1.8


@pytest.mark.parametrize("kind", ["uvicorn-httptools", "uvicorn-h11", "daphne", "hypercorn", "granian"])
@pytest.mark.parametrize("path", ["/flood/", "/channels/?channel=flood"])
def test_a_client_that_does_not_read_is_cut_off(limited, kind, path):
    with limited(kind, SEND_TIMEOUT_SECONDS=3, HEARTBEAT_SECONDS=0.4) as server:
        with server.open(path, receive_bytes=4096) as stream, server.open("/channels/?channel=flood") as other:
            other.next()
            if path != "/flood/":
                stream.next()
                for _ in range(20):
                    server.get("/send/?channel=flood&data=x&padding=500000")
                    other.next()  # it reads all the time: otherwise it would be cut off, too
            wait_for(lambda: "has not read for 3 s" in server.log, "the end of the stream")
            stream.read_to_end()  # what the kernel had taken
            assert stream.closed
            assert not stream.ended
            server.get("/send/?channel=flood&data=last")
            assert other.next().data == "last"
            wait_for(lambda: server.state()["open"] == 1, "the end of the stream, and of no other")


@pytest.mark.parametrize("kind", ["uvicorn-httptools", "hypercorn"])
def test_a_client_that_reads_slowly_is_not_cut_off(limited, kind):
    """One event of 10 MB, which takes longer than the time for which a client may read nothing."""
    with limited(kind, SEND_TIMEOUT_SECONDS=1, HEARTBEAT_SECONDS=0.4) as server:
        with server.open("/big/", receive_bytes=65_536) as stream:
            began = time.monotonic()
            while len(stream.body) + len(stream._buffer) < 9_000_000:
                assert stream._receive(time.monotonic() + 20)
                time.sleep(0.02)
            assert time.monotonic() - began > 2
            stream.read_to_end()
            assert stream.ended


# What counts as who.


def test_the_address_is_the_projects_to_say():
    request = RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers={"x-forwarded-for": "10.6.6.6, 192.0.2.1"})
    assert identity_of(request, 0).address == ""
    with override_settings(SERVERSENT={"MAX_CONNECTIONS_PER_ADDRESS": 1}):
        assert identity_of(request, 0).address == "10.0.0.1"
    with override_settings(
        SERVERSENT={"MAX_CONNECTIONS_PER_ADDRESS": 1, "CLIENT_ADDRESS": "tests.project.addresses.forwarded_for"}
    ):
        assert identity_of(request, 0).address == "192.0.2.1"


@pytest.mark.parametrize("name", ["каналы", "频道", "🚀", "a b", "", "x" * 201, "!revoked", "a\0"])
def test_an_invalid_channel_name_of_a_client(client, name, settings, caplog):
    """A view that takes names from its client is not the server's mistake."""
    answer = client.get("/channels/", {"channel": name})
    assert (answer.status_code, answer.content) == (400, b"There is no such channel.\n")
    assert "The stream tests.project.views.channels was refused" in caplog.text
    settings.DEBUG = True
    with pytest.raises(InvalidChannel):
        client.get("/channels/", {"channel": name})
