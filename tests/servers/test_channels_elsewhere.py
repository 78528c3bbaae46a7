"""Channel streams where no hand-off is: plain Django under ASGI, Django's threaded runserver, and a WSGI server."""

import pytest

from serversent.wire.cursor import Cursor
from tests.processes import serve


@pytest.mark.parametrize(
    ("kind", "application"),
    [("uvicorn-httptools", "tests.project.plain_asgi:application"), ("wsgi-runserver", "")],
    ids=["plain-asgi", "threaded-runserver"],
)
def test_every_stream_works(kind, application, server_folder, sqlite_file):
    options = {"application": application} if application else {}
    with serve(kind, server_folder, environment={"TEST_SQLITE": sqlite_file}, **options) as server:
        channel = f"elsewhere-{kind}"
        with server.open(f"/channels/?channel={channel}") as stream:
            cursor = stream.next()
            assert cursor.event == "ready"
            for number in range(3):
                server.get(f"/send/?channel={channel}&data={number}")
            assert [event.data for event in stream.take(3)] == ["0", "1", "2"]
        with server.open(f"/channels/?channel={channel}", headers={"Last-Event-ID": cursor.id}) as stream:
            assert [event.data for event in stream.take(3)] == ["0", "1", "2"]


def test_a_wsgi_server_sends_the_new_events_and_closes(server_folder, sqlite_file):
    """No worker is tied up: an EventSource polls."""
    with serve("gunicorn", server_folder, environment={"TEST_SQLITE": sqlite_file}) as server:
        first = server.get("/channels/?channel=polled")
        assert first.status == 200
        assert first.ended
        assert b"retry: 3000\n" in first.body
        cursor = first.next()
        assert cursor.event == "ready"
        for number in range(3):
            server.get(f"/send/?channel=polled&data={number}")
        for _ in range(2):
            again = server.get("/channels/?channel=polled", headers={"Last-Event-ID": cursor.id})
            events = again.take(3)
            assert [event.data for event in events] == ["0", "1", "2"]
        nothing = server.get("/channels/?channel=polled", headers={"Last-Event-ID": events[-1].id})
        with pytest.raises(EOFError):
            nothing.next()
        assert Cursor.parse(events[-1].id) is not None
