"""Clients that take the data of every event for theirs: with ``control_events=False`` they get nothing of ours."""

import json
import random
import signal
import subprocess
import urllib.parse

import pytest

from tests.processes import ROOT, find_program, serve
from tests.waiting import DEADLINE_SECONDS, wait_for

pytestmark = pytest.mark.service("npm")

AI_SDK = [
    {"type": "start", "messageId": "m"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "Hel"},
    {"type": "text-delta", "id": "t", "delta": "lo"},
    {"type": "text-end", "id": "t"},
    {"type": "finish"},
]
RUN = {"threadId": "t", "runId": "r"}
AG_UI = [
    {"type": "RUN_STARTED", **RUN},
    {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hel"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "lo"},
    {"type": "TEXT_MESSAGE_END", "messageId": "m"},
    {"type": "RUN_FINISHED", **RUN},
]
CLIENTS = {"ai-sdk": AI_SDK, "ag-ui": AG_UI}
# Granian has no way to cut a response.
SERVERS = ["uvicorn-httptools", "uvicorn-h11", "daphne", "hypercorn"]

client = pytest.mark.parametrize("client", CLIENTS)


@pytest.fixture(params=SERVERS)
def server(request, server_folder, sqlite_file):
    environment = {"TEST_SQLITE": sqlite_file, "TEST_SERVERSENT": '{"DRAIN_SECONDS": 2, "HEARTBEAT_SECONDS": 1}'}
    with serve(request.param, server_folder, environment=environment) as server:
        yield server


@pytest.fixture
def channel():
    """One that no other test has: the servers have one log."""
    return f"c{random.randrange(10**9)}"


class Reader:
    """A client's library in Node, that reads the channel of a test."""

    def __init__(self, server, client, channel, *, start="oldest"):
        url = f"{server.url}/channels/?channel={channel}&plain=1&{start}=1"
        command = [str(find_program("node")), str(ROOT / f"tests/node/{client}.mjs"), url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_read(self, count):
        """Wait until so many of its events were read."""
        for _ in range(count):
            assert self._process.stdout.readline().startswith('"')

    def result(self):
        output, errors = self._process.communicate(timeout=DEADLINE_SECONDS)
        *_, last = output.splitlines()
        return json.loads(last), errors


def send(server, channel, events):
    for event in events:
        query = urllib.parse.urlencode({"channel": channel, "data": json.dumps(event)})
        assert server.get(f"/send/?{query}").status == 200


@client
def test_a_whole_answer(server, client, channel):
    reader = Reader(server, client, channel)
    send(server, channel, CLIENTS[client][:3])
    reader.wait_read(3)
    send(server, channel, CLIENTS[client][3:])
    server.get(f"/close/?channel={channel}")
    result, errors = reader.result()
    assert result == {"text": "Hello", "finished": True, "error": None}, errors


@client
def test_a_client_that_comes_later(server, client, channel):
    send(server, channel, CLIENTS[client])
    server.get(f"/close/?channel={channel}")
    result, errors = Reader(server, client, channel).result()
    assert result == {"text": "Hello", "finished": True, "error": None}, errors


@client
def test_half_an_answer_is_not_taken_for_all(server, client, channel):
    """The server stops: a proper end would be a success to them."""
    reader = Reader(server, client, channel)
    send(server, channel, CLIENTS[client][:3])
    reader.wait_read(3)
    server.process.send_signal(signal.SIGTERM)
    result, errors = reader.result()
    assert result["text"] == "Hel", errors
    assert not result["finished"]
    assert result["error"]
    wait_for(lambda: server.process.poll() is not None, "the end of the server")


def test_a_plain_response_that_fails_is_cut_as_under_plain_django(server):
    with server.open("/plain-fails/") as stream:
        assert stream.read_to_end() == b"data: half\n\n"
        assert stream.closed
        assert not stream.ended
    assert server.get("/").status == 200


@pytest.mark.parametrize(("headers", "is_cut"), [({"Datastar-Request": "true"}, True), ({}, False)])
@pytest.mark.parametrize("path", ["/async/", "/plain-async/", "/channels/?channel=datastar"])
def test_a_stream_of_datastar_is_cut_when_the_server_stops(server, path, headers, is_cut):
    """A proper end is the end to it; after a lost connection it comes back, when it is asked to."""
    with server.open(path, headers=headers) as stream:
        stream.wait_for_bytes(b"\n")
        server.process.send_signal(signal.SIGTERM)
        body = stream.read_to_end()
        assert stream.ended != is_cut, body[-200:]


def test_the_bytes_without_control_events(server, channel):
    with server.open(f"/channels/?channel={channel}&plain=1&oldest=1") as stream:
        send(server, channel, [1, 2])
        assert [event.data for event in stream.take(2)] == ["1", "2"]
        last = stream.parser.last_event_id
    with server.open(f"/channels/?channel={channel}&plain=1", headers={"Last-Event-ID": last}) as stream:
        send(server, channel, [3])
        event = stream.next()
        assert (event.data, event.event) == ("3", "message")
        server.get(f"/close/?channel={channel}")
        assert stream.read_to_end().endswith(b"id: end\n\n")
        assert stream.ended
    with server.open("/channels/?channel=other&plain=1") as stream:
        stream.wait_for_bytes(b"\nid: ")
        assert b"data:" not in stream.body
        assert b"event:" not in stream.body
    assert server.get(f"/channels/?channel={channel}&plain=1", headers={"Last-Event-ID": "end"}).status == 204
