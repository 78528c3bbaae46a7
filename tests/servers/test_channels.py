"""Channels through real servers: published in one process, received over HTTP from another, on each database."""

import json
import urllib.parse

import pytest

from serversent.cursors import Cursor
from tests.processes import serve
from tests.waiting import wait_for

pytestmark = []

DATABASES = [
    pytest.param("sqlite"),
    pytest.param("postgresql", marks=pytest.mark.service("postgresql")),
    pytest.param("mariadb", marks=pytest.mark.service("mariadb")),
]


@pytest.fixture(scope="module", params=DATABASES)
def environment(request, server_folder):
    if request.param == "sqlite":
        return {"TEST_SQLITE": request.getfixturevalue("sqlite_file")}
    return {"TEST_DATABASE": json.dumps(request.getfixturevalue(f"{request.param}_settings"))}


@pytest.fixture(scope="module", params=["uvicorn-httptools", "uvicorn-h11", "daphne"])
def server(request, server_folder, environment):
    with serve(request.param, server_folder, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def other_server(server_folder, environment):
    """Another process of the same project."""
    with serve("uvicorn-httptools", server_folder, environment=environment) as server:
        yield server


@pytest.fixture
def channel(request):
    return urllib.parse.quote(request.node.name, safe="").replace("%", "_")[:150]


def send(server, channel, data, **options):
    answer = server.get("/send/?" + urllib.parse.urlencode({"channel": channel, "data": data, **options}))
    assert answer.status == 200, answer.body


def listen(server, *channels, cursor=None, **options):
    query = [("channel", channel) for channel in channels] + list(options.items())
    headers = {} if cursor is None else {"Last-Event-ID": str(cursor)}
    return server.open("/channels/?" + urllib.parse.urlencode(query), headers=headers)


def ready(stream):
    event = stream.next()
    assert (event.event, event.data) == ("ready", "{}")
    cursor = Cursor.parse(event.id)
    assert cursor is not None
    return cursor


def test_an_event_of_another_process_arrives_once_and_in_order(server, other_server, channel):
    with listen(server, channel) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        cursor = ready(stream)
        for number in range(5):
            send(other_server if number % 2 else server, channel, f"event {number} 🚀")
        received = stream.take(5)
    assert [event.data for event in received] == [f"event {number} 🚀" for number in range(5)]
    cursors = [Cursor.parse(event.id) for event in received]
    assert all(found.epoch == cursor.epoch for found in cursors)
    offsets = [cursor.offset, *(found.offset for found in cursors)]
    assert offsets == sorted(set(offsets))


def test_what_was_sent_while_away_is_replayed_once(server, other_server, channel):
    with listen(server, channel) as stream:
        cursor = ready(stream)
    for number in range(3):
        send(other_server, channel, str(number))
    with listen(server, channel, cursor=cursor) as stream:
        received = stream.take(3)
        send(other_server, channel, "3")
        received.append(stream.next())
    assert [event.data for event in received] == ["0", "1", "2", "3"]
    with listen(server, channel, cursor=received[1].id) as stream:
        assert [event.data for event in stream.take(2)] == ["2", "3"]


def test_a_cursor_goes_on_in_a_process_that_has_not_served_it(server, other_server, channel):
    with listen(server, channel) as stream:
        ready(stream)
        send(server, channel, "first")
        first = stream.next()
    send(server, channel, "second")
    with listen(other_server, channel, cursor=first.id) as stream:
        assert stream.next().data == "second"


@pytest.mark.parametrize("cursor", ["nonsense", "abc-1", "k3f9--1", "€-1", "x" * 250, "{epoch}-999999999999"])
def test_a_cursor_that_cannot_be_resumed_is_reset(server, channel, cursor):
    with listen(server, channel) as stream:
        here = ready(stream)
    cursor = cursor.replace("{epoch}", here.epoch).encode().decode("latin-1")
    with listen(server, channel, cursor=cursor) as stream:
        event = stream.next()
        assert (stream.status, event.event, event.data) == (200, "reset", "{}")
        assert Cursor.parse(event.id).epoch == here.epoch
        send(server, channel, "after")
        assert stream.next().data == "after"


def test_the_initial_state_has_the_cursor_on_its_last_event(server, channel):
    with listen(server, channel, state=1) as stream:
        first, state = stream.take(2)
        assert (first.event, first.id) == ("ready", "")
        assert (state.event, state.data) == ("state", '{"state": 1}')
        cursor = Cursor.parse(state.id)
    send(server, channel, "later")
    with listen(server, channel, cursor=cursor, state=1) as stream:
        assert stream.next().data == "later", "a resume has no initial state"
    with listen(server, channel, cursor="other-1", state=1) as stream:
        assert [event.event for event in stream.take(2)] == ["reset", "state"]


def test_from_the_oldest(server, channel):
    for number in range(3):
        send(server, channel, str(number))
    with listen(server, channel, oldest=1) as stream:
        assert stream.next().event == "ready"
        assert [event.data for event in stream.take(3)] == ["0", "1", "2"]


def test_several_channels_in_one_stream(server, other_server, channel):
    with listen(server, channel + "a", channel + "b") as stream:
        ready(stream)
        for number in range(6):
            send(other_server, channel + "abc"[number % 3], str(number))
        assert [event.data for event in stream.take(4)] == ["0", "1", "3", "4"]


def test_types_arrive(server, channel):
    with listen(server, channel) as stream:
        ready(stream)
        send(server, channel, "x", event="updated")
        assert stream.next().event == "updated"


def test_no_channel_and_the_end_are_204(server, channel):
    assert server.get("/channels/").status == 204
    assert server.get(f"/channels/?channel={channel}", headers={"Last-Event-ID": "end"}).status == 204
    assert server.get(f"/channels/?channel={channel}", method="POST").status == 405
    head = server.get(f"/channels/?channel={channel}", method="HEAD")
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_a_grant_that_expires_ends_the_stream(server, channel):
    with listen(server, channel, seconds=0.3) as stream:
        ready(stream)
        stream.read_to_end()
        assert stream.ended
        assert b"event: end" not in stream.body


def test_nothing_is_left_of_streams_that_are_gone(server, channel):
    before = server.state()["tasks"]
    streams = [listen(server, f"{channel}-{number}") for number in range(20)]
    for stream in streams:
        ready(stream)
    for stream in streams:
        stream.close()
    wait_for(lambda: server.state()["tasks"] <= before + 3, "the end of the streams' tasks")
