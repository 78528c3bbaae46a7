"""Channels through real servers: published in one process, received over HTTP from another, on each database."""

import json
import os
import subprocess
import sys
import time
import urllib.parse

import pytest

from serversent.event import EventParser
from serversent.wire.cursor import Cursor
from tests.processes import ROOT, serve
from tests.waiting import wait_for

SERVERS = ["uvicorn-httptools", "uvicorn-h11", "daphne", "hypercorn", "granian", "gunicorn-uvicorn"]


@pytest.fixture(scope="module", params=SERVERS)
def server(request, server_folder, environment):
    with serve(request.param, server_folder, environment=environment) as server:
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


def test_an_event_of_another_process_arrives_once_and_in_order(server, elsewhere, channel):
    with listen(server, channel) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        cursor = ready(stream)
        for number in range(5):
            send(elsewhere if number % 2 else server, channel, f"event {number} 🚀")
        received = stream.take(5)
    assert [event.data for event in received] == [f"event {number} 🚀" for number in range(5)]
    cursors = [Cursor.parse(event.id) for event in received]
    assert all(found.epoch == cursor.epoch for found in cursors)
    offsets = [cursor.offset, *(found.offset for found in cursors)]
    assert offsets == sorted(set(offsets))


def test_events_of_an_absence_are_replayed_once(server, elsewhere, channel):
    with listen(server, channel) as stream:
        cursor = ready(stream)
    for number in range(3):
        send(elsewhere, channel, str(number))
    with listen(server, channel, cursor=cursor) as stream:
        received = stream.take(3)
        send(elsewhere, channel, "3")
        received.append(stream.next())
    assert [event.data for event in received] == ["0", "1", "2", "3"]
    with listen(server, channel, cursor=received[1].id) as stream:
        assert [event.data for event in stream.take(2)] == ["2", "3"]


def test_a_cursor_goes_on_in_a_process_that_has_not_served_it(server, elsewhere, channel):
    with listen(server, channel) as stream:
        ready(stream)
        send(server, channel, "first")
        first = stream.next()
    send(server, channel, "second")
    with listen(elsewhere, channel, cursor=first.id) as stream:
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


def test_from_the_latest(server, channel):
    names = channel + "a", channel + "b", channel + "c"
    for text in ("1", "2"):
        send(server, names[0], text)
        send(server, names[1], text)
    with listen(server, *names, latest=1) as stream:
        first, *latest = stream.take(3)
        assert (first.event, first.id) == ("ready", "")
        assert [event.data for event in latest] == ["2", "2"]
        send(server, names[2], "live")
        assert stream.next().data == "live"
    with listen(server, *names, cursor=latest[0].id, latest=1) as stream:
        assert [event.data for event in stream.take(2)] == ["2", "live"], "a resume has what is after its cursor"
    with listen(server, *names, cursor="other-1", latest=1) as stream:
        assert [event.data for event in stream.take(4)] == ["{}", "2", "2", "live"]


def test_without_any_event_the_latest_has_a_cursor(server, channel):
    with listen(server, channel, latest=1) as stream:
        assert stream.next().event == "ready"
        stream.wait_for_bytes(b"\n: hb ")


def test_several_channels_in_one_stream(server, elsewhere, channel):
    with listen(server, channel + "a", channel + "b") as stream:
        ready(stream)
        for number in range(6):
            send(elsewhere, channel + "abc"[number % 3], str(number))
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
    with listen(server, f"{channel}-first") as first:  # with what the server has for streams at all
        ready(first)
        before = server.state()["tasks"]
        streams = [listen(server, f"{channel}-{number}") for number in range(20)]
        for stream in streams:
            ready(stream)
        for stream in streams:
            stream.close()
        wait_for(lambda: server.state()["open"] == 1, "the end of the streams")
        # Of Hypercorn, each question is some tasks for five seconds.
        seconds = 6 if "hypercorn" in channel else 0
        wait_for(lambda: time.sleep(seconds) or server.state()["tasks"] <= before, "the end of the streams' tasks")


@pytest.fixture(scope="module")
def quick_server(server_folder, environment):
    """With a ring of a few events only: what is missed is read from the log."""
    variables = {**environment, "TEST_SERVERSENT": json.dumps({"REPLAY_BYTES": 1000})}
    with serve("uvicorn-httptools", server_folder, environment=variables) as server:
        yield server


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_cut_at_every_byte(quick_server, channel, step):
    """Two channels, alternating: ids only grow and nothing is missing, wherever the connection is cut."""
    names = [channel + "-x", channel + "-y"]
    with listen(quick_server, *names) as stream:
        start = ready(stream)
    wanted = [f"event {number}" for number in range(6)]
    for number, text in enumerate(wanted):
        send(quick_server, names[number % 2], text)
    with listen(quick_server, *names, cursor=start) as stream:
        stream.take(6)
        size = len(stream.body)
    for cut in range(0, size, step):
        parser = EventParser(str(start))
        with listen(quick_server, *names, cursor=start) as stream:
            stream.wait_for_size(cut)
            events = parser.feed(stream.body[:cut])
        with listen(quick_server, *names, cursor=parser.last_event_id) as stream:
            events += stream.take(6 - len(events))
        assert [event.data for event in events] == wanted, cut
        offsets = [Cursor.parse(event.id).offset for event in events]
        assert offsets == sorted(set(offsets)), cut


def test_a_quiet_channel_is_not_reset_by_the_pruning_of_others(quick_server, environment, channel):
    with listen(quick_server, channel + "-quiet") as stream:
        ready(stream)
        send(quick_server, channel + "-quiet", "one")
        cursor = stream.next().id
    for number in range(30):
        send(quick_server, channel + "-busy", str(number))
    manage(environment, "prune", "--keep", "1")
    with listen(quick_server, channel + "-quiet", cursor=cursor) as stream:
        send(quick_server, channel + "-quiet", "two")
        assert (event := stream.next()).data == "two", event


def test_a_resume_is_good_down_to_the_oldest_kept_and_no_further(quick_server, environment, channel):
    with listen(quick_server, channel) as stream:
        start = ready(stream)
        for number in range(10):
            send(quick_server, channel, str(number))
        events = stream.take(10)
    manage(environment, "prune", "--keep", "3")
    for _ in range(10):
        send(quick_server, channel + "-other", "." * 200)  # the ring forgets
    with listen(quick_server, channel, cursor=events[6].id) as stream:
        assert [event.data for event in stream.take(3)] == ["7", "8", "9"]
    for cursor in (events[5].id, start):
        with listen(quick_server, channel, cursor=cursor, state=1) as stream:
            assert [event.event for event in stream.take(2)] == ["reset", "state"]


def test_another_epoch_resets_open_streams(quick_server, environment, channel):
    with listen(quick_server, channel) as stream:
        before = ready(stream)
        manage(environment, "newepoch")
        event = stream.next()
        assert event.event == "reset"
        assert Cursor.parse(event.id).epoch != before.epoch
        send(quick_server, channel, "after")
        assert stream.next().data == "after"
    with listen(quick_server, channel, cursor=before) as stream:
        assert stream.next().event == "reset"


def test_a_closed_channel_ends_its_streams_now_and_later(quick_server, environment, channel):
    with listen(quick_server, channel) as stream:
        start = ready(stream)
        send(quick_server, channel, "last")
        manage_code(environment, f"from serversent import close_channel; close_channel({channel!r})")
        events = stream.take(2)
        assert [(event.event, event.data) for event in events] == [("message", "last"), ("end", "{}")]
        assert events[1].id == "end"
        stream.read_to_end()
        assert stream.ended
    with listen(quick_server, channel, cursor=start) as stream:
        assert [event.event for event in stream.take(2)] == ["message", "end"]
    with listen(quick_server, channel) as stream:
        assert [event.event for event in stream.take(2)] == ["ready", "end"]
    with listen(quick_server, channel, channel + "-open") as stream:
        ready(stream)
        send(quick_server, channel + "-open", "still open")
        assert stream.next().data == "still open"
        manage_code(environment, f"from serversent import close_channel; close_channel({channel + '-open'!r})")
        assert stream.next().event == "end"


def test_a_long_replay_is_joined_into_large_writes(quick_server, environment, channel):
    with listen(quick_server, channel) as stream:
        start = ready(stream)
    manage_code(
        environment,
        "from serversent import send_events\n"
        f"send_events([({channel!r}, f'{{number}} ' + 'x' * 100) for number in range(10_000)])",
    )

    def has_read_them():
        with listen(quick_server, channel) as stream:
            return ready(stream).offset - start.offset >= 10_000

    wait_for(has_read_them, "the server's own reading of them: what it pushes meanwhile is not joined by the replay")
    with listen(quick_server, channel, cursor=start) as stream:
        events = stream.take(10_000)
        assert [int(event.data.split()[0]) for event in events] == list(range(10_000))
        # On uvicorn a write is a chunk. The opening and the pages' ends make a few more.
        assert stream.chunks <= len(stream.body) / 32_768 * 1.5 + 10


def manage_code(environment, code):
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    code = f"import django; django.setup()\n{code}"
    subprocess.run([sys.executable, "-c", code], check=True, env=variables, cwd=ROOT)


def manage(environment, *arguments):
    """Run ``manage.py serversent`` and return what it prints."""
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.project.settings", **environment}
    command = [sys.executable, "-m", "django", "serversent", *arguments]
    ended = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
